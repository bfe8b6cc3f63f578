"""The error log as a page shows it: its beginning, its end, and each known line."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from wsgiproof.judge.explain.catalog import Catalog, Place
from wsgiproof.judge.explain.lines import TRACEBACK, Line, parse
from wsgiproof.records.cell import Cell
from wsgiproof.records.observed import LogLine

_HEAD = 150
_TAIL = 150
_MOST_KNOWN = 150
"""Lines."""
_LONGEST = 600
"""Characters of a line."""
_EXIT_SIGNAL = re.compile(r"exit signal ")


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One line, or a gap where lines are left out."""

    number: int
    """Counted from 1; 0 for a gap."""
    text: str
    phase: str = ""
    known: str = ""
    """The meaning of a known line; empty for any other."""


def log(cell: Cell, catalog: Catalog, lines: Sequence[LogLine], dropped: int) -> list[Shown]:
    """Return the lines to show; ``dropped`` is the number of lines that were not recorded."""
    known = {
        number: known
        for number, line in enumerate(parse(lines))
        if (known := meaning(line, catalog, cell))
    }
    kept = {*range(_HEAD), *range(len(lines) - _TAIL, len(lines)), *[*known][:_MOST_KNOWN]}
    shown: list[Shown] = []
    last = -1
    for number in sorted(kept & set(range(len(lines)))):
        if number > last + 1:
            shown.append(_gap(number - last - 1, "are left out here"))
        shown.append(_line(number, lines[number], known.get(number, "")))
        last = number
    if dropped:
        shown.append(_gap(dropped, "were written after these, and not recorded"))
    return shown


def meaning(line: Line, catalog: Catalog, cell: Cell | None = None) -> str:
    """Return what a line of an error log means by itself; empty for most lines."""
    if TRACEBACK in line.text:
        return "a traceback begins"
    if _EXIT_SIGNAL.search(line.text):
        return "Apache reports a child that died by a signal"
    known = catalog.find(line.text, Place.LOG, line.phase, cell=cell)
    return known.meaning if known else ""


def _line(number: int, line: LogLine, known: str) -> Shown:
    more = len(line.text) - _LONGEST
    text = line.text if more <= 0 else f"{line.text[:_LONGEST]} ... {more:,} more characters"
    return Shown(number=number + 1, text=text, phase=line.phase, known=known)


def _gap(lines: int, what: str) -> Shown:
    return Shown(number=0, text=f"{lines:,} lines {what}")
