"""The checks of a cell without a result, with those that lack the same evidence together."""

from __future__ import annotations

import math
from collections.abc import Iterable

from wsgiproof.judge.memory import more_to_decide
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import Observed
from wsgiproof.records.run import CellRecord

_FEW = 2
"""Checks that each get their own reason, even if the experiment ended early."""
_ROUND = 100
"""Numbers of requests that are suggested are multiples of this."""


def undecided(cell: CellRecord) -> list[tuple[tuple[str, ...], str]]:
    """Return the checks that are inconclusive, with the reason of each; alike ones are together.

    After an early end, most checks had no chance: they are one item, with the reason of the end.
    """
    checks = [one for one in cell.checks if one.verdict is Verdict.INCONCLUSIVE]
    seen = cell.observed
    if seen is not None and seen.aborted and len(checks) > _FEW:
        names = tuple(one.check for one in checks)
        return [(names, f"the experiment ended early: {seen.aborted}")]
    return _by_reason((one.check, f"{one.reason}{_decides(one.check, seen)}") for one in checks)


def skipped(cell: CellRecord) -> list[tuple[tuple[str, ...], str]]:
    """Return the checks that were skipped, as :func:`undecided` does."""
    checks = (one for one in cell.checks if one.verdict is Verdict.SKIPPED)
    return _by_reason((one.check, one.reason) for one in checks)


def _by_reason(checks: Iterable[tuple[str, str]]) -> list[tuple[tuple[str, ...], str]]:
    """Return each reason with the checks that have it."""
    groups: dict[str, list[str]] = {}
    for name, reason in checks:
        groups.setdefault(reason, []).append(name)
    return [(tuple(names), reason) for reason, names in groups.items()]


def needed_requests(seen: Observed) -> int:
    """Return the requests that are likely to decide about memory, as for ``-n``; 0 if it is."""
    more = more_to_decide(seen)
    return math.ceil((seen.requests + more) / _ROUND) * _ROUND if more else 0


def _decides(check: str, seen: Observed | None) -> str:
    needed = needed_requests(seen) if check == "memory" and seen is not None else 0
    return f"; '-n {needed}' is likely to decide it" if needed else ""
