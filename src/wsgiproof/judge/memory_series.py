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
missed. In address space one fall is left out, too, if it goes below what the process had before
its first request: glibc gave back 0.9 MB of its start in the middle of a load, which hid growth.

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
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Literal

import msgspec

from wsgiproof.judge.finding import count, in_words
from wsgiproof.judge.growth import CONFIDENCE, LeakStatus
from wsgiproof.judge.slope import (
    Slope,
    earlier_half,
    lasting_growth,
    later_half,
    part_rates,
    span,
    theil_sen,
    without_release,
    without_step,
)

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
_MOST_ARENAS = 3
"""Steps by which the address space of a good version grew after warm-up, at most."""
LEAST_POINTS = 9
"""Samples that a series needs: its later half has 5 of them, the least for a 95 % interval."""


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
    living: bool = True
    """Whether the process was there when memory was read for the last time."""
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
    return judge_together(judge_each(series))


def judge_each(series: Sequence[MemorySeries]) -> list[SeriesDecision]:
    """Return the decision on each series that is long enough."""
    return [judge_series(one) for one in _long_enough(series)]


def judge_together(each: Sequence[SeriesDecision]) -> MemoryDecision:
    """Return the decision that follows from those on each series."""
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
    needed = needed_to_pass(decided)
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
    """Return the series that are long enough.

    A process that was replaced early has a short one. If none is long enough, they are those of the
    process that will be the first to have one: of those that live it has the most points.
    """
    long = [one for one in series if len(one.points) >= LEAST_POINTS]
    living = [one for one in series if one.living]
    if long or not living:
        return long or series
    first = max(living, key=lambda one: len(one.points)).pid
    return [one for one in living if one.pid == first]


def needed_to_pass(decided: Sequence[SeriesDecision]) -> list[SeriesDecision]:
    """Return those that a pass needs: resident memory is too coarse if malloc's was read.

    Address space grows by whole arenas. So it is needed only if its usual growth is material, in
    more steps than arenas make: a mapping that is left now and then shows in nothing else.
    """
    finer = {one.series.pid for one in decided if one.series.unit == "bytes"}
    return [one for one in decided if _is_needed(one, finer)]


def _is_needed(one: SeriesDecision, finer: Collection[int]) -> bool:
    if one.series.unit == "mapped bytes":
        rate = one.slope.rate if one.slope else 0.0
        undecided = one.status is LeakStatus.UNDECIDED
        return undecided and rate >= MATERIAL["mapped bytes"] and _goes_on_in_steps(one.series)
    return one.series.unit != "resident bytes" or one.series.pid not in finer


def _goes_on_in_steps(series: MemorySeries) -> bool:
    """Return whether a series has more steps than arenas make, and the later half as many as the
    earlier one."""

    def steps(points: Sequence[tuple[int, int]]) -> int:
        rises = (after - before for (_, before), (_, after) in pairwise(points))
        return sum(rise > ALLOWANCE[series.unit] for rise in rises)

    earlier, later = steps(earlier_half(series.points)), steps(later_half(series.points))
    return earlier + later > _MOST_ARENAS and later >= earlier


def judge_series(series: MemorySeries) -> SeriesDecision:
    """Return the decision on one metric."""
    points = series.points
    if len(points) < LEAST_POINTS or not (span(earlier_half(points)) and span(later_half(points))):
        return _too_short(series)
    halves = _Halves.of(series)
    slope = halves.slope
    doubt = _doubt(halves)
    growth = f"{name_of(series)} {rate_text(slope, series.unit)}"
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
    """The halves of a series, which share a point. A single step of either is left out, and of
    address space the release of what the process had before its first request."""

    unit: Unit
    earlier: list[tuple[int, int]]
    later: list[tuple[int, int]]
    slope: Slope
    """Of the later half."""
    drained: int | None

    @classmethod
    def of(cls, series: MemorySeries) -> _Halves:
        allowance = ALLOWANCE[series.unit]
        mapped = series.unit == "mapped bytes"
        points = without_release(series.points, allowance) if mapped else series.points
        earlier = without_step(earlier_half(points), allowance)
        removed = later_half(points)[0][1] - earlier[-1][1]
        later = [(requests, value - removed) for requests, value in later_half(points)]
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
        reason=f"{name_of(series)} was read {count(len(points), 'time')}; "
        f"{LEAST_POINTS} are needed",
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


def name_of(series: MemorySeries) -> str:
    """Return ``malloc in use of pid 4711``."""
    group = f" in {series.group}" if series.group else ""
    return f"{series.what} of pid {series.pid}{group}"


def rate_text(slope: Slope, unit: Unit) -> str:
    """Return ``grows by 81.5 bytes per request (81.1 to 81.6, 95 %)``."""
    return (
        f"grows by {_figure(slope.rate)} {unit} per request"
        f" ({_figure(slope.low)} to {_figure(slope.high)}, {100 * CONFIDENCE:.0f} %)"
    )
