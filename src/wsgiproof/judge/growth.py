"""Does a count grow with requests? Statistics of counts that are constant where nothing leaks.

After a warm-up that fills every pool, a count of a healthy server does not move by a single unit.
So few units are enough to tell a leak, if they come evenly. The question is what else moves a
count.

* What comes down again, or goes up and down, has not grown: only its *floor* counts, the least
  value from there on, and only where it leads to where the count has not been before, and by more
  than the count usually goes up and down.
* A pool, or a cache, that is still filling grows at first and then stops. A leak goes on: of n
  steps that fall anywhere in a run with the same chance, the last falls into its first part u with
  a chance of u**n. Where that is small, the growth has stopped; where the steps lie early on the
  whole (Laplace's trend test; Cox and Lewis 1966, "The Statistical Analysis of Series of Events"),
  it is fading.
* A pool that fills only as requests happen to overlap grows slowly, and for long. Growth that a
  pool could hold is looked at once more when all pools have been filled on purpose: of a leak with
  the least rate that its steps allow, that would show more with a chance of 99 %.
* A lazily opened connection is one step for each interpreter of each process, and then no more: at
  whatever moment each of them comes to it, a leak comes more often.

The rate comes with an interval of 95 %: that of a Poisson count (Wilson and Hilferty's form of
Garwood's limits), widened where the units come in bursts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from itertools import accumulate, pairwise
from statistics import NormalDist

import msgspec

LEAST_STEPS = 4
"""Rounds in which a count has to grow, to be growth with requests."""
SPARE_STEPS = 2
"""Of them, how many more than interpreters that may each have opened something once."""
LEAST_CHECKPOINTS = 4
"""A series that is shorter tells nothing."""
STOPPED = 0.01
"""The chance below which a silence at the end is no mere irregularity of a leak."""
DOUBTFUL = 0.1
"""The chance below which a silence, or growth that fades, may be none."""
NOISY = 2
"""Standard deviations of a walk with the same falls, that growth has to exceed."""
POOL_SLACK = 8
"""Connections, threads or descriptors that one client takes beside those of its request threads: a
PyMongo client has two monitors for each member of the deployment, and one more thread."""
CONFIDENCE = 0.95


class Growth(StrEnum):
    """What a resource came to."""

    LEAK = "leak"
    NONE = "none"
    UNDECIDED = "undecided"


class Step(msgspec.Struct, frozen=True):
    """A rise of a floor: where in the life of its series (0 to 1), and by how many units."""

    at: float
    units: int


class Series(msgspec.Struct, frozen=True):
    """One count over the requests served, as ``(requests, value)`` pairs in order."""

    what: str
    points: tuple[tuple[int, int], ...]

    @property
    def floor(self) -> list[int]:
        """For each point, the least value from there on."""
        values = [value for _, value in self.points]
        return list(accumulate(reversed(values), min))[::-1]

    def steps(self) -> list[Step]:
        """Where the floor rises; none where it does not lead to a new high."""
        floor = self.floor
        earlier = [value for _, value in self.points[: (len(self.points) + 1) // 2]]
        if floor[-1] <= max(earlier):
            return []
        first, last = self.points[0][0], self.points[-1][0]
        return [
            Step((self.points[number + 1][0] - first) / max(1, last - first), after - before)
            for number, (before, after) in enumerate(pairwise(floor))
            if after > before
        ]

    @property
    def noise(self) -> float:
        """How far a walk gets that rises as often as this falls, by as much (the variance).

        Without its one largest fall, which may be the end of one large rise.
        """
        falls = [before - after for (_, before), (_, after) in pairwise(self.points)]
        return 2.0 * sum(fall**2 for fall in sorted(falls)[:-1] if fall > 0)

    def rounds(self) -> list[tuple[int, int]]:
        """For each round, its requests and the units by which the floor has risen, if it has."""
        rising = bool(self.steps())
        return [
            (later - earlier, (after - before) * rising)
            for ((earlier, _), (later, _)), (before, after) in zip(
                pairwise(self.points), pairwise(self.floor), strict=True
            )
        ]

    @property
    def units(self) -> int:
        """By how much the floor has risen, if to a new high."""
        return sum(step.units for step in self.steps())

    def shown(self) -> str:
        """All of it, for the evidence."""
        return f"{self.what}: " + ", ".join(f"{value}@{at}" for at, value in self.points)


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """Units per request, and the interval that holds the true value with 95 %."""

    value: float
    low: float
    high: float

    def every(self) -> str:
        """``one in 248 requests (95 %: 190 to 350)``."""
        value, least, most = (_figure(1 / rate) for rate in (self.value, self.high, self.low))
        return f"one in {value} requests (95 %: {least} to {most})"


def _figure(number: float) -> str:
    """Two digits, or all of those before the point: 0.51, 4.2, 248, 1,520."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What the series of one resource came to together."""

    growth: Growth
    units: int = 0
    requests: int = 0
    """From the first sample to the last."""
    rate: Rate | None = None
    """None where nothing grew."""
    excluded: float = 0.0
    """Units per request that would have shown: the upper limit of 95 %."""
    doubt: str = ""
    plain: bool = False
    """Whether it is more than any pool holds."""
    least: float = 0.0
    """Steps per request, at least (95 %)."""
    confirmed: int = 0
    """If that ruled out a leak: the requests with full pools in which nothing more came up."""
    more: int = 0
    """If undecided: how many more requests are likely to decide."""
    grew: tuple[Series, ...] = ()


def decide(series: Sequence[Series], bound: int, interpreters: int) -> Decision:
    """What these series of one resource, one for each process or one of the server, come to.

    They share the same requests. ``bound`` is how many units one series may fill up with, and
    ``interpreters`` how many of them it counts the units of.
    """
    grew = tuple(one for one in series if one.units)
    steps = sorted((step for one in grew for step in one.steps()), key=lambda step: step.at)
    units = sum(step.units for step in steps)
    requests = _span(series)
    decision = Decision(
        growth=Growth.NONE,
        units=units,
        requests=requests,
        rate=_rate(series, requests) if units and requests else None,
        excluded=poisson_limits(len(steps))[1] / requests if requests else math.inf,
        plain=any(beyond(one, bound) for one in grew),
        least=poisson_limits(len(steps))[0] / requests if requests else 0.0,
        grew=grew,
    )
    if len(steps) < LEAST_STEPS and not decision.plain:
        return decision
    silence = steps[-1].at ** len(steps)
    if silence < STOPPED:
        return decision
    if silence < DOUBTFUL:
        wanted = steps[-1].at * STOPPED ** (-1 / len(steps))
        return _undecided(decision, "it may have stopped", wanted)
    if _trend(steps) < DOUBTFUL:
        return _undecided(decision, "it grows ever less", 2.0)
    if units <= NOISY * math.sqrt(sum(one.noise for one in grew)):
        return _undecided(decision, "it goes up and down by about as much", 2.0)
    wanted = _often(series, len(steps), interpreters)
    if wanted > 1 and not decision.plain:
        return _undecided(decision, "each interpreter may have opened one, late", wanted)
    return msgspec.structs.replace(decision, growth=Growth.LEAK)


def requests_to_confirm(decision: Decision) -> int:
    """After how many requests with full pools it is plain that this is no leak; 0 if it is none
    anyway, or more than any pool holds."""
    if decision.growth is Growth.NONE or decision.plain:
        return 0
    return math.ceil(-math.log(STOPPED) / decision.least)


def confirmed(decision: Decision, requests: int, units: int) -> Decision:
    """The same, given that ``requests`` more with full pools have added so many ``units``."""
    wanted = requests_to_confirm(decision)
    if not wanted or requests < wanted or units > 0:
        return decision
    return msgspec.structs.replace(
        decision,
        growth=Growth.NONE,
        doubt="",
        more=0,
        confirmed=requests,
        excluded=poisson_limits(0)[1] / requests,
    )


def _undecided(decision: Decision, doubt: str, wanted: float) -> Decision:
    """In doubt, until the run is ``wanted`` times as long."""
    more = math.ceil(max(0.1, wanted - 1) * decision.requests)
    return msgspec.structs.replace(decision, growth=Growth.UNDECIDED, doubt=doubt, more=more)


def _often(series: Sequence[Series], steps: int, interpreters: int) -> float:
    """How many times as long a run has to be for more steps than one for each interpreter.

    In one series alone, or in all together; 1 or less if there are as many already.
    """
    most = max(len(one.steps()) for one in series)
    alone = (interpreters + SPARE_STEPS) / most
    return min(alone, (interpreters * len(series) + SPARE_STEPS) / steps)


def beyond(series: Series, bound: int) -> bool:
    """Whether it grows by more than any pool holds, and went on growing to the end.

    ``bound`` is in units; the last two rounds have to be at least half as steep as the whole.
    """
    rounds = [(served, grown) for served, grown in series.rounds() if served]  # none when idle
    if len(rounds) < LEAST_CHECKPOINTS - 2 or series.units <= bound:
        return False
    whole = series.units / sum(served for served, _ in rounds)
    return all(grown >= whole / 2 * served for served, grown in rounds[-2:])


def pool_bound(interpreters: int, threads: int) -> int:
    """Units that one process may fill up with after warm-up, twice over to be sure.

    No pool has use for more than one for each request thread and what its client takes beside.
    """
    return 2 * interpreters * (threads + POOL_SLACK)


def poisson_limits(count: float) -> tuple[float, float]:
    """The limits of 95 % for the mean of a Poisson count (one-sided, upper, where it is 0)."""
    if count <= 0:
        return 0.0, -math.log(1 - CONFIDENCE)
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)

    def limit(number: float, sign: int) -> float:
        root = 1 - 1 / (9 * number) + sign * z / (3 * math.sqrt(number))
        return float(number * max(root, 0.0) ** 3)

    return limit(count, -1), limit(count + 1, +1)


def rate_of(series: Series) -> Rate | None:
    """The rate of one series alone, had as :func:`decide` has that of all; None if it is flat."""
    return _rate([series], _span([series])) if series.units and _span([series]) else None


def _rate(series: Sequence[Series], requests: int) -> Rate:
    """Units per request; the interval is as wide as the scatter of the rounds says."""
    rounds = [one for each in series for one in each.rounds()]
    units = sum(grown for _, grown in rounds)
    length = sum(served for served, _ in rounds)
    even = [(grown, units * served / length) for served, grown in rounds if served]
    scatter = sum((grown - expected) ** 2 / expected for grown, expected in even)
    dispersion = max(1.0, scatter / max(1, len(even) - 1))
    low, high = poisson_limits(units / dispersion)
    return Rate(
        value=units / requests,
        low=max(low * dispersion, 0.5) / requests,
        high=high * dispersion / requests,
    )


def _trend(steps: Sequence[Step]) -> float:
    """The chance that evenly spread steps lie as early as these, by Laplace's test.

    A step counts by its units: growth of many units in each round may grow ever less, too.
    """
    units = sum(step.units for step in steps)
    mean = sum(step.units * step.at for step in steps) / units
    deviation = math.sqrt(sum(step.units**2 for step in steps) / 12) / units
    return NormalDist(0.5, deviation).cdf(mean)


def _span(series: Sequence[Series]) -> int:
    first = min((one.points[0][0] for one in series), default=0)
    return max((one.points[-1][0] for one in series), default=0) - first
