"""Does memory keep growing with requests? Decided from series of metrics.

Memory is never constant. A driver without a leak still grows after warm-up, as caches and
per-thread pools fill, but it grows more and more slowly. The decision is therefore made in the
later half of a series. Growth there is a leak if it

* is more than a good version is allowed, even at the low end of its slope's interval;
* continues: it is not much slower than in the earlier half, as a cache that has filled would be;
* is spread over the rounds, unlike a few late connections with their buffers;
* lasts: it reaches a new high, and the memory is still in use after the server was idle and its
  garbage was collected.

One step in each half is left out, whatever its size: in each good run malloc grew by 544,768 bytes
at one moment. A dict of strings does the same if CPython 3.11 enlarges it from 2**15 to 2**16 slots
(the interned strings, it seems). A leak that comes in a burst only once in the later half is
missed.

Two kinds of growth look like a leak for a while. What lives for seconds (entries that expire, a
buffer that a timer empties) is gone after a drain: then only values after a drain count, from one
drain to the next. A cache that is not yet full grows steadily until it is: growth is a leak only if
it continues after each interpreter could have filled a cache of the usual size, which takes a
cache trial in a short run.

Growth that is neither a leak nor excluded is undecided. The decision can be made again after more
requests, when what still fills by itself has had time to do so.

The constants are based on a driver of a database with Python 3.11, mod_wsgi 6.1.1 and glibc 2.36
under real Apache, 3,000 requests in 12 rounds. In the later half of a daemon process malloc in use
grew by 6.5 to 9.9 bytes per request (a standalone and a replica set; 0 with
``GLIBC_TUNABLES=glibc.malloc.tcache_count=0``, and 0 in prefork, where one thread does all the
work), and allocated blocks by 0.15 to 0.2. In prefork, where each of four children served 830 of
the requests, blocks still grew by 0.9 to 1.4 there, from 3.5 at the start. ``MALLOC_ARENA_MAX``
makes no difference.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from wsgiproof.judge.finding import Outcome, count, evidence, in_words
from wsgiproof.judge.growth import CONFIDENCE, LeakStatus
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
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import CacheTrial, MemorySample, Observed
from wsgiproof.records.plan import PhaseName

Unit = Literal["bytes", "blocks", "resident bytes", "mapped bytes"]

ALLOWANCE: dict[Unit, int] = {
    "bytes": 24 * 1024,
    "blocks": 750,
    "resident bytes": 2**20,
    "mapped bytes": 2**14,
}
"""What the later half may grow by without a leak, however many requests it has. What still fills
after warm-up is bounded, or grows like a logarithm, so this is a sum and not a rate. Good versions
grew by 15 kB and by 570 blocks. Their address space grows by whole arenas, which are one step or
two; a page in each round is more than nothing."""
MATERIAL: dict[Unit, float] = {
    "bytes": 32.0,
    "blocks": 0.5,
    "resident bytes": 350.0,
    "mapped bytes": 100.0,
}
"""Units per request that a series has to exclude to pass: the smallest chunk of malloc once per
request, and half an object per request."""
NOISE: dict[Unit, int] = {
    "bytes": 6 * 1024,
    "blocks": 300,
    "resident bytes": 256 * 1024,
    "mapped bytes": 2**14,
}
"""What the memory of a good version varies by: with several request threads, allocated blocks rose
and fell by 180 between samples without growing. A process that serves few requests can't exclude a
rate below that; a pass states the rate that it excludes."""
STEADY_RATIO = 0.6
"""Growth continues if the rate of the later half is at least this share of the earlier half's.
Growth like the logarithm or the square root of the requests has 0.4; a steady leak on top of the
drift of a good version has 0.75 or more."""
PARTS = 6
"""Parts of the later half; all but one have to grow."""
LEAST_PART = 1 / 3
"""A part has grown if its rate is at least this share of the whole rate."""
KEPT = 0.5
"""The share of the later half's growth that has to be above the earlier half, and still in use
after the idle time."""
FREED = "it was freed when the server was idle"
"""The doubt about growth of which a drain took back a part."""
LEAST_POINTS = 9
"""Samples that a series needs: its later half has 5 of them, the least for a 95 % interval."""


def memory(cell: Cell, observed: Observed) -> Outcome:
    """The memory in use by each process does not keep growing, by several metrics."""
    decision = decision_of(observed)
    if decision.status is LeakStatus.LEAK:
        return Outcome(findings=(_finding(decision, observed),))
    if decision.status is LeakStatus.UNDECIDED:
        more = f": about {more_to_decide(observed):,} more requests would decide (-n)"
        return Outcome(missing=decision.reason + (more if decision.more else ""))
    return Outcome(passed=decision.reason + _unavailable(decision))


def _unavailable(decision: MemoryDecision) -> str:
    """Return which metrics no process had, such as malloc's if an interpreter refuses ctypes."""
    read = {one.series.what for one in decision.series}
    unread = [what for what in _METRICS if what not in read and what != _ADDRESS_SPACE]
    return f"; not available here: {', '.join(unread)}" if unread else ""


def decision_of(observed: Observed) -> MemoryDecision:
    """Return the decision on the memory of all processes, from the measurements so far."""
    decided = _with_drains(_each(list(series_of(observed))), observed)
    return _together([_with_trials(one, observed) for one in decided])


def grows(observed: Observed) -> bool:
    """Return whether memory leaks, by the measurements so far."""
    return decision_of(observed).status is LeakStatus.LEAK


def seems_to_grow(observed: Observed) -> bool:
    """Return whether memory grows like a leak, or like a cache that is not yet full."""
    decided = _with_drains(_each(list(series_of(observed))), observed)
    return _together(decided).status is LeakStatus.LEAK


def to_drain(observed: Observed) -> bool:
    """Return whether only more load with another drain can decide."""
    decision = decision_of(observed)
    return decision.status is LeakStatus.UNDECIDED and any(
        one.freed and one.status is LeakStatus.UNDECIDED for one in decision.series
    )


def to_try(observed: Observed) -> bool:
    """Return whether memory grows like a cache that is not yet full."""
    return seems_to_grow(observed) and not grows(observed)


def trial_continues(trial: CacheTrial, observed: Observed) -> bool:
    """Return whether some metric that grew keeps growing in these readings, at about its rate."""
    return any(
        _continues(one, trial)
        for one in _with_drains(_each(list(series_of(observed))), observed)
        if one.status is LeakStatus.LEAK
    )


def _with_drains(decided: Sequence[SeriesDecision], observed: Observed) -> Sequence[SeriesDecision]:
    """Return the decisions, with those on temporary growth made again by values after drains.

    The allocators give little memory back to the system, so resident memory stays when objects have
    gone. It is judged by the drains, too, where a finer metric of the same process is.
    """
    if not observed.plan.drain:
        return decided
    freed = {one.series.pid for one in decided if one.freed}
    return [
        _between_drains(one, observed)
        if one.freed
        or (
            one.series.pid in freed
            and one.status is LeakStatus.LEAK
            and one.series.unit == "resident bytes"
        )
        else one
        for one in decided
    ]


def _between_drains(one: SeriesDecision, observed: Observed) -> SeriesDecision:
    unit, field = one.series.unit, _METRICS[one.series.what][0]
    points = [
        (reading.requests, value)
        for sample in observed.drained
        for reading in sample.memory
        if reading.pid == one.series.pid and (value := getattr(reading, field)) is not None
    ]
    served = points[-1][0] - points[0][0] if points else 0
    if served <= 0:
        return msgspec.structs.replace(
            one,
            status=LeakStatus.UNDECIDED,
            freed=True,
            more=0,
            reason=f"{_growth(one)}, but {FREED}: more load and another drain would decide",
        )
    grown = points[-1][1] - points[0][1]
    slope = Slope(
        rate=grown / served,
        low=(grown - NOISE[unit]) / served,
        high=(max(grown, 0) + NOISE[unit]) / served,
    )
    if grown <= max(NOISE[unit], MATERIAL[unit] * served):
        status, reason = LeakStatus.NO_LEAK, one.reason
    else:
        status = LeakStatus.UNDECIDED
        reason = (
            f"{_name(one.series)} grew by {grown:,} {unit} in {served:,} requests between two "
            f"drains: a drain of more than {observed.plan.drain:g} seconds (--drain-seconds), or "
            "several times as many requests (-n), would decide"
        )
    return msgspec.structs.replace(
        one, status=status, reason=reason, slope=slope, more=0, freed=True
    )


def _with_trials(one: SeriesDecision, observed: Observed) -> SeriesDecision:
    """Return the decision on growth that a cache could explain, by the cache trials."""
    entries, interpreters = observed.plan.cache_entries, len(observed.urls)
    served = later_half(one.series.points)[0][0] if one.series.points else 0
    if one.status is not LeakStatus.LEAK or served >= entries * interpreters:
        return one
    pid = one.series.pid
    trials = [trial for trial in observed.cache_trials if pid in trial.full]
    if any(_continues(one, trial) for trial in trials):
        return one
    slopes = [slope for trial in trials if (slope := _slope_in(trial, one.series)) is not None]
    if {trial.url for trial in trials} == {*observed.urls} and len(slopes) == len(trials):
        highest = max(slopes, key=lambda slope: slope.high)
        noise = NOISE[one.series.unit] / min(_span_in(trial, one.series) for trial in trials)
        if highest.high < max(MATERIAL[one.series.unit], noise):
            return msgspec.structs.replace(one, status=LeakStatus.NO_LEAK, slope=highest)
    return msgspec.structs.replace(
        one,
        status=LeakStatus.UNDECIDED,
        reason=f"{_growth(one)}, but a cache of up to {entries:,} entries would, until it is full",
        more=max(1, 2 * entries * interpreters - one.series.points[-1][0]),
    )


def _growth(one: SeriesDecision) -> str:
    assert one.slope is not None
    return f"{_name(one.series)} {rate_text(one.slope, one.series.unit)}"


def _continues(one: SeriesDecision, trial: CacheTrial) -> bool:
    slope = _slope_in(trial, one.series)
    assert one.slope is not None
    return (
        one.series.pid in trial.full
        and slope is not None
        and slope.low > 0
        and slope.rate >= STEADY_RATIO * one.slope.rate
    )


def _slope_in(trial: CacheTrial, series: MemorySeries) -> Slope | None:
    points = _points_in(trial, series)
    return theil_sen(points) if len(points) >= LEAST_POINTS and span(points) else None


def _span_in(trial: CacheTrial, series: MemorySeries) -> int:
    return span(_points_in(trial, series))


def _points_in(trial: CacheTrial, series: MemorySeries) -> list[tuple[int, int]]:
    field = _METRICS[series.what][0]
    return [
        (one.requests, value)
        for reading in trial.readings
        for one in reading
        if one.pid == series.pid and (value := getattr(one, field)) is not None
    ]


def more_to_decide(observed: Observed) -> int:
    """Return how many more requests to the server are likely to decide; 0 if it is decided.

    Each process gets its share of them.
    """
    decision = decision_of(observed)
    if decision.status is not LeakStatus.UNDECIDED:
        return 0
    return max((_server_requests(one, observed) for one in _needed(decision.series)), default=0)


def _server_requests(one: SeriesDecision, observed: Observed) -> int:
    """Return the requests to the server of which this series' process gets as many as it needs."""
    served = one.series.points[-1][0] if one.series.points else 0
    # Not all that were made: the diagnosis comes after the last point.
    return math.ceil(one.more * observed.samples[-1].requests / served) if served else one.more


def series_of(observed: Observed) -> Iterator[MemorySeries]:
    """Yield each metric of each process, over the requests that this process has answered."""
    samples: defaultdict[int, list[MemorySample]] = defaultdict(list)
    drained: dict[int, MemorySample] = {}
    for sample in observed.samples:
        for one in sample.memory:
            if sample.phase == PhaseName.COOL_DOWN:
                drained[one.pid] = one
            else:
                samples[one.pid].append(one)
    first = {one.pid for sample in observed.samples[:1] for one in sample.memory}
    for pid, of_process in samples.items():
        if pid not in first:  # it started later: the first third of its samples is its warm-up
            of_process = of_process[len(of_process) // 3 :]
        for what, (field, unit) in _METRICS.items():
            if what == _ADDRESS_SPACE and _threads_vary(pid, observed):
                continue
            points = [
                (one.requests, value)
                for one in of_process
                if (value := getattr(one, field)) is not None
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


def _threads_vary(pid: int, observed: Observed) -> bool:
    """Return whether the number of threads changed: the stack of each is 8 MB of address space."""
    numbers = {
        one.threads for sample in observed.samples for one in sample.processes if one.pid == pid
    }
    return len(numbers) > 1


_ADDRESS_SPACE = "address space"
_METRICS: dict[str, tuple[str, Unit]] = {
    "allocated blocks": ("blocks", "blocks"),
    "malloc in use": ("malloc", "bytes"),
    "unique set size": ("uss", "resident bytes"),
    _ADDRESS_SPACE: ("mapped", "mapped bytes"),
}
"""Each metric with its field of :class:`MemorySample`, and its unit."""


def _finding(decision: MemoryDecision, observed: Observed) -> Finding:
    first = decision.leaks[0]
    return Finding(
        check="memory",
        seen=decision.reason,
        meaning=(
            "requests take memory that is never freed, not even when the server is idle and "
            "garbage has been collected; the process grows until it is killed"
        ),
        action=(
            "see which types grew, in the evidence; if none did, C code takes memory itself, or "
            "does not release objects that it has made"
        ),
        evidence=evidence(
            [
                *_grown_types(observed),
                *(
                    f"{_name(one.series)}: "
                    + ", ".join(f"{value}@{at}" for at, value in one.series.points)
                    for one in decision.leaks[:4]
                ),
                f"after the idle time: {first.series.drained}",
                *(_in_trial(trial, first.series) for trial in observed.cache_trials),
            ]
        ),
    )


def _grown_types(observed: Observed) -> Iterator[str]:
    """Yield the types with at least one new object for every four requests."""
    for one in observed.object_growth:
        where = f"pid {one.pid} {one.application_group}, {one.requests} requests"
        for name, objects in one.types:
            if objects >= one.requests / 4:
                yield f"{where}: {objects:+,} {name}"


def _in_trial(trial: CacheTrial, series: MemorySeries) -> str:
    """Return the readings of a cache trial as text, for the evidence."""
    readings = ", ".join(f"{value}@{at}" for at, value in _points_in(trial, series))
    return f"{trial.url} alone, once a cache would be full: {readings}"


class MemorySeries(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one process, or interpreter, after warm-up.

    ``points`` are ``(requests, value)``. The requests are those that *this process* has served;
    otherwise the rates would be too low. A process that replaced another has its own series.
    """

    what: str
    """The metric: ``malloc in use``, ``allocated blocks``."""
    unit: Unit
    pid: int
    group: str = ""
    """The application group; empty if the metric is that of the whole process."""
    points: tuple[tuple[int, int], ...]
    drained: int | None = None
    """The value at the end, after an idle time and a garbage collection; None if it was not read.
    The points have to be read after a collection too: garbage in them would count as freed."""


class SeriesDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The decision on one series, and why."""

    series: MemorySeries
    status: LeakStatus
    reason: str
    slope: Slope | None = None
    """Units per request in the later half, with the interval; None if the series is too short."""
    more: int = 0
    """If undecided: how many more requests of this process are likely to decide."""
    freed: bool = False
    """Whether a drain took back a part of the growth, so that only values after drains count."""


class MemoryDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The decision on all series together. ``leaks`` has the strongest evidence first."""

    status: LeakStatus
    reason: str
    more: int = 0
    leaks: tuple[SeriesDecision, ...] = ()
    series: tuple[SeriesDecision, ...] = ()


def judge_memory(series: Sequence[MemorySeries]) -> MemoryDecision:
    """Return the decision on all metrics of all processes together.

    One metric is enough for a leak, since each has to meet every condition. Blocks alone mean small
    Python objects (malloc does not provide those), malloc alone means memory that C took, and both
    mean larger Python objects. Nothing passes while a metric is undecided, or without a series.
    """
    return _together(_each(series))


def _each(series: Sequence[MemorySeries]) -> list[SeriesDecision]:
    return [judge_series(one) for one in _long_enough(series)]


def _together(each: Sequence[SeriesDecision]) -> MemoryDecision:
    decided = tuple(each)
    leaks = sorted(
        (one for one in decided if one.status is LeakStatus.LEAK), key=_times_allowed, reverse=True
    )
    # What else leaks is also mapped, and says more.
    leaks = [one for one in leaks if one.series.unit != "mapped bytes"] or leaks
    if leaks:
        return MemoryDecision(
            status=LeakStatus.LEAK,
            reason=_leaks_in_words(leaks, processes=len({one.series.pid for one in decided})),
            leaks=tuple(leaks),
            series=decided,
        )
    needed = _needed(decided)
    undecided = [one for one in needed if one.status is LeakStatus.UNDECIDED]
    if undecided or not needed:
        slowest = max(undecided, key=lambda one: one.more, default=None)
        return MemoryDecision(
            status=LeakStatus.UNDECIDED,
            reason=slowest.reason if slowest else "no metric of memory could be read",
            more=slowest.more if slowest else 0,
            series=decided,
        )
    return MemoryDecision(status=LeakStatus.NO_LEAK, reason=_bounds(decided), series=decided)


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


def _bounds(decided: Sequence[SeriesDecision]) -> str:
    """Return the most that any of these may have grown by, in each unit."""
    most: dict[str, float] = {}
    for one in decided:
        if one.slope is not None:
            unit = one.series.unit
            most[unit] = max(most.get(unit, 0.0), one.slope.high)
    bounds = in_words([f"{_rounded(high)} {unit}" for unit, high in most.items()])
    processes = len({one.series.pid for one in decided})
    return (
        f"memory grew by at most {bounds} per request (95 %), "
        f"in {count(processes, 'process', 'processes')}"
    )


def _rounded(number: float) -> str:
    return f"{number:,.0f}" if 10 <= abs(number) < math.inf else f"{number:.2g}"


def _figure(number: float) -> str:
    return f"{number:,.0f}" if 1000 <= abs(number) < math.inf else f"{number:,.3g}"


def _long_enough(series: Sequence[MemorySeries]) -> Sequence[MemorySeries]:
    """Return the series that are long enough, or all if none is.

    A process that was replaced early has a short one.
    """
    long = [one for one in series if len(one.points) >= LEAST_POINTS]
    return long or series


def _needed(decided: Sequence[SeriesDecision]) -> list[SeriesDecision]:
    """Return those that a pass needs: resident memory is too coarse if malloc's was read.

    Address space is never needed: it grows by whole arenas.
    """
    finer = {one.series.pid for one in decided if one.series.unit == "bytes"}
    return [
        one
        for one in decided
        if one.series.unit in ("bytes", "blocks")
        or (one.series.unit == "resident bytes" and one.series.pid not in finer)
    ]


def judge_series(series: MemorySeries) -> SeriesDecision:
    """Return the decision on one metric."""
    points = series.points
    if len(points) < LEAST_POINTS or not (span(earlier_half(points)) and span(later_half(points))):
        return _too_short(series)
    halves = _Halves.of(series)
    slope = halves.slope
    doubt = _doubt(halves)
    growth = f"{_name(series)} {rate_text(slope, series.unit)}"
    if not doubt:
        return SeriesDecision(series=series, status=LeakStatus.LEAK, reason=growth, slope=slope)
    excluded = _is_excluded(halves)
    return SeriesDecision(
        series=series,
        status=LeakStatus.NO_LEAK if excluded else LeakStatus.UNDECIDED,
        reason=growth if excluded else f"{growth}, but {doubt}",
        slope=slope,
        more=0 if excluded else _more(series, slope),
        freed=doubt == FREED,
    )


class _Halves(msgspec.Struct, frozen=True, kw_only=True):
    """The halves of a series, which share a point; a single step of either is left out."""

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
        """Units per request that a leak has to exceed: the allowance, spread over the half."""
        return ALLOWANCE[self.unit] / span(self.later)

    @property
    def growth(self) -> float:
        """Units by which the later half grew, by its slope: less noisy than its two ends."""
        return self.slope.rate * span(self.later)

    @property
    def kept(self) -> int | None:
        """The part of the growth still in use after the idle time; None if it was not read."""
        return None if self.drained is None else self.drained - self.later[0][1]

    @property
    def range(self) -> int:
        """From the least value of the whole series to the greatest."""
        values = [value for _, value in (*self.earlier, *self.later)]
        return max(values) - min(values)

    @property
    def new_high(self) -> int:
        """How far the end is above every value of the earlier half."""
        return self.later[-1][1] - max(value for _, value in self.earlier)


def _doubt(halves: _Halves) -> str:
    """Return what speaks against a leak; empty if nothing does."""
    slope, floor = halves.slope, halves.floor
    if slope.low <= floor:
        return f"up to {floor:.3g} {halves.unit} per request may be caches that still fill"
    if slope.rate < STEADY_RATIO * theil_sen(halves.earlier).rate:
        return "the growth slows down"
    rates = part_rates(halves.later, PARTS)
    if sum(rate < LEAST_PART * slope.rate for rate in rates) > 1:
        return "it grew in a few steps"
    if min(lasting_growth(halves.later), halves.new_high) <= KEPT * halves.growth:
        return "it fell again"
    if halves.kept is not None and halves.kept < KEPT * halves.growth:
        return FREED
    return ""


def _is_excluded(halves: _Halves) -> bool:
    """Return whether a material leak would look different."""
    material, allowance = MATERIAL[halves.unit], ALLOWANCE[halves.unit]
    if halves.range <= NOISE[halves.unit]:
        return True
    if halves.slope.high < max(material, NOISE[halves.unit] / span(halves.later)):
        return True
    if halves.kept is not None and halves.kept <= min(allowance, KEPT / 2 * halves.growth):
        return True
    # Most parts are flat, and the others together grew by no more than is allowed.
    rates = part_rates(halves.later, PARTS)
    mostly_flat = 2 * sum(abs(rate) < material for rate in rates) >= len(rates)
    long_enough = halves.floor <= material
    return long_enough and mostly_flat and lasting_growth(halves.later) <= allowance


def _more(series: MemorySeries, slope: Slope) -> int:
    """Return the requests after which the later half is new, and long enough for this rate."""
    rate = max(slope.rate / 2, MATERIAL[series.unit])
    needed = math.ceil(2 * ALLOWANCE[series.unit] / rate)
    return max(span(series.points), needed - span(series.points))


def _too_short(series: MemorySeries) -> SeriesDecision:
    """Return the decision as undecided, with the requests of the rounds that are missing."""
    points = series.points
    needed = math.ceil(2 * ALLOWANCE[series.unit] / MATERIAL[series.unit])
    served = span(points) if points else 0
    missing = LEAST_POINTS - len(points)
    rounds = math.ceil(served / max(1, len(points) - 1) * missing)
    return SeriesDecision(
        series=series,
        status=LeakStatus.UNDECIDED,
        reason=f"{_name(series)} was read {count(len(points), 'time')}; {LEAST_POINTS} are needed",
        more=max(needed - served, rounds, 1),
    )


def _times_allowed(decision: SeriesDecision) -> float:
    assert decision.slope is not None
    allowance = ALLOWANCE[decision.series.unit]
    return decision.slope.low * span(later_half(decision.series.points)) / allowance


def _kind(leaks: Sequence[SeriesDecision], leak: SeriesDecision) -> str:
    """Return which memory leaks, by the metrics of the same process that agree."""
    units = {one.series.unit for one in leaks if one.series.pid == leak.series.pid}
    if units == {"mapped bytes"}:
        return "mappings"
    units.discard("resident bytes")
    if not units:
        return "memory"
    if units == {"blocks"}:
        return "small Python objects"
    return "memory taken by C" if units == {"bytes"} else "Python objects"


def _name(series: MemorySeries) -> str:
    group = f" in {series.group}" if series.group else ""
    return f"{series.what} of pid {series.pid}{group}"


def rate_text(slope: Slope, unit: Unit) -> str:
    """Return ``grows by 81.5 bytes per request (81.1 to 81.6, 95 %)``."""
    return (
        f"grows by {_figure(slope.rate)} {unit} per request"
        f" ({_figure(slope.low)} to {_figure(slope.high)}, {100 * CONFIDENCE:.0f} %)"
    )
