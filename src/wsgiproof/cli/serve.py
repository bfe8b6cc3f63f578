"""``wsgiproof serve``: one cell to look at, or its configuration."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsgiproof.cli.help import command, option
from wsgiproof.cli.options import (
    PATH,
    cell_options,
    configure,
    make_console,
    print_json,
    progress_on,
    read_list,
)
from wsgiproof.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from wsgiproof.config.model import Config
    from wsgiproof.records.listed import Listed
    from wsgiproof.records.machine import RunningServer

_EXAMPLES = (
    "wsgiproof serve --topology standalone --mode daemon",
    "wsgiproof serve '*-standalone-embedded-*' --mod-wsgi 5.0.2",
    "wsgiproof serve --topology none --mode daemon --print-config",
    "wsgiproof serve --app shop.py --topology standalone --mode daemon --json",
    "wsgiproof serve --control leak-connection --topology standalone --mode daemon",
    "wsgiproof serve --mode embedded --print-config --output /srv/cell --port 8080",
)
_CODES = {
    0: "Ctrl-C or SIGTERM has stopped everything; or the configuration is printed",
    1: "Apache ended by itself",
    2: "the command line is wrong, or does not select exactly one cell",
    3: "it could not be built, started or written",
    130: "interrupted before it was up",
}
_OUTPUT = [
    option(
        "--print-config",
        is_flag=True,
        help="Print Apache's configuration; start nothing.\n"
        "'apache2 -f' can check and start it. What is missing is built. All that it needs is in "
        "the directory of --output, which you keep; its top names that directory.",
    ),
    option(
        "--output",
        type=PATH,
        metavar="DIR",
        help="Keep httpd.conf and the logs here.\n"
        "Default: they are removed with the server. With --print-config: an empty directory for "
        "all that the configuration needs; default: a new one in TMPDIR.",
    ),
    option(
        "--port",
        type=click.IntRange(1, 65535),
        metavar="N",
        help="The port that --print-config writes.\n[default: one that is free]",
        rare=True,
    ),
    option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print the server as one line of JSON.\n"
        "As soon as it is up; everything else goes to stderr.",
    ),
]


@command("serve", examples=_EXAMPLES, codes=_CODES)
@cell_options(output=_OUTPUT)
def serve_command(
    file: Path | None,
    no_config: bool,
    chosen: str,
    listed: Path | None,
    print_config: bool,
    output: Path | None,
    port: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Keep the server of one CELL up until Ctrl-C.

    CELL is an id, or a glob that only one cell matches; options may narrow the cells down as well.
    Use it with a browser, curl or gdb. The lines of its error log are shown as they come.
    """
    if print_config and as_json:
        raise UsageError("--print-config prints Apache's configuration: leave --json out")
    if port is not None and not print_config:
        raise UsageError("--port needs --print-config: a server gets a port that is free")
    config, _ = configure(options, file=file, no_config=no_config, chosen=chosen)
    if print_config:
        _print_config(config, output, port, read_list(listed))
    else:
        _serve(config, output, read_list(listed), as_json=as_json)


def _serve(config: Config, output: Path | None, listed: Listed | None, *, as_json: bool) -> None:
    from rich.text import Text

    from wsgiproof.judge.finding import count
    from wsgiproof.report.served import show_logged, show_served
    from wsgiproof.run.serve import serve

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

        end = serve(config, output, progress, up, lambda line: show_logged(console, line), listed)
    if end.killed:
        killed = f"{count(len(end.killed), 'process', 'processes')} had to be killed"
        console.print(Text(f"{killed}: they did not end when Apache was asked to stop"))
    if end.died:
        console.print(Text(f"Apache {end.died}; all that was started with it has been stopped"))
        raise SystemExit(ExitCode.FINDING)
    console.print("everything that was started has been stopped")


def _print_config(
    config: Config, output: Path | None, port: int | None, listed: Listed | None
) -> None:
    from rich.text import Text

    from wsgiproof.run.serve import write_conf

    console = make_console(stderr=True)
    with progress_on(console) as progress:
        written = write_conf(config, output, port, progress, listed)
    click.echo(written.path.read_bytes(), nl=False)
    console.print(Text(f"{written.path} is written; check it: {written.check}"), soft_wrap=True)
