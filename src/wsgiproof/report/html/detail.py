"""Everything that the page of one cell shows, as data."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from wsgiproof.analysis.axes import axes_of, title, value_of
from wsgiproof.analysis.figures import MEANINGS, TITLES, figures
from wsgiproof.judge.rules import Rules
from wsgiproof.records.judgement import Explanation, Finding
from wsgiproof.records.observed import LogLine, Observed
from wsgiproof.records.run import CellRecord
from wsgiproof.report.causes import Cause, causes
from wsgiproof.report.explained import control
from wsgiproof.report.html import charts, tables
from wsgiproof.report.html.cell_files import cell_file
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
_OF_A_FINDING = {
    *("check", "seen", "meaning", "action", "evidence", "explained"),
    *("rate", "known"),
}
_OF_A_CELL = {
    *("format", "cell", "verdict", "reason", "findings", "checks", "rerun", "directory"),
    *("timings", "toolchain", "packages", "inputs", "tries", "observed"),
    "accept_known_upstream",
}


def detail(
    cell: CellRecord, rules: Rules, run: Path | None, varying: Collection[str] = frozenset()
) -> dict[str, Any]:
    """Return everything that the page of a cell shows.

    ``run`` is the directory with the files next to its record, and ``varying`` are the axes in
    which the cells of the run differ.
    """
    seen = cell.observed
    return {
        "id": cell.cell.id,
        "verdict": cell.verdict,
        "reason": excerpt(cell.reason, *_EVIDENCE),
        "axes": [
            {"title": title(axis), "value": value, "varies": axis in varying}
            for axis in axes_of([cell.cell])
            if (value := value_of(axis, cell.cell))
        ],
        "rerun": cell.rerun,
        "tries": [excerpt(one, *_EVIDENCE) for one in cell.tries],
        "findings": len(cell.findings),
        "causes": [_cause(one) for one in causes(cell, rules)],
        "checks": [(one.check, one.verdict, excerpt(one.reason, 10, 0)) for one in cell.checks],
        "figures": [
            {"title": TITLES[one.name], "text": one.text, "meaning": MEANINGS[one.name]}
            for one in figures(cell)
        ],
        "timings": cell.timings,
        "made_of": {**cell.toolchain, **cell.packages},
        "texts": [{"title": name, "text": text} for name, text in _texts(cell, run) if text],
        "log": log(cell.cell, rules.catalog, *_log_of(cell, run)),
        "more": [*_more(cell, _OF_A_CELL)],
        **(_observed(cell, rules, seen) if seen is not None else {}),
    }


def _observed(cell: CellRecord, rules: Rules, seen: Observed) -> dict[str, Any]:
    begin = beginning(seen)
    return {
        "notes": [*filter(None, [control(cell)]), *_notes(seen)],
        "charts": charts.charts(
            rules.counted, seen, {one.check: one.verdict for one in cell.checks}
        ),
        "load": charts.load_over_time(seen, begin),
        "histograms": histograms(seen),
        "answers": tables.answers(seen),
        "interpreters": tables.interpreters(seen),
        "timeline": timeline(cell.cell, seen),
        "tables": [*trials(seen, begin), *tables.tables(seen, begin)],
        "stacks": [excerpt(one, *_STACK) for one in stacks(seen)],
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return {
        "check": cause.check,
        "seen": [excerpt(one, 10, 0) for one in cause.sightings],
        "accepted": list(cause.accepted),
        "known": _explanation(cause.known) if cause.known else None,
        "meaning": cause.meaning,
        "action": cause.action,
        "evidence": [excerpt(text, *_EVIDENCE) for text in cause.evidence],
        "more": [pair for one in cause.findings for pair in _more(one, _OF_A_FINDING)],
        "consequences": [_finding(one) for one in cause.consequences],
        "traces": [_explanation(one) for one in cause.also_known],
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


def _explanation(one: Explanation) -> dict[str, Any]:
    """An entry of the catalog, with the text that it explains."""
    return {
        "id": one.id,
        "text": excerpt(one.text, 3, 0),
        "where": one.where,
        "count": one.count,
        "meaning": one.meaning,
        "action": one.action,
        "versions": one.versions,
        "source": one.source,
        "whose": one.whose,
    }


def _more(one: msgspec.Struct, known: set[str]) -> Iterator[tuple[str, str]]:
    """The fields that have no place of their own on the page, as text."""
    for name in one.__struct_fields__:
        value = getattr(one, name)
        if name not in known and value not in ("", None, ()):
            yield name.replace("_", " "), excerpt(outline(value), *_EVIDENCE)


def _notes(seen: Observed) -> Iterator[str]:
    """What a reader has to know before the rest."""
    if seen.decided_early:
        yield f"The load ended early, because this was certain: {seen.decided_early}."
    if seen.budget_exhausted:
        yield f"The load was cut short: {seen.budget_exhausted}."
    if seen.aborted:
        yield f"The experiment ended before its plan was through: {seen.aborted}."


def _texts(cell: CellRecord, run: Path | None) -> Iterator[tuple[str, str]]:
    yield "httpd.conf", excerpt(cell_file(run, cell.directory, "httpd.conf"), *_FILE)
    yield "httpd-output.log", excerpt(cell_file(run, cell.directory, "httpd-output.log"), *_FILE)


def _log_of(cell: CellRecord, run: Path | None) -> tuple[list[LogLine], int]:
    """The recorded lines; the file itself if the cell ended before they were recorded."""
    if cell.observed is not None:
        return list(cell.observed.log), cell.observed.log_lines_dropped
    lines = cell_file(run, cell.directory, "error.log").splitlines()
    return [LogLine(phase="", text=line) for line in lines], 0
