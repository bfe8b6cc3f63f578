"""The page of a run: one file with its style, its scripts and its data inside.

It fetches nothing, and no script can run but its own: its Content-Security-Policy names the hashes
of the elements that it allows.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from markupsafe import Markup

from wsgiproof.analysis.axes import varying
from wsgiproof.analysis.figures import of_other_machines
from wsgiproof.analysis.trends import Trends
from wsgiproof.files import write_output
from wsgiproof.judge.rules import RulesOf
from wsgiproof.records.run import RunRecord
from wsgiproof.report.html.comparison import comparison
from wsgiproof.report.html.detail import detail
from wsgiproof.report.html.embed import as_json, packed_json
from wsgiproof.report.html.overview import overview
from wsgiproof.report.html.template import ASSETS, CHARTS, page_style, policy, rendered, text

NAME = "report.html"
"""The name of the page in the directory of its run."""
_SCRIPTS = (
    "dom.js",
    "data.js",
    "state.js",
    "theme.js",
    "filter.js",
    "matrix.js",
    "chart.js",
    "plots.js",
    "cell.js",
    "evidence.js",
    "compare.js",
    "trends.js",
    "about.js",
    "main.js",
)
"""In the order in which they are joined; they share one scope."""


def page(
    record: RunRecord,
    rules_of: RulesOf,
    directory: Path | None = None,
    *,
    old: RunRecord | None = None,
    over: Trends | None = None,
) -> bytes:
    """Return the page of a run, with the files of its ``directory``.

    It has a comparison with an ``old`` run, and the trends ``over`` several runs, if these are
    given.
    """
    style = _style()
    scripts = (_library(), _script())
    run = overview(record, rules_of)
    if old is not None:
        run["compare"] = comparison(old, record)
    if over is not None:
        run["trends"] = over.to_json() | {"moved": of_other_machines(over.other_machines, "row")}
    axes = varying(cell.cell for cell in record.cells)
    return rendered(
        "page.html.j2",
        title=f"wsgiproof: {run['title']}",
        policy=policy(scripts, style),
        style=Markup(style),
        scripts=[Markup(one) for one in scripts],
        run=Markup(as_json(run)),
        details=[
            packed_json(detail(cell, rules_of(cell.cell), directory, axes)) for cell in record.cells
        ],
    )


def leave_page(record: RunRecord, rules_of: RulesOf, directory: Path) -> Path:
    """Write the page into the directory of its run, and return its path.

    Raises :class:`wsgiproof.errors.CannotRun` if it can't be written.
    """
    write_output(page(record, rules_of, directory), directory / NAME)
    return directory / NAME


@cache
def _library() -> str:
    return text(CHARTS, "uPlot.iife.min.js")


@cache
def _style() -> str:
    return text(CHARTS, "uPlot.min.css") + page_style()


@cache
def _script() -> str:
    inside = "\n".join(text(ASSETS, name) for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{inside}\n}})();\n'
