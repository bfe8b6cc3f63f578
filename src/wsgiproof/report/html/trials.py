"""The restarts of a cell and the outages of its deployment, as tables."""

from __future__ import annotations

from collections.abc import Iterator

from wsgiproof.records.observed import Observed, Outage, Restart, Sample
from wsgiproof.report.html.tables import Table

_MOST = 60
"""Restarts that are shown; the latest ones."""


def trials(seen: Observed, begin: float) -> Iterator[Table]:
    """Yield a table of outages and one of restarts, where there are any.

    Moments are seconds after ``begin``.
    """
    if seen.outages:
        yield Table(
            title="Outages of the deployment",
            head=("at", "fault", "no primary", "all answer again", "requests", "failed",
                  "slowest answer", "connections", "left after"),
            rows=[_outage(one, begin) for one in seen.outages],
        )  # fmt: skip
    if seen.restarts:
        shown = seen.restarts[-_MOST:]
        yield Table(
            title="Restarts",
            head=("at", "how", "old processes gone", "left over", "begun and broken", "refused",
                  "orphaned connections", "memory of the parent"),
            rows=[_restart(one, begin) for one in shown],
            left_out=len(seen.restarts) - len(shown),
        )  # fmt: skip


def _restart(one: Restart, begin: float) -> tuple[object, ...]:
    last = "" if one.last_refused is None else f", the last after {one.last_refused:.2f} s"
    memory = one.parent_memory
    return (
        f"{one.time - begin:.1f} s",
        one.phase,
        f"{one.seconds:.2f} s",
        len(one.leftover),
        f"{one.broken} of {one.begun}",
        f"{one.refused} of {one.requests - one.begun}{last}",
        "not known" if one.orphaned is None else one.orphaned,
        "not known" if memory is None else f"{memory / 1024:,.0f} KiB",
    )


def _outage(one: Outage, begin: float) -> tuple[object, ...]:
    return (
        f"{one.time - begin:.1f} s",
        one.fault,
        _without_primary(one),
        "never" if one.recovered is None else f"after {one.recovered:.2f} s",
        one.requests,
        sum(failed.count for failed in one.failures),
        f"{one.slowest:.2f} s",
        f"{_connections(one.before)} → {_connections(one.after)}",
        "not read" if one.settled is None else f"{one.settled:.1f} s",
    )


def _without_primary(one: Outage) -> str:
    if one.primary_lost is None:
        return "always one"
    if one.primary_again is None:
        return f"from {one.primary_lost:.2f} s on"
    return f"{one.primary_lost:.2f} to {one.primary_again:.2f} s"


def _connections(reading: Sample | None) -> str:
    counted = reading.connections if reading else None
    return "not known" if counted is None else str(counted)
