"""Does a count grow with requests? Statistics of counts that stay constant if nothing leaks.

After a warm-up that fills every pool, the counts of a healthy server do not change at all. A few
units are therefore enough to detect a leak, if they come evenly. The question is what else changes
a count.

* A count that falls again, or rises and falls, has not grown. Only its *floor* matters: for each
  sample, the least value from there on. The floor has to reach a new high, and to rise by more than
  the count usually varies.
* A pool or a cache that is still filling grows at first and then stops. A leak continues. If n
  steps fall anywhere in a run with equal probability, all of them fall into its first fraction u
  with probability u**n. If that is small, the growth has stopped. If the steps are early on the
  whole (Laplace's trend test; Cox and Lewis 1966, "The Statistical Analysis of Series of Events"),
  the growth is fading.
* A pool that fills only when requests happen to overlap grows slowly, and for a long time. If a
  pool could explain the growth, the experiment fills all pools and measures again. A leak with the
  lowest rate that its steps allow would then show with a probability of 99 %.
* A connection that is opened lazily is one step for each interpreter of each process, and no more.
  A leak has more steps, whenever the interpreters open theirs.
* Where processes come and go, each may do all of this, for as long as it lives: what they have
  gained together is never a leak yet. The experiment makes few requests at once, so that the same
  processes stay, and these are judged when they are old.
* Something that lives for seconds, such as a thread that ends by itself, grows like a leak until
  the first of its kind ends. If units are gone after a drain (seconds without a request), only
  values after a drain count: the experiment adds load, drains again, and compares.

A pass states a bound: the rate that would have grown the count by more than was seen, with a
probability of 95 %. What the count varies by could hide as many units, so it is added.

The rate has a 95 % interval: that of a Poisson count (Wilson and Hilferty's form of Garwood's
limits), wider if the units come in bursts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from statistics import NormalDist

import msgspec

from wsgiproof.judge.series import Series, Step
from wsgiproof.records.plan import MISSED, least_requests

LEAST_STEPS = 4
"""Rounds in which a count has to grow before it grows with requests."""
SPARE_STEPS = 2
"""Steps that a leak has beyond one for each interpreter, which may open something once."""
LEAST_SAMPLES = 4
"""A series with fewer samples is too short to judge."""
STOPPED = 0.01
"""If the probability of the silence at the end is lower, the growth has stopped."""
DOUBTFUL = 0.1
"""If the probability of a silence, or of early steps, is lower, the growth may have stopped."""
NOISY = 2
"""Growth has to exceed this many standard deviations of a random walk with the same falls."""
TEMPORARY = 0.1
"""Growth is temporary if a drain takes back at least this share of it, and LEAST_STEPS units."""
CONTINUES = 0.5
"""Growth after a drain continues if its rate is at least this share of the rate before."""
POOL_SLACK = 8
"""Connections, threads or descriptors of one client beyond those of its request threads: a client
of a database may have two monitors for each member of it, and one more thread."""
LEAST_SENSITIVITY = 100
"""The sensitivity of a load to processes that stay, where none is asked for."""
CONFIDENCE = 0.95


class LeakStatus(StrEnum):
    """Whether a resource leaks."""

    LEAK = "leak"
    NO_LEAK = "no leak"
    UNDECIDED = "undecided"


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """Units per request, with a 95 % interval."""

    value: float
    low: float
    high: float

    def describe(self) -> str:
        """Return the rate as text: ``one in 248 requests (95 %: 190 to 350)``."""
        value, least, most = (_rounded(1 / rate) for rate in (self.value, self.high, self.low))
        return f"one in {value} requests (95 %: {least} to {most})"


def _rounded(number: float) -> str:
    """Return two digits, or all digits before the point: 0.51, 4.2, 248, 1,520."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


class CountDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The decision on all series of one resource together."""

    status: LeakStatus
    units: int = 0
    requests: int = 0
    """From the first sample to the last."""
    rate: Rate | None = None
    """None if nothing grew."""
    possible: int = 0
    """Units that a leak may have added: all rises of the floor, also those that came early, as a
    pool's do, and all that the count varies by."""
    excluded_rate: float = 0.0
    """Units per request that would have shown: the upper limit of the 95 % interval."""
    doubt: str = ""
    exceeds_pools: bool = False
    """Whether a series grew by more than any pool holds."""
    least_rate: float = 0.0
    """Steps per request, at least (95 %)."""
    confirmed_requests: int = 0
    """If they ruled out a leak: the requests with full pools in which nothing grew."""
    gone: int = 0
    """Units that a drain took back, if they are too many to judge the growth under load."""
    drained_requests: int = 0
    """If drains decided: the requests between the first drain and the last."""
    more: int = 0
    """If undecided: how many more requests are likely to decide."""
    growing: tuple[Series, ...] = ()
    processes: int = 0
    """If they came and went, how many are counted together: then all requests are those of
    processes that could be compared with themselves."""
    settled: bool = False
    """Whether it rests on a load in which the processes stayed."""
    share: float = 1.0
    """The part of the server's requests that it rests on; less than all where processes come and
    go."""
    alone: bool = False
    """Whether it rests only on requests that came one after the other."""
    within_limit: bool = False
    """Whether it is no leak because the configuration accepts this rate."""

    def of_server(self, requests: int) -> int:
        """Return how many requests to the server make so many that it can rest on."""
        return math.ceil(requests / self.share)


def decide(series: Sequence[Series], bound: int, interpreters: int) -> CountDecision:
    """Decide whether a resource leaks, from one series for each process, or one of the server.

    The series share the same requests. ``bound`` is how many units a pool may add to one series,
    and ``interpreters`` is how many interpreters one series counts.
    """
    gone = sum(one.gone for one in series)
    if gone >= LEAST_STEPS:
        loaded = _decide([one.under_load() for one in series], bound, interpreters)
        if loaded.status is LeakStatus.NO_LEAK:
            return loaded
        # A process that ended before was not there to show what a drain takes back.
        drained = sum(_units_of_drained(one) for one in series) or loaded.units
        if gone >= TEMPORARY * min(drained, loaded.units):
            return msgspec.structs.replace(
                loaded,
                status=LeakStatus.UNDECIDED,
                gone=gone,
                exceeds_pools=False,
                doubt=f"{gone:,} of them were gone after a while without a request",
            )
    return _decide(series, bound, interpreters)


def _decide(series: Sequence[Series], bound: int, interpreters: int) -> CountDecision:
    """Decide without regard to what lives for a while."""
    growing = tuple(one for one in series if one.units)
    steps = sorted((step for one in growing for step in one.steps()), key=lambda step: step.at)
    units = sum(step.units for step in steps)
    requests = _span(series)
    possible = sum(max(0, one.floor[-1] - one.floor[0]) + one.hidden for one in series)
    decision = CountDecision(
        status=LeakStatus.NO_LEAK,
        units=units,
        requests=requests,
        rate=_rate(series, requests) if units and requests else None,
        possible=possible,
        excluded_rate=poisson_limits(possible)[1] / requests if requests else math.inf,
        exceeds_pools=any(exceeds_pool(one, bound) for one in growing),
        least_rate=poisson_limits(len(steps))[0] / requests if requests else 0.0,
        growing=growing,
        processes=sum(len(one.lives) for one in series),
    )
    if len(steps) < LEAST_STEPS and not decision.exceeds_pools:
        return decision
    silence = steps[-1].at ** len(steps)
    if silence < STOPPED:
        return decision
    if silence < DOUBTFUL and not decision.processes:
        times = steps[-1].at * STOPPED ** (-1 / len(steps))
        return _undecided(decision, "the growth may have stopped", times)
    if decision.processes and not decision.exceeds_pools:
        return _undecided(decision, "a process may fill its pools for as long as it lives", 1.0)
    if _trend(steps) < DOUBTFUL:
        return _undecided(decision, "the growth slows down", 2.0)
    if units <= NOISY * math.sqrt(sum(one.noise for one in growing)):
        return _undecided(decision, "the count rises and falls by about as much", 2.0)
    times = _times_as_long(series, len(steps), interpreters)
    if times > 1 and not decision.exceeds_pools:
        return _undecided(decision, "each interpreter may have opened one, late", times)
    return msgspec.structs.replace(decision, status=LeakStatus.LEAK)


def drained(decision: CountDecision, rounds: Sequence[tuple[int, int]]) -> CountDecision:
    """Return the decision on growth of which a drain took back a part.

    ``rounds`` are the requests from one drain to the next, and the units by which the count grew
    from one to the other.
    """
    requests, units = sum(one for one, _ in rounds), sum(one for _, one in rounds)
    if not decision.gone or not requests:
        return decision
    first, last = rounds[0], rounds[-1]
    if last[1] <= 0:
        return msgspec.structs.replace(
            decision,
            status=LeakStatus.NO_LEAK,
            doubt="",
            drained_requests=requests,
            excluded_rate=poisson_limits(max(units, 0))[1] / requests,
        )
    low, high = poisson_limits(units)
    decision = msgspec.structs.replace(
        decision,
        units=units,
        requests=requests,
        drained_requests=requests,
        rate=Rate(value=units / requests, low=max(low, 0.5) / requests, high=high / requests),
    )
    continues = last[1] * first[0] >= CONTINUES * first[1] * last[0]
    if len(rounds) > 1 and units >= LEAST_STEPS and first[1] > 0 and continues:
        return msgspec.structs.replace(decision, status=LeakStatus.LEAK)
    return msgspec.structs.replace(
        decision, doubt="this may be what still lives after the drain", more=requests
    )


def requests_to_confirm(decision: CountDecision) -> int:
    """Return how many requests with full pools rule out a leak, if nothing grows in them.

    0 if the decision is already that nothing leaks, if the growth exceeds any pool, or if drains or
    processes that stay decide.
    """
    elsewhere = decision.gone or decision.processes or decision.settled
    if decision.status is LeakStatus.NO_LEAK or decision.exceeds_pools or elsewhere:
        return 0
    return math.ceil(-math.log(STOPPED) / decision.least_rate)


def requests_to_settle(decision: CountDecision, sensitivity: int) -> int:
    """Return how many requests to processes that stay rule out a leak, if nothing grows in them.

    It is one with the ``sensitivity`` of the load. 0 if they are not what decides.
    """
    undecided = decision.status is LeakStatus.UNDECIDED and not decision.gone
    return (
        requests_to_show(sensitivity or LEAST_SENSITIVITY)
        if decision.processes and undecided
        else 0
    )


def settled(decision: CountDecision, stayed: CountDecision, sensitivity: int) -> CountDecision:
    """Return the decision on processes that came and went, after one on some that stayed."""
    if not requests_to_settle(decision, sensitivity):
        return decision
    if stayed.status is LeakStatus.LEAK:
        return msgspec.structs.replace(stayed, settled=True)
    needed = requests_to_show(sensitivity or LEAST_SENSITIVITY, stayed.possible)
    if stayed.status is LeakStatus.NO_LEAK and stayed.requests >= needed:
        return msgspec.structs.replace(
            decision,
            status=LeakStatus.NO_LEAK,
            doubt="",
            confirmed_requests=stayed.requests,
            excluded_rate=stayed.excluded_rate,
            settled=True,
        )
    return msgspec.structs.replace(decision, doubt=stayed.doubt or decision.doubt)


def requests_to_show(sensitivity: int, possible: int = 0) -> int:
    """Return the requests in which a leak of one unit in ``sensitivity`` would have added more than
    the ``possible`` units, unless this look misses it."""
    if possible <= 0:
        return least_requests(sensitivity)
    mean = _poisson_limit(possible + 1, NormalDist().inv_cdf(1 - MISSED))
    return math.ceil(mean * sensitivity)


def confirmed(decision: CountDecision, requests: int, units: int) -> CountDecision:
    """Return the decision after ``requests`` more with full pools, which added ``units``."""
    needed = requests_to_confirm(decision)
    if not needed or requests < needed or units > 0:
        return decision
    return msgspec.structs.replace(
        decision,
        status=LeakStatus.NO_LEAK,
        doubt="",
        more=0,
        confirmed_requests=requests,
        excluded_rate=poisson_limits(0)[1] / requests,
    )


def _undecided(decision: CountDecision, doubt: str, times: float) -> CountDecision:
    """Return the decision as undecided, until the run is ``times`` as long."""
    more = 0 if decision.processes else math.ceil(max(0.1, times - 1) * decision.requests)
    return msgspec.structs.replace(decision, status=LeakStatus.UNDECIDED, doubt=doubt, more=more)


def _times_as_long(series: Sequence[Series], steps: int, interpreters: int) -> float:
    """Return how many times as long the run must be for more steps than one per interpreter.

    The steps may be in one series alone, or in all together; 1 or less if there are enough already.
    """
    most = max(len(one.steps()) for one in series)
    alone = (interpreters + SPARE_STEPS) / most
    return min(alone, (interpreters * len(series) + SPARE_STEPS) / steps)


def _units_of_drained(series: Series) -> int:
    """Return what those processes gained that were still there in a drain; 0 if all were."""
    return sum(
        one.under_load().gained
        for one in series.lives
        if len(one.points) > 1 and one.points[-1][0] == one.points[-2][0]
    )


def exceeds_pool(series: Series, bound: int) -> bool:
    """Return whether a series grows by more than any pool holds, and up to its end.

    Of processes that came and went, that of one of them is enough. ``bound`` is in units; the last
    two rounds have to be at least half as steep as the average.
    """
    if series.lives:
        return any(exceeds_pool(one, bound) for one in series.lives)
    rounds = [(served, units) for served, units in series.rounds() if served]  # none when idle
    if len(rounds) < LEAST_SAMPLES - 2 or series.units <= bound:
        return False
    average = series.units / sum(served for served, _ in rounds)
    return all(units >= average / 2 * served for served, units in rounds[-2:])


def pool_bound(interpreters: int, threads: int) -> int:
    """Return how many units the pools of one process may add after warm-up, doubled to be safe.

    A pool needs at most one for each request thread, and POOL_SLACK for its client.
    """
    return 2 * interpreters * (threads + POOL_SLACK)


def poisson_limits(count: float) -> tuple[float, float]:
    """Return the 95 % limits for the mean of a Poisson count (if it is 0: one-sided, upper)."""
    if count <= 0:
        return 0.0, -math.log(1 - CONFIDENCE)
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    return _poisson_limit(count, -z), _poisson_limit(count + 1, z)


def _poisson_limit(number: float, z: float) -> float:
    """Wilson and Hilferty's limit, ``z`` standard deviations away."""
    root = 1 - 1 / (9 * number) + z / (3 * math.sqrt(number))
    return float(number * max(root, 0.0) ** 3)


def rate_of(series: Series) -> Rate | None:
    """Return the rate of one series, computed as in :func:`decide`; None if it does not grow."""
    return _rate([series], _span([series])) if series.units and _span([series]) else None


def _rate(series: Sequence[Series], requests: int) -> Rate:
    """Return the units per request; the interval is widened by the scatter of the rounds."""
    rounds = [one for each in series for one in each.rounds()]
    units = sum(risen for _, risen in rounds)
    length = sum(served for served, _ in rounds)
    pairs = [(risen, units * served / length) for served, risen in rounds if served]
    scatter = sum((risen - expected) ** 2 / expected for risen, expected in pairs)
    dispersion = max(1.0, scatter / max(1, len(pairs) - 1))
    low, high = poisson_limits(units / dispersion)
    return Rate(
        value=units / requests,
        low=max(low * dispersion, 0.5) / requests,
        high=high * dispersion / requests,
    )


def _trend(steps: Sequence[Step]) -> float:
    """Return the probability that evenly spread steps are as early as these, by Laplace's test.

    Steps are weighted by their units: growth by many units in each round can slow down, too.
    """
    units = sum(step.units for step in steps)
    mean = sum(step.units * step.at for step in steps) / units
    deviation = math.sqrt(sum(step.units**2 for step in steps) / 12) / units
    return NormalDist(0.5, deviation).cdf(mean)


def _span(series: Sequence[Series]) -> int:
    first = min((one.points[0][0] for one in series), default=0)
    return max((one.points[-1][0] for one in series), default=0) - first
