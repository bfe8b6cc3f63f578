"""The key figures of a cell: computed here, and shown alike in every report.

A figure that could not be measured, or whose phase was not carried out, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from wsgiproof.judge import memory
from wsgiproof.judge.finding import count
from wsgiproof.judge.memory_series import MATERIAL, SeriesDecision
from wsgiproof.judge.slope import Slope
from wsgiproof.records.observed import Observed
from wsgiproof.records.plan import PhaseName
from wsgiproof.records.run import CellRecord, RunRecord
from wsgiproof.records.traffic import merged


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One number, with its interval of 95 % where it has one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    text: str
    """For people, with its unit."""


TITLES = {
    "requests_per_second": "requests/s",
    "latency_p50": "latency p50",
    "latency_p99": "latency p99",
    "memory_per_request": "memory/request",
    "blocks_per_request": "blocks/request",
    "recovery": "recovery",
}
"""The name of every figure, with its title as the head of a column."""
MEANINGS = {
    "requests_per_second": "answered requests of the parallel phase, while any were in flight",
    "latency_p50": "half of the requests of the parallel phase took no longer",
    "latency_p99": "99 of 100 requests of the parallel phase took no longer",
    "memory_per_request": "bytes by which the fastest growing process grew, over the later half of "
    "the load: by malloc's count, or by resident memory where malloc has no count or where "
    "Python's own allocator grew instead",
    "blocks_per_request": "blocks of Python's own allocator by which the fastest growing process "
    "grew, over the later half of the load; left out where they did not grow",
    "recovery": "the longest time from the start of a fault in the deployment until every "
    "interpreter answered again and no request failed any more; faults without a recovery are "
    "left out",
}


_TIMES = ", on which requests take different times."


def figures(cell: CellRecord) -> tuple[Figure, ...]:
    """Return the figures that the record of this cell has."""
    seen = cell.observed
    if seen is None:
        return ()
    every = (
        _requests_per_second(seen),
        _latency(seen, "latency_p50", 50),
        _latency(seen, "latency_p99", 99),
        *_memory(seen),
        _recovery(seen),
    )
    return tuple(one for one in every if one)


def by_name(cell: CellRecord) -> dict[str, Figure]:
    """Return the figures of a cell by their names."""
    return {one.name: one for one in figures(cell)}


def of_other_machines(number: int, what: str) -> str:
    """Return what to say where figures of so many ``what`` stand side by side that ran on different
    machines; empty if there are none."""
    return f"{count(number, what)} ran on different machines{_TIMES}" if number else ""


def machines(cells: Iterable[CellRecord]) -> str:
    """Return what to say of a run whose cells ran on different machines; empty if they did not."""
    names = sorted({one.host["name"] for one in cells if one.host.get("name")})
    return f"The cells ran on {', '.join(names)}{_TIMES}" if len(names) > 1 else ""


def with_figures(record: RunRecord) -> dict[str, Any]:
    """Return what ``results.json`` has, and the figures of each cell."""
    content = record.to_json()
    for entry, cell in zip(content["cells"], record.cells, strict=True):
        entry["figures"] = {
            one.name: {"value": one.value, "low": one.low, "high": one.high}
            for one in figures(cell)
        }
    return content


def names(several: Iterable[Sequence[Figure]]) -> list[str]:
    """Return the names of the figures that any of these cells has, in their order."""
    there = {one.name for some in several for one in some}
    return [name for name in TITLES if name in there]


def _requests_per_second(seen: Observed) -> Figure | None:
    rate = seen.requests_per_second
    return Figure(name="requests_per_second", value=rate, text=f"{rate:,.0f}") if rate else None


def _latency(seen: Observed, name: str, percent: float) -> Figure | None:
    parallel = merged((one for one in seen.latencies if one.phase == PhaseName.PARALLEL), "all")
    if not parallel.count:
        return None
    seconds = parallel.percentile(percent)
    return Figure(name=name, value=seconds, text=f"{seconds * 1e3:,.1f} ms")


def _memory(seen: Observed) -> Iterator[Figure]:
    series = memory.decision_of(seen).series
    blocks, malloc = _fastest(series, "blocks"), _fastest(series, "bytes")
    python_grows = _grows(blocks, MATERIAL["blocks"])
    slope = malloc or _fastest(series, "resident bytes")
    if python_grows and not _grows(malloc, MATERIAL["bytes"]):
        # What Python's own allocator takes is no memory of malloc's, which would say 0.
        resident = _fastest(series, "resident bytes")
        slope = resident if _grows(resident, 0) else None
    if slope:
        yield _per_request("memory_per_request", slope, " B")
    if python_grows and blocks:
        yield _per_request("blocks_per_request", blocks, "")


def _per_request(name: str, slope: Slope, unit: str) -> Figure:
    return Figure(
        name=name,
        value=slope.rate,
        low=slope.low,
        high=slope.high,
        text=f"{slope.rate:,.3g}{unit}" + _interval(slope.low, slope.high),
    )


def _fastest(series: Iterable[SeriesDecision], unit: str) -> Slope | None:
    """The steepest slope of one metric, of all processes; None if it could not be read."""
    slopes = (one.slope for one in series if one.series.unit == unit)
    return max(
        (one for one in slopes if one and math.isfinite(one.high)),
        key=lambda one: one.rate,
        default=None,
    )


def _grows(slope: Slope | None, matters: float) -> bool:
    return slope is not None and slope.rate >= matters and slope.low > 0


def _recovery(seen: Observed) -> Figure | None:
    took = [one.recovered for one in seen.outages if one.recovered is not None]
    return Figure(name="recovery", value=max(took), text=f"{max(took):.1f} s") if took else None


def _interval(low: float, high: float) -> str:
    return f" ({low:,.3g} to {high:,.3g})" if low != high else ""
