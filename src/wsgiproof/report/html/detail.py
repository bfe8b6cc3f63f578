"""Everything that the page of one cell shows, as data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from wsgiproof.records import CellRecord, Finding, LogLine, Observed
from wsgiproof.report.axes import AXES, title
from wsgiproof.report.figures import MEANINGS, TITLES, figures
from wsgiproof.report.html import charts, tables
from wsgiproof.report.html.beside import beside
from wsgiproof.report.html.histograms import histograms
from wsgiproof.report.html.logs import log
from wsgiproof.report.html.outline import outline
from wsgiproof.report.html.stacks import stacks
from wsgiproof.report.html.timeline import beginning, timeline
from wsgiproof.report.html.trials import trials
from wsgiproof.report.text import excerpt

_EVIDENCE = (60, 20)
"""Lines of each text that are shown, from its beginning and from its end."""
_STACK = (400, 100)
_FILE = (300, 100)
_OF_A_FINDING = {"check", "seen", "meaning", "action", "evidence"}
_OF_A_CELL = {
    *("format", "cell", "verdict", "reason", "findings", "checks", "rerun", "directory"),
    *("timings", "toolchain", "packages", "inputs", "tries", "observed"),
}


def detail(cell: CellRecord, run: Path | None) -> dict[str, Any]:
    """What there is to say of a cell; ``run`` is the directory with the files beside its record."""
    seen = cell.observed
    return {
        "id": cell.cell.id,
        "verdict": cell.verdict,
        "reason": excerpt(cell.reason, *_EVIDENCE),
        "axes": [(title(axis), told) for axis, tell in AXES.items() if (told := tell(cell.cell))],
        "rerun": cell.rerun,
        "tries": [excerpt(one, *_EVIDENCE) for one in cell.tries],
        "findings": [_finding(one) for one in cell.findings],
        "checks": [(one.check, one.verdict, excerpt(one.reason, 10, 0)) for one in cell.checks],
        "figures": [
            {"title": TITLES[one.name], "told": one.told, "meaning": MEANINGS[one.name]}
            for one in figures(cell)
        ],
        "timings": cell.timings,
        "made_of": {**cell.toolchain, **cell.packages},
        "texts": [{"title": name, "text": text} for name, text in _texts(cell, run) if text],
        "log": log(*_log_of(cell, run)),
        "more": [*_more(cell, _OF_A_CELL)],
        **(_observed(cell, seen) if seen is not None else {}),
    }


def _observed(cell: CellRecord, seen: Observed) -> dict[str, Any]:
    begin = beginning(seen)
    return {
        "notes": [*_notes(seen)],
        "charts": charts.charts(seen),
        "pace": charts.pace(seen, begin),
        "histograms": histograms(seen),
        "answers": tables.answers(seen),
        "interpreters": tables.interpreters(seen),
        "timeline": timeline(cell.cell, seen),
        "tables": [*trials(seen, begin), *tables.tables(seen, begin)],
        "stacks": [excerpt(one, *_STACK) for one in stacks(seen)],
    }


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "check": one.check,
        "seen": excerpt(one.seen, 10, 0),
        "meaning": one.meaning,
        "action": one.action,
        "evidence": [excerpt(text, *_EVIDENCE) for text in one.evidence],
        "more": [*_more(one, _OF_A_FINDING)],
    }


def _more(one: msgspec.Struct, known: set[str]) -> Iterator[tuple[str, str]]:
    """What else there is in it, for which this page has no place of its own."""
    for name in one.__struct_fields__:
        value = getattr(one, name)
        if name not in known and value not in ("", None, ()):
            yield name.replace("_", " "), excerpt(outline(value), *_EVIDENCE)


def _notes(seen: Observed) -> Iterator[str]:
    """What has to be known to read the rest."""
    if seen.decided_early:
        yield f"The load ended early, since this was beyond doubt: {seen.decided_early}."
    if seen.budget_exhausted:
        yield f"The load was cut short: {seen.budget_exhausted}."
    if seen.aborted:
        yield f"The experiment ended before its plan was through: {seen.aborted}."


def _texts(cell: CellRecord, run: Path | None) -> Iterator[tuple[str, str]]:
    yield "httpd.conf", excerpt(beside(run, cell.directory, "httpd.conf"), *_FILE)
    yield "httpd-output.log", excerpt(beside(run, cell.directory, "httpd-output.log"), *_FILE)


def _log_of(cell: CellRecord, run: Path | None) -> tuple[list[LogLine], int]:
    """As it was recorded; of a cell that did not come to that, the file."""
    if cell.observed is not None:
        return list(cell.observed.log), cell.observed.log_lines_dropped
    lines = beside(run, cell.directory, "error.log").splitlines()
    return [LogLine(phase="", text=line) for line in lines], 0
