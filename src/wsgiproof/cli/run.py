"""``wsgiproof run`` and ``wsgiproof list``: the matrix, run or shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from wsgiproof.cli.options import (
    EXIT_CODES,
    command_line,
    configure,
    make_console,
    matrix_options,
    note,
    print_json,
    progress_on,
    report_options,
)
from wsgiproof.cli.output import say
from wsgiproof.errors import UsageError

_EXAMPLES = """\b
Examples:
  wsgiproof run
  wsgiproof run --pymongo 4.20.0 --mod-wsgi 5.0.2 --mode daemon
  wsgiproof run --python 3.12 --python 3.13 --pymongo . --jobs 4
  wsgiproof run '*own-gil*' --set nightly --junit report.xml
  wsgiproof run --mongodb 'mongodb://127.0.0.1:27017/'
  wsgiproof run --app shop.py --pymongo 4.15.3 --with dnspython --constraint constraints.txt
  wsgiproof run --resume wsgiproof-results/20261123-120000
"""
_LIST_EXAMPLES = """\b
Examples:
  wsgiproof list
  wsgiproof list --set nightly '*embedded*' --json
  echo "matrix=$(wsgiproof list --github --shards 20)" >> "$GITHUB_OUTPUT"
"""


@click.command("run", epilog=f"{_EXAMPLES}\n{EXIT_CODES}")
@matrix_options
@click.option("--fail-fast", is_flag=True, default=None, help="Stop at the first cell that fails.")
@click.option(
    "--retry-errors",
    type=int,
    metavar="N",
    help="Try a cell that ended in error (never one that failed) again, up to N times.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Go on with an interrupted run: what has ended there with the same inputs is kept.",
)
@report_options
@click.option("--json", "as_json", is_flag=True, help="Print results.json, and progress to stderr.")
def run_command(
    file: Path | None,
    no_config: bool,
    chosen: str,
    resume: Path | None,
    junit: Path | None,
    summary: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Run every CELL (ids or globs; all by default) and print its verdict.

    Without options, and without a configuration file: the newest PyMongo and mod_wsgi for the
    Python at hand, on a standalone and on a replica set of three, in daemon and in embedded mode.
    """
    # Imported here, since --help and completion need not wait for a driver and an HTTP parser.
    from wsgiproof.report.figures import with_figures
    from wsgiproof.report.files import write_reports
    from wsgiproof.report.html.page import leave_page
    from wsgiproof.report.terminal import show_cells, show_run
    from wsgiproof.run import exit_code, run

    config, path = configure(options, file=file, no_config=no_config, chosen=chosen)
    console = make_console(stderr=as_json)
    progress = progress_on(console)
    try:
        with progress:
            record = run(
                config,
                command_line(),
                progress,
                resume=resume,
                own_file=path is not None,
                note=note,
            )
    except (KeyboardInterrupt, Exception):
        # What was finished before is shown; why it went no further is said by main().
        if progress.records:
            show_cells(console, progress.records)
        if progress.output:
            again = f"Results so far: {progress.output} (go on with --resume)"
            console.print(Text(again), soft_wrap=True)
        raise
    code = exit_code(record.cells)
    show_run(console, record.cells, code, str(progress.output))
    write_reports(record, junit, summary)
    if progress.output:
        console.print(Text(f"Report: {leave_page(record, progress.output)}"), soft_wrap=True)
    if as_json:
        print_json(with_figures(record))
    raise SystemExit(code)


@click.command("list", epilog=f"{_LIST_EXAMPLES}\n{EXIT_CODES}")
@matrix_options
@click.option("--json", "form", flag_value="json", help="The cells, and what is left out, as JSON.")
@click.option("--github", "form", flag_value="github", help="As a matrix of GitHub Actions.")
@click.option("--gitlab", "form", flag_value="gitlab", help="As jobs of a GitLab child pipeline.")
@click.option("--shards", type=int, metavar="N", help="For both: spread the cells over N machines.")
def list_command(
    file: Path | None,
    no_config: bool,
    chosen: str,
    form: str | None,
    shards: int | None,
    **options: Any,
) -> None:
    """Show each cell that 'wsgiproof run' would run, and why each other combination is left out.

    Nothing is built and nothing is started; the package index is asked for versions.
    """
    from wsgiproof.planning import plan, preflight
    from wsgiproof.report import matrix as forms

    if shards is not None and form not in ("github", "gitlab"):
        raise UsageError("--shards is for --github and --gitlab")
    config, _ = configure(options, file=file, no_config=no_config, chosen=chosen)
    matrix = plan(config, preflight(config)).matrix
    if form == "json":
        print_json(forms.as_json(matrix.cells, matrix.excluded))
    elif form == "github":
        print_json(forms.for_github(matrix.cells, shards), indent=0)
    elif form == "gitlab":
        say(forms.for_gitlab(matrix.cells, shards))
    else:
        forms.show_matrix(make_console(), matrix.cells, matrix.excluded)
