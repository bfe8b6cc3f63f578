"""The run and all of its cells, as far as the matrix of a page shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from wsgiproof.judge.verdict import CHECKS
from wsgiproof.records import CellRecord, Excluded, RunRecord, Verdict
from wsgiproof.report.axes import AXES, title, varying
from wsgiproof.report.figures import MEANINGS, TITLES, Figure, figures, names
from wsgiproof.report.summary import heading, kinds
from wsgiproof.report.text import one_line

_MOST_EXCLUDED = 200
_MOST_KINDS = 60
_LONGEST_REASON = 300


def overview(record: RunRecord) -> dict[str, Any]:
    """All that a page needs before a cell is looked at."""
    cells = [one.cell for one in record.cells]
    figured = [figures(one) for one in record.cells]
    return {
        "wsgiproof": record.wsgiproof,
        "title": heading(record),
        "command": record.command,
        "started": record.started,
        "finished": record.finished,
        "complete": record.complete and not record.missing,
        "host": {key: value for key, value in record.host.items() if value},
        "axes": [{"name": axis, "title": title(axis)} for axis in AXES],
        "varying": varying(cells),
        "checks": _checks(record),
        "figures": [
            {"name": name, "title": TITLES[name], "meaning": MEANINGS[name]}
            for name in names(figured)
        ],
        "cells": [_cell(*pair) for pair in zip(record.cells, figured, strict=True)],
        "kinds": [*_kinds(record.cells)],
        "missing": record.missing,
        "excluded": _excluded(record.excluded),
    }


def _checks(record: RunRecord) -> list[str]:
    there = {one.check for cell in record.cells for one in cell.checks}
    return [*(name for name in CHECKS if name in there), *sorted(there - set(CHECKS))]


def _cell(cell: CellRecord, figured: Sequence[Figure]) -> dict[str, Any]:
    return {
        "id": cell.cell.id,
        "axes": [tell(cell.cell) for tell in AXES.values()],
        "verdict": cell.verdict,
        "reason": one_line(cell.reason, _LONGEST_REASON),
        "checks": {
            one.check: one.verdict for one in cell.checks if one.verdict is not Verdict.PASS
        },
        "passed": [one.check for one in cell.checks if one.verdict is Verdict.PASS],
        "findings": Counter(one.check for one in cell.findings),
        "figures": {one.name: one.told for one in figured},
        "seconds": round(cell.timings.get("total", 0.0), 1),
    }


def _kinds(cells: Sequence[CellRecord]) -> Iterator[dict[str, Any]]:
    """Each kind of finding once, with the cells that it is in."""
    for (check, meaning, action), hits in kinds(cells)[:_MOST_KINDS]:
        yield {
            "check": check,
            "meaning": one_line(meaning),
            "action": one_line(action),
            "seen": one_line(hits[0][1].seen, _LONGEST_REASON),
            "cells": list(dict.fromkeys(cell.cell.id for cell, _ in hits)),
        }


def _excluded(excluded: tuple[Excluded, ...]) -> list[dict[str, Any]]:
    """By reason: how many, and the first of them."""
    found: dict[str, list[str]] = {}
    for one in excluded:
        named = ", ".join(f"{axis} {value}" for axis, value in one.axes.items())
        found.setdefault(one.reason, []).append(named)
    return [
        {"reason": one_line(reason), "count": len(several), "some": several[:_MOST_EXCLUDED]}
        for reason, several in sorted(found.items(), key=lambda item: -len(item[1]))
    ]
