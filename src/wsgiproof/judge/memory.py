"""Does memory grow with requests, and go on growing? Decided from series of metrics.

Memory is never exactly quiet. A good PyMongo still grows after warm-up, as caches and per-thread
pools fill, and grows ever less. So the decision is made in the later half of a series, and a leak
is growth there that

* is more than a good version is allowed, even at the low end of the interval of its slope;
* goes on: not much slower than in the earlier half, and no cache that has filled;
* is spread over the rounds, as a few late connections with their buffers are not;
* lasts: it leads to where the series has never been, and, where the server was left idle and its
  garbage was collected afterwards, the memory is still in use.

One step in a half, whatever its size, is left out: at some moment of each good run malloc grew by
544,768 bytes at once, just as a dict of strings does that CPython 3.11 enlarges from 2**15 to 2**16
slots (the interned strings, it seems). Bursts of a leak that come only once in the later half are
not seen.

What is neither a leak nor excluded is undecided: the same decision can be made again after more
requests, when what still grows by itself has had its time.

The constants rest on PyMongo 4.20.0 with Python 3.11, mod_wsgi 6.1.1 and glibc 2.36 under real
Apache, 3,000 requests in 12 rounds. In the later half of a daemon process malloc in use grew by
6.5 to 9.9 bytes per request (a standalone and a replica set; 0 with
``GLIBC_TUNABLES=glibc.malloc.tcache_count=0``, and 0 in prefork, where one thread does it all) and
allocated blocks by 0.15 to 0.2. In prefork, where each of four children served 830 of the requests,
blocks still grew by 0.9 to 1.4 there, from 3.5 at the start. ``MALLOC_ARENA_MAX`` changes none of
it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from wsgiproof.cell import Cell
from wsgiproof.judge.finding import Outcome, count, evidence
from wsgiproof.judge.growth import CONFIDENCE, Growth
from wsgiproof.judge.slope import (
    Slope,
    earlier_half,
    lasting_growth,
    later_half,
    part_rates,
    span,
    theil_sen,
    without_step,
)
from wsgiproof.records import Finding, MemorySample, Observed, PhaseName

Unit = Literal["bytes", "blocks", "resident bytes"]

ALLOWANCE: dict[Unit, int] = {"bytes": 24 * 1024, "blocks": 750, "resident bytes": 2**20}
"""What the later half may grow by without being a leak, however many requests it has. What still
fills after warm-up is bounded, or grows as a logarithm does: a sum, and no rate. Good ones were
seen to grow by 15 kB and by 570 blocks."""
MATTERS: dict[Unit, float] = {"bytes": 32.0, "blocks": 0.5, "resident bytes": 350.0}
"""Units per request that a series has to exclude to pass: the smallest chunk that malloc gives,
once per request; and half of one object per request."""
NOISE: dict[Unit, int] = {"bytes": 6 * 1024, "blocks": 300, "resident bytes": 256 * 1024}
"""What a good one wavers by: with several request threads, allocated blocks went up and down by 180
between readings, and led nowhere. A process that serves few requests can't exclude a rate below
that; a pass says which rate it excludes."""
KNOWN_GOOD = 0.6
"""The least that the rate of the later half may be of the earlier one's, for growth that goes on.
Growth as the logarithm, or as the square root, of the requests comes to 0.4; a steady leak on top
of the drift of a good version to 0.75 or more."""
PARTS = 6
"""Parts of the later half, of which all but one have to grow."""
LEAST_OF_RATE = 1 / 3
"""How much of the whole rate a part needs to have grown."""
HELD = 0.5
"""How much of the later half's growth has to lead to a new high, and how much of it has to be in
use after the idle drain."""
LEAST_POINTS = 9
"""Checkpoints of a series that can be decided: the later half has 5 of them, which is the least for
an interval of 95 %."""


def memory(cell: Cell, observed: Observed) -> Outcome:
    """Memory in use by each process, by several metrics."""
    decision = decided(observed)
    if decision.growth is Growth.LEAK:
        return Outcome(findings=(_finding(decision, observed),))
    if decision.growth is Growth.UNDECIDED:
        more = f": about {decision.more:,} more requests to it would decide (-n)"
        return Outcome(missing=decision.reason + (more if decision.more else ""))
    return Outcome(passed=decision.reason + _without(decision))


def _without(decision: Decision) -> str:
    """Which metrics there were none of, as malloc's where an interpreter refuses ctypes."""
    there = {one.series.what for one in decision.series}
    gone = [what for what in _WITNESSES if what not in there]
    return f"; not available here: {', '.join(gone)}" if gone else ""


def decided(observed: Observed) -> Decision:
    """What the memory of all processes came to, as far as can be told so far."""
    return judge_memory(list(series_of(observed)))


def grows(observed: Observed) -> bool:
    """Whether memory leaks, as far as can be told so far."""
    return decided(observed).growth is Growth.LEAK


def more_to_decide(observed: Observed) -> int:
    """Requests, of the whole server, that are likely to decide; 0 if it is decided.

    A process gets its part of them.
    """
    decision = decided(observed)
    if decision.growth is not Growth.UNDECIDED:
        return 0
    return max((_of_all(one, observed) for one in _needed(decision.series)), default=0)


def _of_all(one: SeriesDecision, observed: Observed) -> int:
    """The requests of the whole server in which this one's process gets those that it needs."""
    served = one.series.points[-1][0] if one.series.points else 0
    return math.ceil(one.more * observed.requests / served) if served else one.more


def series_of(observed: Observed) -> Iterator[MemorySeries]:
    """Each metric of each process, over the requests that this process has answered."""
    readings: defaultdict[int, list[MemorySample]] = defaultdict(list)
    drained: dict[int, MemorySample] = {}
    for sample in observed.samples:
        for reading in sample.memory:
            if sample.phase == PhaseName.COOL_DOWN:
                drained[reading.pid] = reading
            else:
                readings[reading.pid].append(reading)
    first = {reading.pid for sample in observed.samples[:1] for reading in sample.memory}
    for pid, taken in readings.items():
        if pid not in first:  # it came later: the first third of its readings is its warm-up
            taken = taken[len(taken) // 3 :]
        for what, (field, unit) in _WITNESSES.items():
            points = [
                (reading.requests, value)
                for reading in taken
                if (value := getattr(reading, field)) is not None
            ]
            if points:
                last = drained.get(pid)
                yield MemorySeries(
                    what=what,
                    unit=unit,
                    pid=pid,
                    points=tuple(points),
                    drained=getattr(last, field) if last is not None else None,
                )


_WITNESSES: dict[str, tuple[str, Unit]] = {
    "allocated blocks": ("blocks", "blocks"),
    "malloc in use": ("malloc", "bytes"),
    "unique set size": ("uss", "resident bytes"),
}
"""Each metric with its field of a reading, and its unit."""


def _finding(decision: Decision, observed: Observed) -> Finding:
    first = decision.leaks[0]
    return Finding(
        check="memory",
        seen=decision.reason,
        meaning=(
            "memory is taken with requests and never given back, not even when the server is idle "
            "and garbage has been collected; the process grows until it is killed"
        ),
        action=(
            "see which types grew, in the evidence; where none did, C code takes memory of its "
            "own, or does not release objects that it has made"
        ),
        evidence=evidence(
            [
                *_grown(observed),
                *(
                    f"{_name(one.series)}: "
                    + ", ".join(f"{value}@{at}" for at, value in one.series.points)
                    for one in decision.leaks[:4]
                ),
                f"after the idle drain: {first.series.drained}",
            ]
        ),
    )


def _grown(observed: Observed) -> Iterator[str]:
    """The types with about one new object for each request, or more."""
    for one in observed.object_growth:
        where = f"pid {one.pid} {one.application_group}, {one.requests} requests"
        for name, objects in one.types:
            if objects >= one.requests / 4:
                yield f"{where}: {objects:+,} {name}"


class MemorySeries(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one process, or interpreter, after warm-up.

    ``points`` are ``(requests, value)``: requests are those that *this process* has served, or the
    rates come out too small. A process that took over from another is a series of its own.
    """

    what: str
    """The metric: ``malloc in use``, ``allocated blocks``."""
    unit: Unit
    pid: int
    group: str = ""
    """The application group; empty where the metric is that of the whole process."""
    points: tuple[tuple[int, int], ...]
    drained: int | None = None
    """The value after an idle time and a garbage collection at the end; None if not read. The
    points have to be read after a collection too: garbage in them counts as given back."""


class SeriesDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What one series came to, and why."""

    series: MemorySeries
    growth: Growth
    reason: str
    slope: Slope | None = None
    """Units per request in the later half, with the interval; None if the series is too short."""
    more: int = 0
    """If undecided: how many more requests of this process are likely to decide."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What all series came to together. ``leaks`` has the strongest evidence first."""

    growth: Growth
    reason: str
    more: int = 0
    leaks: tuple[SeriesDecision, ...] = ()
    series: tuple[SeriesDecision, ...] = ()


def judge_memory(series: Sequence[MemorySeries]) -> Decision:
    """The decision for all metrics of all processes together.

    One metric is enough for a leak, as each alone has to meet every condition: blocks alone tell
    of small Python objects (those are not malloc's), malloc alone of memory that C took, both of
    larger Python objects. Nothing passes while one is undecided, nor where there is no series.
    """
    decided = tuple(judge_series(one) for one in _long_enough(series))
    leaks = sorted(
        (one for one in decided if one.growth is Growth.LEAK), key=_times_allowed, reverse=True
    )
    if leaks:
        reason = _leaks_in_words(leaks, processes=len({one.series.pid for one in decided}))
        return Decision(growth=Growth.LEAK, reason=reason, leaks=tuple(leaks), series=decided)
    needed = _needed(decided)
    undecided = [one for one in needed if one.growth is Growth.UNDECIDED]
    if undecided or not needed:
        slowest = max(undecided, key=lambda one: one.more, default=None)
        return Decision(
            growth=Growth.UNDECIDED,
            reason=slowest.reason if slowest else "no metric of memory could be read",
            more=slowest.more if slowest else 0,
            series=decided,
        )
    return Decision(growth=Growth.NONE, reason=_told_most(needed), series=decided)


def _leaks_in_words(leaks: Sequence[SeriesDecision], processes: int) -> str:
    """Return one clause for each kind and metric, with all processes in which it leaks."""
    groups: dict[tuple[str, str], list[SeriesDecision]] = {}
    for one in leaks:
        groups.setdefault((_kind(leaks, one), one.series.what), []).append(one)
    return "; ".join(
        f"{kind}: {one[0].reason if len(one) == 1 else _several(one, processes)}"
        for (kind, _), one in groups.items()
    )


def _several(leaks: Sequence[SeriesDecision], processes: int) -> str:
    """``allocated blocks grow by 15 blocks per request in all 4 processes (14 to 16, 95%)``."""
    slopes = [one.slope for one in leaks if one.slope is not None]
    rates = sorted(one.rate for one in slopes)
    ends = list(dict.fromkeys(f"{rate:,.3g}" for rate in (rates[0], rates[-1])))
    low, high = min(one.low for one in slopes), max(one.high for one in slopes)
    where = f"all {processes}" if len(leaks) == processes else f"{len(leaks)} of {processes}"
    series = leaks[0].series
    says = f"{series.what} grow by {' to '.join(ends)} {series.unit} per request"
    interval = list(dict.fromkeys((f"{low:,.3g}", f"{high:,.3g}")))
    if interval == ends:
        return f"{says} in {where} processes"
    return f"{says} in {where} processes ({' to '.join(interval)}, {CONFIDENCE:.0%})"


def _told_most(decided: Sequence[SeriesDecision]) -> str:
    """The most that any of these may have grown by, in each unit."""
    most: dict[str, float] = {}
    for one in decided:
        if one.slope is not None:
            unit = one.series.unit
            most[unit] = max(most.get(unit, 0.0), one.slope.high)
    told = " and ".join(f"{high:,.2g} {unit}" for unit, high in most.items())
    processes = len({one.series.pid for one in decided})
    return f"at most {told} per request (95 %), in {count(processes, 'process', 'processes')}"


def _long_enough(series: Sequence[MemorySeries]) -> Sequence[MemorySeries]:
    """Without those that are too short, as of a process replaced early, where others are not."""
    long = [one for one in series if len(one.points) >= LEAST_POINTS]
    return long or series


def _needed(decided: Sequence[SeriesDecision]) -> list[SeriesDecision]:
    """Those that a pass needs: resident memory is too coarse where malloc tells."""
    finer = {one.series.pid for one in decided if one.series.unit == "bytes"}
    return [
        one for one in decided if one.series.unit != "resident bytes" or one.series.pid not in finer
    ]


def judge_series(series: MemorySeries) -> SeriesDecision:
    """The decision for one metric."""
    points = series.points
    if len(points) < LEAST_POINTS or not (span(earlier_half(points)) and span(later_half(points))):
        return _too_short(series)
    halves = _Halves.of(series)
    slope = halves.slope
    doubt = _doubt(halves)
    says = f"{_name(series)} {told(slope, series.unit)}"
    if not doubt:
        return SeriesDecision(series=series, growth=Growth.LEAK, reason=says, slope=slope)
    if _excluded(halves):
        return SeriesDecision(series=series, growth=Growth.NONE, reason=says, slope=slope)
    return SeriesDecision(
        series=series,
        growth=Growth.UNDECIDED,
        reason=f"{says}, but {doubt}",
        slope=slope,
        more=_more(series, slope),
    )


class _Halves(msgspec.Struct, frozen=True, kw_only=True):
    """A series in its halves, which share a point; a single step of either is left out."""

    unit: Unit
    earlier: list[tuple[int, int]]
    later: list[tuple[int, int]]
    slope: Slope
    """Of the later half."""
    drained: int | None

    @classmethod
    def of(cls, series: MemorySeries) -> _Halves:
        allowance = ALLOWANCE[series.unit]
        earlier = without_step(earlier_half(series.points), allowance)
        removed = later_half(series.points)[0][1] - earlier[-1][1]
        later = [(requests, value - removed) for requests, value in later_half(series.points)]
        later = without_step(later, allowance)
        removed = series.points[-1][1] - later[-1][1]
        return cls(
            unit=series.unit,
            earlier=earlier,
            later=later,
            slope=theil_sen(later, CONFIDENCE),
            drained=None if series.drained is None else series.drained - removed,
        )

    @property
    def floor(self) -> float:
        """Units per request that a leak has to exceed: the allowance, spread."""
        return ALLOWANCE[self.unit] / span(self.later)

    @property
    def growth(self) -> float:
        """Units by which the later half has grown, by its slope: less noisy than two readings."""
        return self.slope.rate * span(self.later)

    @property
    def kept(self) -> int | None:
        """Of that growth, what is in use after the drain; None if that was not read."""
        return None if self.drained is None else self.drained - self.later[0][1]

    @property
    def range(self) -> int:
        """From the least value of the whole series to the greatest."""
        values = [value for _, value in (*self.earlier, *self.later)]
        return max(values) - min(values)

    @property
    def new_high(self) -> int:
        """How far the end is above all that was there in the earlier half."""
        return self.later[-1][1] - max(value for _, value in self.earlier)


def _doubt(halves: _Halves) -> str:
    """What speaks against a leak; empty if nothing does."""
    slope, floor = halves.slope, halves.floor
    if slope.low <= floor:
        return f"up to {floor:.3g} {halves.unit} per request may be what still fills"
    if slope.rate < KNOWN_GOOD * theil_sen(halves.earlier).rate:
        return "it grows ever less"
    rates = part_rates(halves.later, PARTS)
    if sum(rate < LEAST_OF_RATE * slope.rate for rate in rates) > 1:
        return "it came in a few steps"
    if min(lasting_growth(halves.later), halves.new_high) <= HELD * halves.growth:
        return "it came down again"
    if halves.kept is not None and halves.kept < HELD * halves.growth:
        return "it was given back when the server was idle"
    return ""


def _excluded(halves: _Halves) -> bool:
    """Whether a leak that matters would look otherwise."""
    matters, allowance = MATTERS[halves.unit], ALLOWANCE[halves.unit]
    if halves.range <= NOISE[halves.unit]:
        return True
    if halves.slope.high < max(matters, NOISE[halves.unit] / span(halves.later)):
        return True
    if halves.kept is not None and halves.kept <= min(allowance, HELD / 2 * halves.growth):
        return True
    # Most parts stand still, and what the others grew by is no more than is allowed.
    rates = part_rates(halves.later, PARTS)
    standing = 2 * sum(abs(rate) < matters for rate in rates) >= len(rates)
    told_apart = halves.floor <= matters
    return told_apart and standing and lasting_growth(halves.later) <= allowance


def _more(series: MemorySeries, slope: Slope) -> int:
    """Requests after which the later half is all new, and long enough for a leak of this rate."""
    sure = max(slope.rate / 2, MATTERS[series.unit])
    wanted = math.ceil(2 * ALLOWANCE[series.unit] / sure)
    return max(span(series.points), wanted - span(series.points))


def _too_short(series: MemorySeries) -> SeriesDecision:
    """Undecided, with the requests of the rounds that are missing."""
    points = series.points
    wanted = math.ceil(2 * ALLOWANCE[series.unit] / MATTERS[series.unit])
    served = span(points) if points else 0
    missing = LEAST_POINTS - len(points)
    rounds = math.ceil(served / max(1, len(points) - 1) * missing)
    return SeriesDecision(
        series=series,
        growth=Growth.UNDECIDED,
        reason=f"{_name(series)} was read {len(points)} times, and {LEAST_POINTS} are needed",
        more=max(wanted - served, rounds, 1),
    )


def _times_allowed(decision: SeriesDecision) -> float:
    assert decision.slope is not None
    allowance = ALLOWANCE[decision.series.unit]
    return decision.slope.low * span(later_half(decision.series.points)) / allowance


def _kind(leaks: Sequence[SeriesDecision], leak: SeriesDecision) -> str:
    """Which memory it is, from the metrics of the same process that agree."""
    units = {one.series.unit for one in leaks if one.series.pid == leak.series.pid}
    if units == {"blocks"}:
        return "small Python objects"
    return "memory taken by C" if units == {"bytes"} else "Python objects"


def _name(series: MemorySeries) -> str:
    group = f" in {series.group}" if series.group else ""
    return f"{series.what} of pid {series.pid}{group}"


def told(slope: Slope, unit: Unit) -> str:
    """``grows by 81.5 bytes per request (81.1 to 81.6, 95%)``."""
    return (
        f"grows by {slope.rate:,.3g} {unit} per request"
        f" ({slope.low:,.3g} to {slope.high:,.3g}, {CONFIDENCE:.0%})"
    )
