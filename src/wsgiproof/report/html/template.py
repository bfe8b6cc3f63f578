"""What all pages share: their files, their style, and the policy that keeps all else out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from wsgiproof.report.html.embed import digest

ASSETS = files(__package__).joinpath("assets")
CHARTS = files(__package__).joinpath("vendor", "uplot")
"""The chart library, as its authors release it."""


def rendered(name: str, **values: Any) -> bytes:
    """Return a page from its template. Values are escaped; what is missing is an error."""
    environment = Environment(
        loader=PackageLoader("wsgiproof.report.html", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(values).encode()


def policy(scripts: Sequence[str], style: str) -> str:
    """Return the Content-Security-Policy of a page that has these elements and no others."""
    allowed = " ".join(map(digest, scripts)) or "'none'"
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {allowed}",
            f"style-src {digest(style)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


@cache
def page_style() -> str:
    """Return the style of all pages."""
    return text(ASSETS, "page.css")


def text(directory: Traversable, name: str) -> str:
    """Return the text of a file that belongs to a page."""
    return directory.joinpath(name).read_text(encoding="utf-8")
