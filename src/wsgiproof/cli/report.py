"""``wsgiproof report``: recorded runs as a page, and over time."""

from __future__ import annotations

from pathlib import Path

import click

from wsgiproof.analysis.figures import TITLES
from wsgiproof.analysis.trends import DATE, WSGIPROOF
from wsgiproof.cli.choices import Choices
from wsgiproof.cli.help import command, option
from wsgiproof.cli.options import PATH, make_console, note, print_json, read_run
from wsgiproof.config.axes import ALL_AXES
from wsgiproof.errors import UsageError
from wsgiproof.subjects.registry import DEFAULT

_EXAMPLES = (
    "wsgiproof report wsgiproof-results/20261123-054359",
    "wsgiproof report today --compare last-week -o today.html",
    "wsgiproof report wsgiproof-results/* --by mod_wsgi -o trends.html",
    "wsgiproof report wsgiproof-results/* --trends",
    *DEFAULT.examples.get("report", ()),
)
_CODES = {
    0: "the page is written, or the trends are shown",
    2: "the command line is wrong, or a DIR holds no run",
    3: "the file can't be written",
}
_FIGURE = "requests_per_second"
_VERSIONS = [axis.name for axis in ALL_AXES.values() if axis.title]
_BY = (DATE, *_VERSIONS, WSGIPROOF)


@command("report", examples=_EXAMPLES, codes=_CODES)
@click.argument("where", metavar="DIR...", type=PATH, nargs=-1, required=True)
@option(
    "-o",
    "--output",
    metavar="FILE",
    type=PATH,
    help="The page to write.\nDefault: report.html in DIR.",
)
@option("--compare", "old", metavar="OLD", type=PATH, help="Show what changed since this run.")
@option(
    "--trends",
    "in_terminal",
    is_flag=True,
    help="Show the trends in the terminal, and write no page.",
)
@option(
    "--by",
    type=Choices(_BY),
    metavar="NAME",
    default=DATE,
    help=f"What trends go by: {', '.join(_BY)}.\n"
    "The date is when a cell ran, the others are the versions that it ran with.  "
    f"[default: {DATE}]",
)
@option(
    "--figure",
    type=Choices([*TITLES]),
    metavar="NAME",
    help="The figure that --trends shows beside each verdict.\n"
    f"One of {', '.join(TITLES)}.  [default: {_FIGURE}]",
)
@option("--json", "as_json", is_flag=True, help="Print all figures of --trends as JSON.")
def report_command(
    where: tuple[Path, ...],
    output: Path | None,
    old: Path | None,
    in_terminal: bool,
    by: str,
    figure: str | None,
    as_json: bool,
) -> None:
    """Write a recorded run as one HTML page, which opens offline.

    DIR is the output directory of a run. Of several, the page shows the one that was started last,
    and the trends over all of them.
    """
    if in_terminal:
        if output or old:
            raise UsageError("--trends writes no page: leave --output and --compare out")
        _show_trends(where, by, figure or _FIGURE, as_json=as_json)
    elif figure or as_json:
        raise UsageError(f"{'--figure' if figure else '--json'} needs --trends")
    else:
        _write_page(where, output, old, by)


def _show_trends(where: tuple[Path, ...], by: str, figure: str, *, as_json: bool) -> None:
    """Show the verdicts of the same cells over several runs; those that changed come first."""
    from wsgiproof.analysis.trends import trends
    from wsgiproof.report.trended import show_trends

    over = trends([read_run(directory) for directory in where], by)
    if as_json:
        print_json(over.to_json())
    else:
        show_trends(make_console(), over, figure)


def _write_page(where: tuple[Path, ...], output: Path | None, old: Path | None, by: str) -> None:
    from rich.text import Text

    from wsgiproof.analysis.trends import trends
    from wsgiproof.report.files import write_whole
    from wsgiproof.report.html.page import NAME, page
    from wsgiproof.subjects.registry import rules_to_show

    runs = {directory: read_run(directory) for directory in where}
    last, record = max(runs.items(), key=lambda item: item[1].started)
    over = trends([*runs.values()], by) if len(runs) > 1 else None
    content = page(record, rules_to_show, last, old=read_run(old) if old else None, over=over)
    path = output or last / NAME
    write_whole(content, path, note)
    if path.is_file():  # and not /dev/stdout
        make_console().print(Text(f"Report: {path}"), soft_wrap=True)
