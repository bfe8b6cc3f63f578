"""The check ``memory``: the series of a cell, with its drains and its cache trials.

:mod:`wsgiproof.judge.memory_series` decides one series.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from wsgiproof.judge.finding import Outcome, evidence, in_words
from wsgiproof.judge.growth import LeakStatus
from wsgiproof.judge.memory_series import (
    FREED,
    LEAST_POINTS,
    MATERIAL,
    NOISE,
    STEADY_RATIO,
    MemoryDecision,
    MemorySeries,
    SeriesDecision,
    Unit,
    judge_each,
    judge_together,
    name_of,
    needed_to_pass,
    rate_text,
)
from wsgiproof.judge.slope import (
    Slope,
    later_half,
    span,
    theil_sen,
)
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import CacheTrial, MemorySample, Observed
from wsgiproof.records.plan import PhaseName


def memory(cell: Cell, observed: Observed) -> Outcome:
    """The memory in use by each process does not keep growing, by several metrics."""
    decision = decision_of(observed)
    if decision.status is LeakStatus.LEAK:
        return Outcome(findings=(_finding(decision, observed),))
    if decision.status is LeakStatus.UNDECIDED:
        needed = more_to_decide(observed)
        what = f"about {needed:,} more requests" if needed else "processes that serve more requests"
        decides = f": {what} would decide{' (-n)' if needed else ''}" if decision.more else ""
        return Outcome(missing=decision.reason + decides)
    return Outcome(passed=decision.reason + _unavailable(decision))


def _unavailable(decision: MemoryDecision) -> str:
    """Return which metrics no process had, such as malloc's if an interpreter refuses ctypes."""
    read = {one.series.what for one in decision.series}
    unread = [what for what in _METRICS if what not in read and what != _ADDRESS_SPACE]
    return f"; not available here: {', '.join(unread)}" if unread else ""


def decision_of(observed: Observed) -> MemoryDecision:
    """Return the decision on the memory of all processes, from the measurements so far."""
    return judge_together([_with_trials(one, observed) for one in _without_trials(observed)])


def grows(observed: Observed) -> bool:
    """Return whether memory leaks, by the measurements so far."""
    return decision_of(observed).status is LeakStatus.LEAK


def seems_to_grow(observed: Observed) -> bool:
    """Return whether memory grows like a leak, or like a cache that is not yet full."""
    return judge_together(_without_trials(observed)).status is LeakStatus.LEAK


def to_drain(observed: Observed) -> bool:
    """Return whether only more load with another drain can decide."""
    decision = decision_of(observed)
    return decision.status is LeakStatus.UNDECIDED and any(
        one.freed and one.status is LeakStatus.UNDECIDED for one in decision.series
    )


def has_grown(observed: Observed) -> bool:
    """Return whether memory grew, and it is undecided whether it leaks or is temporary.

    What lives for seconds grows as long as the load is young, which is all of it on a slow machine.
    """
    decisions = _without_trials(observed)
    return judge_together(decisions).status is LeakStatus.UNDECIDED and any(
        one.status is LeakStatus.UNDECIDED
        and not one.freed
        and one.slope is not None
        and one.slope.rate > 0
        for one in needed_to_pass(decisions)
    )


def to_try(observed: Observed) -> bool:
    """Return whether memory grows like a cache that is not yet full."""
    return seems_to_grow(observed) and not grows(observed)


def trial_continues(trial: CacheTrial, observed: Observed) -> bool:
    """Return whether some metric that grew keeps growing in these readings, at about its rate."""
    return any(
        _continues(one, trial) for one in _without_trials(observed) if one.status is LeakStatus.LEAK
    )


def _without_trials(observed: Observed) -> Sequence[SeriesDecision]:
    return _with_drains(judge_each(list(series_of(observed))), observed)


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
    unit = one.series.unit
    readings = (reading for sample in observed.drained for reading in sample.memory)
    points = _points(one.series.what, (each for each in readings if each.pid == one.series.pid))
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
            f"{name_of(one.series)} grew by {grown:,} {unit} in {served:,} requests between two "
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
    trials = observed.cache_trials
    if any(_continues(one, trial) for trial in trials):
        return one
    measured = [_measured_in(trial, one.series) for trial in trials]
    if {trial.url for trial in trials} == {*observed.urls} and all(measured):
        slopes = [slope for of_trial in measured for slope, _ in of_trial]
        highest = max(slopes, key=lambda slope: slope.high)
        noise = NOISE[one.series.unit] / min(span for of_trial in measured for _, span in of_trial)
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
    return f"{name_of(one.series)} {rate_text(one.slope, one.series.unit)}"


def _continues(one: SeriesDecision, trial: CacheTrial) -> bool:
    assert one.slope is not None
    return any(
        slope.low > 0 and slope.rate >= STEADY_RATIO * one.slope.rate
        for slope, _ in _measured_in(trial, one.series)
    )


def _measured_in(trial: CacheTrial, series: MemorySeries) -> list[tuple[Slope, int]]:
    """Return the slope of the metric in a trial, and the requests that it rests on.

    It is that of the same process. One that had ended by then is judged by all others, since they
    run the same.
    """
    pids = [series.pid] if series.pid in trial.full else trial.full
    every = [_points_in(trial, series, pid) for pid in pids]
    return [
        (theil_sen(points), span(points))
        for points in every
        if len(points) >= LEAST_POINTS and span(points)
    ]


def _points_in(trial: CacheTrial, series: MemorySeries, pid: int) -> tuple[tuple[int, int], ...]:
    readings = (one for reading in trial.readings for one in reading if one.pid == pid)
    return _points(series.what, readings)


def _points(what: str, readings: Iterable[MemorySample]) -> tuple[tuple[int, int], ...]:
    """Return the requests and the values of one metric of one process.

    Of several readings without a request in between, the last one counts: they are one point.
    """
    values = ((one.requests, getattr(one, _METRICS[what][0])) for one in readings)
    return tuple({requests: value for requests, value in values if value is not None}.items())


def more_to_decide(observed: Observed) -> int:
    """Return how many more requests to the server are likely to decide; 0 if it is decided, or if
    there is no estimate.

    Each process gets its share of them.
    """
    decision = decision_of(observed)
    if decision.status is not LeakStatus.UNDECIDED:
        return 0
    needed = max(
        (_server_requests(one, observed) for one in needed_to_pass(decision.series)), default=0
    )
    made = observed.samples[-1].requests if observed.samples else 0
    return needed if needed <= _FORESEEABLE * made else 0


def more_to_read(observed: Observed) -> int:
    """Return how many more requests to the server there have to be until some process has been read
    as often as a decision needs; 0 if one has, or if memory is no longer read.

    They may do without as many as :func:`more_to_decide` says, which processes that come and go
    can't get.
    """
    if not observed.samples or not observed.samples[-1].memory:
        return 0
    series = [one.series for one in decision_of(observed).series]
    times = max((len(one.points) for one in series), default=LEAST_POINTS)
    if not 0 < times < LEAST_POINTS:
        return 0
    read = [sample.requests for sample in observed.samples if sample.memory]
    return math.ceil((LEAST_POINTS - times) * (read[-1] - read[0]) / (len(read) - 1))


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
    latest = next((one.memory for one in reversed(observed.samples) if one.memory), ())
    living = {one.pid for one in latest}
    for pid, of_process in samples.items():
        if pid not in first:  # it started later: the first third of its samples is its warm-up
            of_process = of_process[len(of_process) // 3 :]
        for what, (field, unit) in _METRICS.items():
            if what == _ADDRESS_SPACE and _threads_vary(pid, observed):
                continue
            if points := _points(what, of_process):
                last = drained.get(pid)
                yield MemorySeries(
                    what=what,
                    unit=unit,
                    pid=pid,
                    points=points,
                    living=pid in living,
                    drained=getattr(last, field) if last is not None else None,
                )


def _threads_vary(pid: int, observed: Observed) -> bool:
    """Return whether the number of threads changed: the stack of each is 8 MB of address space."""
    numbers = {
        one.threads for sample in observed.samples for one in sample.processes if one.pid == pid
    }
    return len(numbers) > 1


_MOST_OPERATIONS = 3
_FORESEEABLE = 1000
"""How many times the requests so far an estimate may be. Where processes come and go, one that has
served a single request would need millions to the server for its share."""
_ADDRESS_SPACE = "address space"
_METRICS: dict[str, tuple[str, Unit]] = {
    "allocated blocks": ("blocks", "blocks"),
    "malloc in use": ("malloc", "bytes"),
    "resident memory": ("resident", "resident bytes"),
    _ADDRESS_SPACE: ("mapped", "mapped bytes"),
}
"""Each metric with its field of :class:`MemorySample`, and its unit."""


def _finding(decision: MemoryDecision, observed: Observed) -> Finding:
    first = decision.leaks[0]
    return Finding(
        check="memory",
        seen=decision.reason + _by_operation(observed),
        meaning=(
            "requests take memory that is never freed, not even when the server is idle and "
            "garbage has been collected; the process grows until it is killed"
        ),
        action=(
            "see which types grew and which operations leave memory, in the evidence; if no type "
            "did, C code takes memory itself, or does not release objects that it has made"
        ),
        evidence=evidence(
            [
                *_operations(observed),
                *_grown_types(observed),
                *(
                    f"{name_of(one.series)}: "
                    + ", ".join(f"{value}@{at}" for at, value in one.series.points)
                    for one in decision.leaks[:4]
                ),
                f"after the idle time: {first.series.drained}",
                *(_in_trial(trial, first.series) for trial in observed.cache_trials),
            ]
        ),
    )


def _by_operation(observed: Observed) -> str:
    """Return ``; each 'encode regex' leaves 1 block``: the worst operations, in any interpreter."""
    worst: dict[str, tuple[float, float]] = {}
    for one in observed.object_growth:
        for name, *left in one.operations:
            worst[name] = max(worst.get(name, (0.0, 0.0)), (left[0], left[1]))
    ranked = sorted(worst, key=lambda name: worst[name], reverse=True)[:_MOST_OPERATIONS]
    named = [f"each '{name}' leaves {_left(*worst[name])}" for name in ranked]
    return f"; {in_words(named)}" if named else ""


def _operations(observed: Observed) -> Iterator[str]:
    """Yield what each interpreter measured of its operations."""
    for one in observed.object_growth:
        for name, blocks, size in one.operations:
            yield f"pid {one.pid} {one.application_group}, '{name}' alone: {_left(blocks, size)}"


def _left(blocks: float, size: float) -> str:
    parts = [f"{blocks:g} {'block' if blocks == 1 else 'blocks'}"] if blocks else []
    return " and ".join([*parts, *([f"{size:g} bytes"] if size else [])])


def _grown_types(observed: Observed) -> Iterator[str]:
    """Yield the types with at least one new object for every four requests."""
    for one in observed.object_growth:
        where = f"pid {one.pid} {one.application_group}, {one.requests} requests"
        for name, objects in one.types:
            if objects >= one.requests / 4:
                yield f"{where}: {objects:+,} {name}"


def _in_trial(trial: CacheTrial, series: MemorySeries) -> str:
    """Return the readings of a cache trial as text, for the evidence."""
    pid = series.pid if series.pid in trial.full else next(iter(trial.full), series.pid)
    readings = ", ".join(f"{value}@{at}" for at, value in _points_in(trial, series, pid))
    return f"{trial.url} alone, once a cache of pid {pid} would be full: {readings}"
