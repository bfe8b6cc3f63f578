"""The run and all of its cells, as the matrix of a page shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from wsgiproof.analysis.axes import axes_of, title, value_of, varying
from wsgiproof.analysis.figures import MEANINGS, TITLES, Figure, figures, machines, names
from wsgiproof.judge.rules import RulesOf
from wsgiproof.judge.verdict import every_check
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.run import CellRecord, Excluded, RunRecord
from wsgiproof.report.causes import SEVERE, Cause, causes
from wsgiproof.report.cells_table import same
from wsgiproof.report.known import found, unseen
from wsgiproof.report.summary import heading
from wsgiproof.report.text import one_line

_MOST_EXCLUDED = 200
_MOST_CAUSES = 60
_LONGEST_REASON = 300


def overview(record: RunRecord, rules_of: RulesOf) -> dict[str, Any]:
    """Return everything that a page needs before a reader opens a cell."""
    cells = [one.cell for one in record.cells]
    figured = [figures(one) for one in record.cells]
    axes = axes_of(cells)
    return {
        "wsgiproof": record.wsgiproof,
        "title": heading(record),
        "command": record.command,
        "started": record.started,
        "finished": record.finished,
        "complete": record.complete and not record.missing,
        "host": {key: value for key, value in record.host.items() if value},
        "machines": machines(record.cells),
        "axes": [{"name": axis, "title": title(axis)} for axis in axes],
        "varying": varying(cells),
        "same": same(record.cells),
        "checks": _checks(record, rules_of),
        "figures": [
            {"name": name, "title": TITLES[name], "meaning": MEANINGS[name]}
            for name in names(figured)
        ],
        "cells": [_cell(*pair, axes) for pair in zip(record.cells, figured, strict=True)],
        "causes": _causes(record.cells, rules_of),
        "known": [*found(record.cells), *(line for _, line in unseen(record.cells))],
        "missing": record.missing,
        "excluded": _excluded(record.excluded),
    }


def _checks(record: RunRecord, rules_of: RulesOf) -> list[str]:
    there = {one.check for cell in record.cells for one in cell.checks}
    known = dict.fromkeys(
        name for cell in record.cells for name in every_check(rules_of(cell.cell))
    )
    return [*(name for name in known if name in there), *sorted(there - known.keys())]


def _cell(cell: CellRecord, figured: Sequence[Figure], axes: Sequence[str]) -> dict[str, Any]:
    return {
        "id": cell.cell.id,
        "axes": [value_of(axis, cell.cell) for axis in axes],
        "verdict": cell.verdict,
        "reason": one_line(cell.reason, _LONGEST_REASON),
        "checks": {
            one.check: one.verdict for one in cell.checks if one.verdict is not Verdict.PASS
        },
        "passed": [one.check for one in cell.checks if one.verdict is Verdict.PASS],
        "findings": Counter(one.check for one in cell.findings),
        "figures": {one.name: one.text for one in figured},
        "seconds": round(cell.timings.get("total", 0.0), 1),
    }


def _causes(cells: Sequence[CellRecord], rules_of: RulesOf) -> list[dict[str, Any]]:
    """Each cause once, with its cells: crashes and hangs first, then those in most cells; what is
    accepted comes last."""
    kinds: dict[tuple[str, ...], list[tuple[CellRecord, Cause]]] = {}
    for cell in cells:
        for cause in causes(cell, rules_of(cell.cell)):
            kind = (cause.check, cause.meaning, cause.action, *cause.accepted)
            kinds.setdefault(kind, []).append((cell, cause))
    ordered = sorted(kinds.values(), key=_place)
    return [_cause(hits) for hits in ordered[:_MOST_CAUSES]]


def _place(hits: Sequence[tuple[CellRecord, Cause]]) -> tuple[bool, bool, int]:
    _, cause = hits[0]
    return bool(cause.accepted), cause.check not in SEVERE, -len(hits)


def _cause(hits: Sequence[tuple[CellRecord, Cause]]) -> dict[str, Any]:
    """What the first of them was, since numbers differ from cell to cell."""
    _, cause = hits[0]
    others = [one.check for _, cause in hits for one in cause.consequences]
    return {
        "check": cause.check,
        "seen": one_line(cause.seen, _LONGEST_REASON),
        "known": cause.known.id if cause.known else "",
        "accepted": "; ".join(map(one_line, cause.accepted)),
        "meaning": one_line(cause.meaning),
        "action": one_line(cause.action),
        "consequences": list(dict.fromkeys(others)),
        "cells": list(dict.fromkeys(cell.cell.id for cell, _ in hits)),
    }


def _excluded(excluded: tuple[Excluded, ...]) -> list[dict[str, Any]]:
    """For each reason the number of combinations, and the first of them."""
    found: dict[str, list[str]] = {}
    for one in excluded:
        named = ", ".join(f"{axis} {value}" for axis, value in one.axes.items())
        found.setdefault(one.reason, []).append(named)
    return [
        {"reason": one_line(reason), "count": len(several), "some": several[:_MOST_EXCLUDED]}
        for reason, several in sorted(found.items(), key=lambda item: -len(item[1]))
    ]
