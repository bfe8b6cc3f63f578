"""``wsgiproof report`` and ``wsgiproof trends``: recorded runs as a page, and over time."""

from __future__ import annotations

from pathlib import Path

import click
from rich.text import Text

from wsgiproof.cli.options import choices, exit_codes, make_console, print_json, read_run
from wsgiproof.report.figures import TITLES
from wsgiproof.report.trends import BY, DATE

_DIRECTORY = click.Path(path_type=Path)
_REPORT_EXAMPLES = """\b
Examples:
  wsgiproof report wsgiproof-results/20261123-054359
  wsgiproof report today --compare last-week -o today.html
  wsgiproof report wsgiproof-results/* --by pymongo -o trends.html
"""
_TRENDS_EXAMPLES = """\b
Examples:
  wsgiproof trends wsgiproof-results/*
  wsgiproof trends pymongo-4.* --by pymongo --figure memory_per_request
  wsgiproof trends wsgiproof-results/* --json
"""
_CODES = exit_codes(
    {
        0: "it was written, or shown",
        2: "the command line is wrong, or a DIR holds no run",
        3: "the file can't be written",
    }
)
_BY = click.option(
    "--by",
    type=choices(BY),
    default=DATE,
    show_default=True,
    help="What trends go by: when a cell ran, or a version that it ran with.",
)


@click.command("report", epilog=f"{_REPORT_EXAMPLES}\n{_CODES}")
@click.argument("where", metavar="DIR...", type=_DIRECTORY, nargs=-1, required=True)
@click.option(
    "-o", "--output", metavar="FILE", type=_DIRECTORY, help="Default: report.html in DIR."
)
@click.option(
    "--compare", "old", metavar="OLD", type=_DIRECTORY, help="Say what changed since this run."
)
@_BY
def report_command(where: tuple[Path, ...], output: Path | None, old: Path | None, by: str) -> None:
    """Write a recorded run as one HTML file, which opens offline.

    DIR is the output directory of a run. Of several, the page shows the one that was started last,
    and the trends over all of them.
    """
    from wsgiproof.report.files import write_whole
    from wsgiproof.report.html.page import NAME, page
    from wsgiproof.report.trends import trends

    runs = {directory: read_run(directory) for directory in where}
    last, record = max(runs.items(), key=lambda item: item[1].started)
    over = trends([*runs.values()], by) if len(runs) > 1 else None
    content = page(record, last, old=read_run(old) if old else None, over=over)
    path = output or last / NAME
    write_whole(content, path)
    if path.is_file():  # and not /dev/stdout
        make_console().print(Text(f"Report: {path}"), soft_wrap=True)


@click.command("trends", epilog=f"{_TRENDS_EXAMPLES}\n{_CODES}")
@click.argument("where", metavar="DIR...", type=_DIRECTORY, nargs=-1, required=True)
@_BY
@click.option(
    "--figure",
    type=choices([*TITLES]),
    default="requests_per_second",
    show_default=True,
    help="The figure to show beside each verdict.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all figures of all cells as JSON.")
def trends_command(where: tuple[Path, ...], by: str, figure: str, as_json: bool) -> None:
    """Show what became of the same cells over several runs.

    Each DIR is the output directory of a run. Cells whose verdict changed come first.
    """
    from wsgiproof.report.trended import show_trends
    from wsgiproof.report.trends import trends

    over = trends([read_run(directory) for directory in where], by)
    if as_json:
        print_json(over.to_json())
    else:
        show_trends(make_console(), over, figure)
