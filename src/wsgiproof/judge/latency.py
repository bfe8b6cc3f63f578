"""The check of time: it does not grow with the requests served, and no request takes too long.

The load is a closed loop: the next request is sent when one is answered. So the time per request of
a round is its length by the number of its requests, and it grows if requests get slower. It has
grown if

* the slope over the rounds is above 0 with certainty (Theil and Sen),
* at its end the line is above the limit, as a multiple of its start,
* each third of the rounds is slower than the one before it, unlike a machine that gets busy once,
* it has grown by as much without the time in which processes waited for a processor, our load
  client and the backend included.

On a busy machine these conditions may hide growth. So it has grown, too, if requests that are alone
take longer than one of several at once did at first, and longer and longer, without all that
processes waited.

The processor time of the workers is judged in the same way, without the last condition. A virtual
machine whose host gives it less takes more processor time for the same work. The load client shows
that: its work is about the same for each request. So if its processor time grows, both have to
grow by more, as many times as it does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import median

import msgspec

from wsgiproof.judge.finding import Outcome, count, evidence
from wsgiproof.judge.resources import come_and_go
from wsgiproof.judge.slope import Slope, theil_sen
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import Observed, Sample
from wsgiproof.records.plan import PhaseName
from wsgiproof.records.traffic import Latencies

_LEAST_ROUNDS = 6
"""Rounds that a series needs: with fewer no slope is certain."""
_CERTAINTY = 0.99
_LEAST_GROWTH = 0.0005
"""Seconds per request by which the time has to grow: less is the noise of a short round."""
_SHARE_OF_EACH_THIRD = 0.2
"""Each third has to add this share of the whole growth."""
_WAITED = 0.25
"""If waiting for a processor grew by this share of the growth, the machine may explain it."""
_SHORT = 0.25
"""Seconds of a round in which the processes of a busy machine do not get their turns alike: all of
the waits in it may be by chance, and not only their growth."""
_SLOW = 1.0
"""Seconds from which the slowest request is mentioned."""
_LOADS = {
    PhaseName.PARALLEL: (PhaseName.PARALLEL, PhaseName.EXTRA_LOAD),
    PhaseName.SERIAL: (PhaseName.SERIAL,),
}
_JUDGED = (*_LOADS[PhaseName.PARALLEL], *_LOADS[PhaseName.SERIAL], PhaseName.IDLE)
"""The phases in which nothing but the application makes a request slow."""


class _Round(msgspec.Struct, frozen=True):
    """One round: the requests before it and in it, and the seconds that each of them took."""

    at: int
    requests: int
    seconds: float
    cpu: float
    waited: float
    client: float


class _Trend(msgspec.Struct, frozen=True, kw_only=True):
    """The line through the times per request of all rounds, and how much of it is waiting."""

    grows: bool
    start: float
    end: float
    waited: float
    """By how many seconds per request the waits grew over the same rounds; in short rounds, all
    waits of the last ones."""


def latency(cell: Cell, observed: Observed) -> Outcome:
    """The time per request does not grow with the requests served, and none takes too long."""
    plan = observed.plan
    slowest = max(
        (one for one in observed.latencies if one.phase in _JUDGED),
        key=lambda one: one.longest,
        default=None,
    )
    findings = [*_too_slow(slowest, plan.max_latency)]
    doubts, passed = [], []
    unmeasured = observed.samples and all(sample.work is None for sample in observed.samples)
    if unmeasured and not findings:
        return Outcome(skipped="the version that recorded this cell did not measure it")
    of_load = {
        load: [*_rounds(observed.samples, _alike(phases, observed))]
        for load, phases in _LOADS.items()
    }
    for load, rounds in of_load.items():
        if len(rounds) < _LEAST_ROUNDS:
            continue
        times = {
            "processor time": [one.cpu for one in rounds],
            "time": [one.seconds for one in rounds],
        }
        for what, values in times.items():
            trend = _trend(rounds, values, plan.max_slowdown)
            from_to = f"{_milliseconds(trend.start, trend.end)} ms"
            if what == "time":
                passed.append(f"{from_to} ({load})")
            if not trend.grows:
                continue
            if why := _why_not_judged(what, trend, rounds, values, plan.max_slowdown):
                doubts.append(f"the {what} per {load} request grew from {from_to}, {why}")
            else:
                findings.append(_slower(load, what, trend, rounds))
    findings += _slower_alone(of_load, observed)
    if findings:
        return Outcome(findings=tuple(findings[:1]))
    stall = _stall(slowest)
    if not passed:
        return Outcome(
            missing=f"fewer than {_LEAST_ROUNDS} rounds of load, too few to see a trend{stall}"
        )
    unsure = f"; not judged: {doubts[0]}" if doubts else ""
    return Outcome(passed=f"time per request from start to end: {', '.join(passed)}{stall}{unsure}")


def _why_not_judged(
    what: str, trend: _Trend, rounds: Sequence[_Round], values: Sequence[float], limit: float
) -> str:
    """Return how the machine may explain that ``values`` grew; empty if it can't."""
    clients = [one.client for one in rounds]
    if min(clients) > 0 and _times(trend, values, clients, rounds) < limit:
        return (
            "and that of the load client with it, so the machine became slower: run it on an idle "
            "one"
        )
    if what == "time" and _may_be_waiting(trend, limit):
        return "while its processes waited for a processor on a busy machine: run it on an idle one"
    return ""


def _times(
    trend: _Trend, values: Sequence[float], clients: Sequence[float], rounds: Sequence[_Round]
) -> float:
    """Return by what factor ``values`` grew, divided by the factor by which ``clients`` grew.

    The factor is the end of the line through them by its start. Where a line starts at 0, it is the
    last third by the first. If the client's time fell, its factor is 1.
    """
    client = _trend(rounds, clients, 1.0)
    if trend.start > 0 and client.start > 0:
        return trend.end / trend.start / max(1.0, client.end / client.start)
    (early, _, late), (client_early, _, client_late) = _thirds(values), _thirds(clients)
    return math.inf if early <= 0 else late / early / max(1.0, client_late / client_early)


def _may_be_waiting(trend: _Trend, limit: float) -> bool:
    """Return whether the time may have grown above the limit because processes waited.

    The waits of all processes add up to at least what they cost: a request waits for some of them.
    """
    return (
        trend.waited >= _WAITED * (trend.end - trend.start)
        and trend.end - trend.waited < limit * trend.start
    )


def _alike(phases: tuple[PhaseName, ...], observed: Observed) -> tuple[PhaseName, ...]:
    """Return those of these phases that have as many requests at once as the first.

    Where processes come and go, extra load has fewer, so that they stay.
    """
    return phases[:1] if come_and_go(observed.samples) else phases


def _rounds(samples: Sequence[Sample], phases: Sequence[str]) -> Iterator[_Round]:
    """Yield the rounds of these phases: what changed from one sample to the next."""
    for before, after in pairwise(samples):
        requests = after.requests - before.requests
        if after.phase not in phases or requests <= 0 or not (before.work and after.work):
            continue
        work = after.work.since(before.work)
        yield _Round(
            before.requests,
            requests,
            work.serving / requests,
            work.cpu / requests,
            work.waited / requests,
            work.client / requests,
        )


def _trend(rounds: Sequence[_Round], values: Sequence[float], limit: float) -> _Trend:
    """Return the line through ``values``, in seconds per request, one for each round."""
    middles = _middles(rounds)
    slope = _slope(rounds, values)
    rate = slope.rate / 1e9
    offset = median(value - rate * at for at, value in zip(middles, values, strict=True))
    # Through times that grow faster and faster the line begins below all of them.
    start, end = max(min(values), offset + rate * middles[0]), offset + rate * middles[-1]
    early, middle, late = _thirds(values)
    least = _SHARE_OF_EACH_THIRD * (late - early)
    first_waits, _, last_waits = _thirds([one.waited for one in rounds])
    _, _, length = _thirds([one.seconds * one.requests for one in rounds])
    return _Trend(
        grows=(
            slope.low > 0
            and end - start >= _LEAST_GROWTH
            and end >= limit * start
            and min(middle - early, late - middle) >= least
        ),
        start=start,
        end=end,
        waited=last_waits - (first_waits if length >= _SHORT else 0.0),
    )


def _slope(rounds: Sequence[_Round], values: Sequence[float]) -> Slope:
    """Return the slope of ``values``, one for each round, in nanoseconds for each request."""
    series = zip(_middles(rounds), values, strict=True)
    return theil_sen([(at, round(value * 1e9)) for at, value in series], _CERTAINTY)


def _middles(rounds: Sequence[_Round]) -> list[int]:
    """Return the number of requests at the middle of each round."""
    return [one.at + one.requests // 2 for one in rounds]


def _thirds(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the medians of the first, the middle and the last third."""
    size = len(values) // 3
    return (
        median(values[:size]),
        median(values[size : len(values) - size]),
        median(values[len(values) - size :]),
    )


def _slower_alone(
    of_load: Mapping[PhaseName, Sequence[_Round]], observed: Observed
) -> Iterator[Finding]:
    """Yield a finding if requests that were alone took longer and longer, and longer than one of
    several at once had done at first, by as much as the limit says.

    If nothing grows, one that is alone takes no longer, since it waits for no other; or it always
    does, since what it waits for comes sooner if there are several. What it waits for a processor
    is left out: that is at most what all processes together waited.
    """
    plan, (processes, threads) = observed.plan, observed.workers
    several, alone = of_load[PhaseName.PARALLEL], of_load[PhaseName.SERIAL]
    if min(len(several), len(alone)) < _LEAST_ROUNDS:
        return
    first = _trend(several, [one.seconds for one in several], plan.max_slowdown)
    at_once = min(plan.connections, processes * threads)
    later = [one.seconds - one.waited for one in alone]
    rises = _slope(alone, later).low > 0
    if not rises or median(later) < plan.max_slowdown * at_once * first.start:
        return
    yield _finding(
        f"a request that was alone took {_ms(median(later))} ms, and one of {at_once} at once "
        f"{_ms(at_once * first.start)} ms at first",
        (*several, *alone),
    )


def _slower(load: str, what: str, trend: _Trend, rounds: Sequence[_Round]) -> Finding:
    requests = rounds[-1].at + rounds[-1].requests - rounds[0].at
    return _finding(
        f"the {what} per request grew from {_milliseconds(trend.start, trend.end)} ms in "
        f"{count(requests, f'{load} request')}",
        rounds,
    )


def _finding(seen: str, rounds: Sequence[_Round]) -> Finding:
    return Finding(
        check="latency",
        seen=seen,
        meaning="each request takes longer than the ones before it, so the application gets slower "
        "until it is restarted, or for ever",
        action="look for what grows and is searched in each request: a list, a log handler, a "
        "collection without an index; if it is meant to, accept it with --max-slowdown",
        evidence=evidence(
            f"{one.requests} requests after {one.at:,}: {1000 * one.seconds:.2f} ms each, "
            f"{1000 * one.cpu:.2f} ms of processor time, {1000 * one.waited:.2f} ms of waiting "
            "for a processor"
            for one in rounds[:: max(1, len(rounds) // 8)]
        ),
    )


def _too_slow(slowest: Latencies | None, limit: float | None) -> Iterator[Finding]:
    if slowest is None or limit is None or slowest.longest <= limit * 1e6:
        return
    yield Finding(
        check="latency",
        seen=f"a request took {slowest.longest / 1e6:.1f} s (--max-latency {limit:g})",
        meaning="a request was answered, but later than the configuration accepts",
        action="look for a lock, a timeout or a retry of about this length",
        evidence=(_where(slowest),),
    )


def _stall(slowest: Latencies | None) -> str:
    """Return a note on the slowest request; empty if it was not slow."""
    if slowest is None or slowest.longest < _SLOW * 1e6:
        return ""
    return f"; the slowest request took {slowest.longest / 1e6:.1f} s ({_where(slowest)})"


def _where(one: Latencies) -> str:
    return f"{one.url}, phase {one.phase}, median {1000 * one.percentile(50):,.0f} ms"


def _milliseconds(start: float, end: float) -> str:
    return f"{_ms(start)} to {_ms(end)}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.2f}"
