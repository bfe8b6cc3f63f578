"""``wsgiproof serve`` and ``wsgiproof conf``: one cell to look at."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from wsgiproof.cli.options import (
    cell_options,
    configure,
    exit_codes,
    make_console,
    print_json,
    progress_on,
)
from wsgiproof.errors import ExitCode

if TYPE_CHECKING:
    from wsgiproof.records import RunningServer

_DIRECTORY = click.Path(path_type=Path)

_SERVE_EXAMPLES = """\b
Examples:
  wsgiproof serve --topology standalone --mode daemon
  wsgiproof serve '*-standalone-embedded-*' --mod-wsgi 5.0.2
  wsgiproof serve --control leak-connection --topology standalone --mode daemon
  wsgiproof serve --app shop.py --topology standalone --mode daemon --json
"""
_SERVE_CODES = exit_codes(
    {
        0: "Ctrl-C, or SIGTERM: all that was started has been stopped",
        1: "Apache ended by itself",
        2: "the command line is wrong, or does not select exactly one cell",
        3: "it could not be started",
        130: "interrupted before it was up",
    }
)
_CONF_EXAMPLES = """\b
Examples:
  wsgiproof conf --topology none --mode daemon
  wsgiproof conf '*-standalone-daemon-*' --output /srv/cell --port 8080
  wsgiproof conf --mode embedded --mongodb 'mongodb://127.0.0.1:27017/'
"""
_CONF_CODES = exit_codes(
    {
        0: "it is written",
        2: "the command line is wrong, or does not select exactly one cell",
        3: "it could not be built or written",
    }
)


@click.command("serve", epilog=f"{_SERVE_EXAMPLES}\n{_SERVE_CODES}")
@cell_options
@click.option(
    "--output",
    type=_DIRECTORY,
    metavar="DIR",
    help="Keep httpd.conf and the logs here. Default: they are gone with the server.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print it as JSON, in one line, as soon as it is up; all else goes to stderr.",
)
def serve_command(
    file: Path | None,
    no_config: bool,
    chosen: str,
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Have the server of one CELL up until Ctrl-C, for a browser, curl or gdb.

    CELL is an id, or a glob that only one cell matches; options may narrow the cells down as well.
    The lines of its error log are shown as they come.
    """
    from wsgiproof.judge.finding import count
    from wsgiproof.report.served import show_logged, show_served
    from wsgiproof.serve import serve

    config, _ = configure(options, file=file, no_config=no_config, chosen=chosen)
    console = make_console(stderr=as_json)
    with ExitStack() as starting:
        progress = progress_on(console)
        starting.enter_context(progress)

        def up(served: RunningServer) -> None:
            starting.close()
            if as_json:
                print_json(served, indent=0)
            else:
                show_served(console, served)

        end = serve(config, output, progress, up, lambda line: show_logged(console, line))
    if end.killed:
        told = f"{count(len(end.killed), 'process', 'processes')} had to be killed"
        console.print(Text(f"{told}: they did not end when Apache was asked to stop"))
    if end.died:
        console.print(Text(f"Apache {end.died}; all that was started with it has been stopped"))
        raise SystemExit(ExitCode.FINDING)
    console.print("everything that was started has been stopped")


@click.command("conf", epilog=f"{_CONF_EXAMPLES}\n{_CONF_CODES}")
@cell_options
@click.option(
    "--output",
    type=_DIRECTORY,
    metavar="DIR",
    help="An empty directory for all that it needs. Default: a new one in TMPDIR.",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), help="To listen on.  [default: one that is free]"
)
def conf_command(
    file: Path | None,
    no_config: bool,
    chosen: str,
    output: Path | None,
    port: int | None,
    **options: Any,
) -> None:
    """Print the Apache configuration of one CELL, which 'apache2 -f' can check and start.

    CELL is as for 'wsgiproof serve'. What is missing is built, and nothing is started. All that the
    configuration needs is in one directory, which is left to you and named at its top.
    """
    from wsgiproof.serve import write_conf

    config, _ = configure(options, file=file, no_config=no_config, chosen=chosen)
    console = make_console(stderr=True)
    with progress_on(console) as progress:
        written = write_conf(config, output, port, progress)
    click.echo(written.path.read_bytes(), nl=False)
    console.print(Text(f"{written.path} is written; check it: {written.check}"), soft_wrap=True)
