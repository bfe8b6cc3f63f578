"""The page itself: one file with its style, its programs and its data inside.

Nothing of it can be fetched and nothing but our own programs can run, since its
Content-Security-Policy allows those elements alone whose hash it names.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from wsgiproof.files import write_output
from wsgiproof.records import RunRecord
from wsgiproof.report.html.comparison import comparison
from wsgiproof.report.html.detail import detail
from wsgiproof.report.html.embed import as_json, digest, packed, packed_json
from wsgiproof.report.html.overview import overview
from wsgiproof.report.trends import Trends

NAME = "report.html"
"""The file that a run leaves in its directory."""
_ASSETS = files(__package__).joinpath("assets")
_SCRIPTS = (
    "dom.js",
    "data.js",
    "state.js",
    "theme.js",
    "filter.js",
    "matrix.js",
    "plots.js",
    "cell.js",
    "evidence.js",
    "compare.js",
    "trends.js",
    "about.js",
    "main.js",
)
"""In the order in which they are put together; they share one scope."""
_NO_STYLE = digest("")
"""The library makes an empty style element and puts its rules there by itself."""


def page(
    record: RunRecord,
    directory: Path | None = None,
    *,
    old: RunRecord | None = None,
    over: Trends | None = None,
) -> bytes:
    """A run as a page, with the files of its ``directory``.

    It can be compared with an ``old`` run, and have the trends ``over`` several.
    """
    style = _asset("page.css")
    script = _together()
    library = get_plotlyjs()
    run = overview(record)
    if old is not None:
        run["compare"] = comparison(old, record)
    if over is not None:
        run["trends"] = over.to_json()
    return _template(
        title=f"wsgiproof: {run['title']}",
        policy=_policy([script, library], [style]),
        style=Markup(style),
        script=Markup(script),
        library=_packed_library(),
        run=Markup(as_json(run)),
        details=[packed_json(detail(cell, directory)) for cell in record.cells],
    ).encode()


def leave_page(record: RunRecord, directory: Path) -> Path:
    """Write the page into the directory of its run, and say where it is.

    Raises :class:`wsgiproof.errors.CannotRun` if it can't be written.
    """
    write_output(page(record, directory), directory / NAME)
    return directory / NAME


@cache
def _packed_library() -> str:
    """Packing it takes longer than all the rest."""
    return packed(get_plotlyjs().encode())


def _policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(digest, scripts))}",
            f"style-src {' '.join([*map(digest, styles), _NO_STYLE])}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


@cache
def _asset(name: str) -> str:
    return _ASSETS.joinpath(name).read_text(encoding="utf-8")


@cache
def _together() -> str:
    inside = "\n".join(_asset(name) for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{inside}\n}})();\n'


def _template(**values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("wsgiproof.report.html", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.j2").render(values)
