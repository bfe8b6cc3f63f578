"""The findings of this project about what it tests, one text each.

``findings.md`` is a link to ``docs/findings.md``; a wheel has its content. So an installed package
can show the text that an entry of the catalog names as its source.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_HEADING = re.compile(r"(?m)^## (?=(\d+)\. )")
_PREFIX = "finding-"


def finding(name: str) -> str | None:
    """Return the text of a finding such as ``finding-1``, in Markdown; None if there is none."""
    return _findings().get(name)


def finding_ids() -> tuple[str, ...]:
    """Return the identifier of every finding, in order."""
    return (*_findings(),)


@cache
def _findings() -> dict[str, str]:
    text = files(__package__).joinpath("findings.md").read_text(encoding="utf-8")
    _, *parts = _HEADING.split(text)  # the number and the text of each, in turn
    return {
        f"{_PREFIX}{number}": part.strip()
        for number, part in zip(parts[::2], parts[1::2], strict=True)
    }
