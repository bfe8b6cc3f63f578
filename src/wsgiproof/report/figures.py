"""The key figures of a cell: computed here, and told alike wherever a run is told.

A figure that could not be had, or whose phase was not carried out, is not there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from wsgiproof.judge import memory
from wsgiproof.records import CellRecord, Observed, PhaseName, RunRecord
from wsgiproof.traffic import together


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One number, with its interval of 95 % where it has one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    told: str
    """As people read it, with its unit."""


TITLES = {
    "requests_per_second": "requests/s",
    "latency_p50": "latency p50",
    "latency_p99": "latency p99",
    "memory_per_request": "memory/request",
    "recovery": "recovery",
}
"""Every figure by its name, as the head of a column calls it."""
MEANINGS = {
    "requests_per_second": "answered requests of the parallel phase, while any were in flight",
    "latency_p50": "half of the requests of the parallel phase took no longer",
    "latency_p99": "99 of 100 requests of the parallel phase took no longer",
    "memory_per_request": "by how much the memory in use of the process that grows most did grow, "
    "over the later half of the load (malloc's, or else resident)",
    "recovery": "the longest time from the beginning of a fault in the deployment until every "
    "interpreter answered again and no request failed after, of those that came to that",
}


def figures(cell: CellRecord) -> tuple[Figure, ...]:
    """Those that the record of this cell has."""
    seen = cell.observed
    return () if seen is None else tuple(one for figure in _ALL if (one := figure(seen)))


def by_name(cell: CellRecord) -> dict[str, Figure]:
    """The same, to look one up."""
    return {one.name: one for one in figures(cell)}


def with_figures(record: RunRecord) -> dict[str, Any]:
    """What ``results.json`` has, and the figures of each cell."""
    told = record.to_json()
    for entry, cell in zip(told["cells"], record.cells, strict=True):
        entry["figures"] = {
            one.name: {"value": one.value, "low": one.low, "high": one.high}
            for one in figures(cell)
        }
    return told


def names(several: Iterable[Sequence[Figure]]) -> list[str]:
    """The figures that any of these cells has, in their order."""
    there = {one.name for some in several for one in some}
    return [name for name in TITLES if name in there]


def _requests_per_second(seen: Observed) -> Figure | None:
    rate = seen.requests_per_second
    return Figure(name="requests_per_second", value=rate, told=f"{rate:,.0f}") if rate else None


def _latency(name: str, percent: float) -> Callable[[Observed], Figure | None]:
    def figure(seen: Observed) -> Figure | None:
        parallel = together(
            (one for one in seen.latencies if one.phase == PhaseName.PARALLEL), "all"
        )
        if not parallel.count:
            return None
        seconds = parallel.percentile(percent)
        return Figure(name=name, value=seconds, told=f"{seconds * 1e3:,.1f} ms")

    return figure


def _memory_per_request(seen: Observed) -> Figure | None:
    decided = memory.decision_of(seen).series
    for unit in ("bytes", "resident bytes"):
        slopes = [
            one.slope
            for one in decided
            if one.series.unit == unit and one.slope and math.isfinite(one.slope.high)
        ]
        if slopes:
            most = max(slopes, key=lambda one: one.rate)
            return Figure(
                name="memory_per_request",
                value=most.rate,
                low=most.low,
                high=most.high,
                told=f"{most.rate:,.3g} B" + _interval(most.low, most.high),
            )
    return None


def _recovery(seen: Observed) -> Figure | None:
    took = [one.recovered for one in seen.outages if one.recovered is not None]
    return Figure(name="recovery", value=max(took), told=f"{max(took):.1f} s") if took else None


def _interval(low: float, high: float) -> str:
    return f" ({low:,.3g} to {high:,.3g})" if low != high else ""


_ALL: Sequence[Callable[[Observed], Figure | None]] = (
    _requests_per_second,
    _latency("latency_p50", 50),
    _latency("latency_p99", 99),
    _memory_per_request,
    _recovery,
)
