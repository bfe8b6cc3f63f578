"""Growth of counts: its statistics by their definitions, and its decisions on invented series."""

from __future__ import annotations

import math
import random
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate, pairwise

import pytest

from tests.cells import configured
from wsgiproof.experiment.load import rounds
from wsgiproof.judge.growth import (
    DOUBTFUL,
    LEAST_STEPS,
    STOPPED,
    CountDecision,
    LeakStatus,
    decide,
    exceeds_pool,
    poisson_limits,
    pool_bound,
    requests_to_confirm,
)
from wsgiproof.judge.series import Series

PLAN = configured(requests=3000).plan()
REQUESTS = PLAN.parallel + PLAN.serial
WARM = 600
"""Requests before the first sample."""
AT = (
    0,
    *accumulate([*rounds(PLAN.parallel, PLAN.round), *rounds(PLAN.serial, PLAN.round)]),
    REQUESTS,
)
"""The samples of a quick run, by requests after the first; the last one is the idle one."""
URLS = 2
BOUND = pool_bound(URLS, threads=15)
Events = Iterable[float]


def series(events: Events, at: Sequence[int] = AT) -> Series:
    """A count that rises by one at each of ``events``, in requests after the first sample."""
    moments = sorted(events)
    return Series(
        "connections of pid 200",
        tuple((WARM + requests, 30 + bisect(moments, requests)) for requests in at),
    )


def decided(*many: Events, urls: int = URLS, bound: int = BOUND) -> CountDecision:
    return decide([series(events) for events in many], bound, urls)


def poisson(chance: random.Random, every: float, until: float = REQUESTS) -> list[float]:
    """Moments that come at random, ``every`` so many requests on the average."""
    moments = [chance.expovariate(1 / every)]
    while moments[-1] <= until:
        moments.append(moments[-1] + chance.expovariate(1 / every))
    return moments[:-1]


def regular(every: float, shift: float = 0) -> list[float]:
    return [shift + every * (number + 1) for number in range(int((REQUESTS - shift) / every))]


def tally(make: Callable[[random.Random], CountDecision], number: int) -> Counter[LeakStatus]:
    return Counter(make(random.Random(seed)).status for seed in range(number))


# The statistics


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [
        # Garwood 1936, "Fiducial limits for the Poisson distribution": the exact ones.
        (1, 0.0253, 5.5716),
        (4, 1.0899, 10.2416),
        (10, 4.7954, 18.3904),
        (30, 20.2409, 42.8269),
        (100, 81.3640, 121.6273),
    ],
)
def test_the_limits_of_a_poisson_count_are_garwoods(count: int, low: float, high: float) -> None:
    told = poisson_limits(count)
    assert told[0] == pytest.approx(low, rel=0.02, abs=0.03)
    assert told[1] == pytest.approx(high, rel=0.005)


def test_of_no_count_at_all_the_limit_is_three() -> None:
    """The rule of three: exp(-3) is 5 %."""
    low, high = poisson_limits(0)
    assert low == 0
    assert math.exp(-high) == pytest.approx(0.05)


def test_the_interval_holds_the_true_rate_as_often_as_it_says() -> None:
    held = told = 0
    for seed in range(500):
        decision = decided(poisson(random.Random(seed), 100))
        assert decision.rate is not None
        told += decision.status is LeakStatus.LEAK
        held += decision.rate.low <= 1 / 100 <= decision.rate.high
    assert told >= 470
    assert held >= 500 * 0.95


def test_bursts_widen_the_interval() -> None:
    """300 units one by one are known to 12 %; as 15 bursts of 20, to half of it."""
    single = decided(regular(10)).rate
    bursts = decided([moment for moment in regular(200) for _ in range(20)]).rate
    assert single is not None
    assert bursts is not None
    assert (single.value, bursts.value) == (0.1, 0.1)
    assert single.low == pytest.approx(0.089, abs=0.001)
    assert single.high == pytest.approx(0.112, abs=0.001)
    assert bursts.low < 0.075
    assert bursts.high > 0.13


def test_the_upper_limit_says_what_would_have_shown() -> None:
    assert decided([]).excluded_rate == pytest.approx(3 / REQUESTS, rel=0.01)
    assert decided([]).rate is None
    assert decided([1500, 1800]).excluded_rate == pytest.approx(7.22 / REQUESTS, rel=0.01)


def test_a_rate_is_told_by_the_requests_for_one() -> None:
    rate = decided(regular(250)).rate
    assert rate is not None
    assert rate.describe() == "one in 250 requests (95 %: 143 to 484)"


# Steps


def points(*values: int) -> Series:
    return Series("x", tuple((100 * number, value) for number, value in enumerate(values)))


def test_only_the_floor_counts() -> None:
    assert points(5, 9, 7, 8, 8).floor == [5, 7, 7, 8, 8]
    assert points(5, 9, 5, 5, 5).units == 0
    assert points(5, 6, 7, 9, 8).units == 3


def test_a_return_to_what_was_there_before_is_no_growth() -> None:
    assert points(100, 100, 100, 10, 40, 40, 60).units == 0
    assert points(100, 90, 80, 90, 100, 105).units == 25


@pytest.mark.parametrize("growing", range(1, LEAST_STEPS + 3))
def test_it_takes_as_many_rounds_that_grow(growing: int) -> None:
    """Two more than there are interpreters, or it may be something that each has opened once."""
    spread = [REQUESTS * (number + 1) / growing for number in range(growing)]
    expected = LeakStatus.LEAK if growing >= LEAST_STEPS else LeakStatus.NO_LEAK
    assert decided(spread).status is expected
    many_at_once = [moment for moment in spread for _ in range(BOUND // growing)]
    assert decided(many_at_once).status is expected


def stopping(steps: int, last: float) -> list[float]:
    """Steps that come evenly and end where the ``last`` part of the run begins."""
    return [REQUESTS * last * (number + 1) / steps for number in range(steps)]


def test_growth_that_has_stopped_is_none_and_one_that_may_have_is_undecided() -> None:
    """Of n steps, all are in the first part u with a chance of u**n."""
    for steps in (5, 8, 12):
        at_least = STOPPED ** (1 / steps)
        doubtful = DOUBTFUL ** (1 / steps)
        told = [decided(stopping(steps, u)) for u in (at_least - 0.06, doubtful - 0.05)]
        assert [one.status for one in told] == [LeakStatus.NO_LEAK, LeakStatus.UNDECIDED], steps
        assert told[1].doubt == "the growth may have stopped"
        assert decided(stopping(steps, 0.97)).status is LeakStatus.LEAK


@pytest.mark.parametrize("steps", [5, 8, 12, 20])
def test_as_many_more_requests_as_are_asked_for_decide(steps: int) -> None:
    """In the run that is as much longer, what had stopped is none, and what had not a leak."""
    events = stopping(steps, DOUBTFUL ** (1 / steps) - 0.05)
    told = decided(events)
    assert told.status is LeakStatus.UNDECIDED
    assert 0 < told.more < 2 * REQUESTS
    longer = [*AT, *range(REQUESTS + 125, REQUESTS + told.more + 125, 125)]
    assert decide([series(events, longer)], BOUND, URLS).status is LeakStatus.NO_LEAK
    gap = REQUESTS / steps
    going_on = [*events, *(REQUESTS + gap * number for number in range(100))]
    assert decide([series(going_on, longer)], BOUND, URLS).status is LeakStatus.LEAK


def test_growth_that_fades_is_undecided_though_each_round_grows() -> None:
    fading = [
        at - 1.0 for number, at in enumerate(AT[1:-1]) for _ in range(max(1, 60 - 6 * number))
    ]
    told = decided(fading, bound=10_000)
    assert told.status is LeakStatus.UNDECIDED
    assert told.doubt == "the growth slows down"
    assert told.more == REQUESTS
    even = [at - 1.0 for at in AT[1:-1] for _ in range(20)]
    assert decided(even, bound=10_000).status is LeakStatus.LEAK


# What leaks


def test_99_of_100_regular_leaks_of_one_in_250_and_94_of_100_random_ones() -> None:
    regularly = [decided(regular(250, shift)).status for shift in range(0, 250, 10)]
    assert set(regularly) == {LeakStatus.LEAK}
    found = tally(lambda chance: decided(poisson(chance, 250)), 1000)
    assert found[LeakStatus.LEAK] >= 930
    assert found[LeakStatus.NO_LEAK] <= 10


@pytest.mark.parametrize("every", [1, 3, 10, 50, 100])
def test_any_leak_that_is_less_rare_is_found(every: int) -> None:
    assert decided(regular(every)).status is LeakStatus.LEAK
    found = tally(lambda chance: decided(poisson(chance, every)), 40)
    assert found[LeakStatus.LEAK] >= 36
    assert found[LeakStatus.NO_LEAK] == 0


def test_a_leak_behind_what_a_pool_does_is_found() -> None:
    """A leak of 1/50 on top of each of the things that good servers do.

    Where the pool took most of all units the growth fades, and some of these are undecided.
    """
    for name, clean in CLEAN.items():
        found = Counter(
            decided([*clean(random.Random(seed)), *poisson(random.Random(-1 - seed), 50)]).status
            for seed in range(100)
        )
        assert found[LeakStatus.LEAK] >= (50 if clean in (fill, fill_evenly) else 90), name
        assert found[LeakStatus.NO_LEAK] == 0, name


def test_a_leak_of_four_processes_is_that_of_all_together() -> None:
    """Each of them leaks too seldom to be told alone."""

    def four(chance: random.Random, every: float) -> CountDecision:
        moments: list[list[float]] = [[], [], [], []]
        for moment in poisson(chance, every):
            chance.choice(moments).append(moment)
        return decided(*moments, bound=pool_bound(URLS, threads=1))

    rare = tally(lambda chance: four(chance, 250), 400)
    assert rare[LeakStatus.LEAK] >= 250
    assert rare[LeakStatus.NO_LEAK] <= 20
    assert tally(lambda chance: four(chance, 100), 400)[LeakStatus.LEAK] >= 370


def test_one_process_that_leaks_is_told_among_others() -> None:
    decision = decided([], regular(250), [])
    assert decision.status is LeakStatus.LEAK
    assert [one.units for one in decision.growing] == [12]


# What does not


def opened_once(chance: random.Random, interpreters: int = URLS) -> list[float]:
    """In each interpreter, a client at some moment: three connections at once."""
    moments = [chance.uniform(0, REQUESTS) for _ in range(interpreters)]
    return [moment for moment in moments for _ in range(3)]


def fill(chance: random.Random, over: float = 150) -> list[float]:
    """What a pool or a cache does that is full after some requests: as many as threads, or less."""
    return [chance.expovariate(1 / over) for _ in range(chance.randint(1, 2 * 15))]


def fill_evenly(chance: random.Random) -> list[float]:
    """A pool that gets one more connection at every so many requests, and is full at half time."""
    size = chance.randint(1, 60)
    return [chance.uniform(0.3, 0.5) * REQUESTS * number / size for number in range(size)]


CLEAN: dict[str, Callable[[random.Random], list[float]]] = {
    "nothing": lambda chance: [],
    "opened once": opened_once,
    "a pool that fills": fill,
    "a pool that fills evenly": fill_evenly,
    "one step": lambda chance: [chance.uniform(0, REQUESTS)] * chance.randint(1, BOUND),
}


@pytest.mark.parametrize("name", CLEAN)
def test_what_fills_or_is_opened_once_is_never_a_leak(name: str) -> None:
    found = tally(lambda chance: decided(CLEAN[name](chance)), 2000)
    assert found[LeakStatus.LEAK] == 0
    assert found[LeakStatus.NO_LEAK] >= 1700


def decided_of_a_slow_fill(chance: random.Random, over: float, size: int) -> CountDecision:
    return decided(chance.expovariate(1 / over) for _ in range(size))


@pytest.mark.parametrize(("over", "most"), [(150, 0), (300, 10), (600, 100)])
def test_a_slow_fill_is_seldom_called_a_leak_and_mostly_none(over: float, most: int) -> None:
    """Of 1,000 that slow down by two thirds in so many requests: a fifth of the run is too slow.

    That is why the warm-up fills pools before anything is counted.
    """
    for size in (5, 10, 30):
        found = tally(partial(decided_of_a_slow_fill, over=over, size=size), 1000)
        assert found[LeakStatus.LEAK] <= most, size


def test_what_each_interpreter_of_many_processes_opens_once_is_never_a_leak() -> None:
    """Eight interpreters open eight things, at eight moments; each process shows two."""
    bound = pool_bound(URLS, threads=1)
    for seed in range(400):
        chance = random.Random(seed)
        each = [opened_once(chance) for _ in range(4)]
        assert decided(*each, bound=bound).status is not LeakStatus.LEAK
        all_of_them = [moment for one in each for moment in one]
        by_server = decided(all_of_them, urls=4 * URLS, bound=4 * bound)
        assert by_server.status is not LeakStatus.LEAK
        if by_server.status is LeakStatus.UNDECIDED:
            assert by_server.more > 0


@pytest.mark.parametrize("size", [1, 5, 30, 1000])
def test_going_up_and_down_is_never_a_leak(size: int) -> None:
    for period in (2, 3, 4, 5, 7, 11):
        for shift in range(period):
            values = [20 + size * ((number + shift) % period) for number in range(len(AT))]
            assert decide([of_values(values)], BOUND, URLS).status is not LeakStatus.LEAK


def of_values(values: Iterable[int]) -> Series:
    return Series("x", tuple(zip(AT, values, strict=True)))


@pytest.mark.parametrize("size", [1, 3, 20])
def test_noise_is_never_a_leak(size: int) -> None:
    """Readings that are off by a few units, each by itself."""
    found = tally(
        lambda chance: decide(
            [of_values(50 + chance.randint(-size, size) for _ in AT)], BOUND, URLS
        ),
        2000,
    )
    assert found[LeakStatus.LEAK] == 0
    assert found[LeakStatus.NO_LEAK] >= 1200


def test_a_leak_is_told_from_noise_once_it_is_as_large() -> None:
    """Of 12 units behind a noise of 6 nobody knows; 60 are plain."""

    def noisy(chance: random.Random, every: float) -> CountDecision:
        leak = series(poisson(chance, every)).points
        return decide([of_values(value + chance.randint(-3, 3) for _, value in leak)], BOUND, URLS)

    found = tally(lambda chance: noisy(chance, 250), 200)
    assert found[LeakStatus.NO_LEAK] + found[LeakStatus.UNDECIDED] >= 180
    assert tally(lambda chance: noisy(chance, 50), 200)[LeakStatus.LEAK] >= 180


@pytest.mark.parametrize("period", [2, 3, 5])
def test_a_leak_behind_a_sawtooth_is_found(period: int) -> None:
    """As a collector of garbage makes one, that closes what was dropped."""
    for every in (5, 20, 50):
        leak = series(regular(every)).points
        teeth = [value + 2 * (number % period) for number, (_, value) in enumerate(leak)]
        assert decide([of_values(teeth)], BOUND, URLS).status is LeakStatus.LEAK


def lives(chance: random.Random, life: int, leak: float = 0) -> list[Series]:
    """One process after the other, each with pools of its own, read as a planned recycling is."""
    found = []
    begun = 0.0
    while begun < REQUESTS:
        events = [begun + chance.expovariate(1 / 10) for _ in range(30)]
        if leak:
            events += [begun + moment for moment in poisson(chance, leak, life)]
        at = [read for read in range(0, REQUESTS + 1, life // 12) if begun <= read < begun + life]
        found.append(series(events, at[len(at) // 3 if begun else 0 :]))
        begun += life
    return [one for one in found if len(one.points) >= 4]


@pytest.mark.parametrize("life", [120, 300, 400, 600])
def test_a_process_that_takes_over_starts_anew_and_its_leak_is_found(life: int) -> None:
    bound = pool_bound(URLS, threads=15)
    clean = Counter(decide(lives(random.Random(s), life), bound, URLS).status for s in range(200))
    assert clean[LeakStatus.LEAK] == 0
    leaking = Counter(
        decide(lives(random.Random(s), life, 20), bound, URLS).status for s in range(50)
    )
    assert leaking[LeakStatus.LEAK] >= 44


# Sure before the end


def called_after(each_round: Sequence[int], urls: int, processes: int, threads: int) -> int | None:
    """Requests until the server's count is beyond any pool; None if it never is."""
    bound = processes * pool_bound(urls, threads)
    values = [0, *accumulate(each_round)]
    for length in range(2, len(AT)):
        one = Series("x", tuple(zip(AT[:length], values[:length], strict=True)))
        if exceeds_pool(one, bound):
            return AT[length - 1]
    return None


@pytest.mark.parametrize(("processes", "threads"), [(1, 15), (4, 1), (2, 8)])
def test_a_leak_in_each_request_is_called_within_300(processes: int, threads: int) -> None:
    leak = [after - before for before, after in pairwise(AT)]
    called = called_after(leak, URLS, processes, threads)
    assert called is not None
    assert called <= (300 if processes != 2 else 500)


@pytest.mark.parametrize(("processes", "threads"), [(1, 15), (4, 1), (2, 8)])
def test_no_pool_that_fills_is_called(processes: int, threads: int) -> None:
    """Not even with one more connection for each request, until each thread has its own."""
    for size in range(URLS * threads, pool_bound(URLS, threads) + 1):
        total = processes * size
        values = [min(at, total) for at in AT]
        grown = [after - before for before, after in pairwise(values)]
        assert called_after(grown, URLS, processes, threads) is None, size


def test_a_jump_beyond_the_bound_is_called_only_if_it_goes_on() -> None:
    jump = [0, 5000, *[0] * (len(AT) - 3)]
    assert called_after(jump, URLS, 1, 15) is None
    late = [0] * (len(AT) - 3) + [5000, 0]
    assert called_after(late, URLS, 1, 15) is None, "the last round, when idle, has no requests"
    assert decided([60.0] * 5000).status is LeakStatus.NO_LEAK


@pytest.mark.parametrize("every", [50, 250, 600])
def test_a_leak_hides_from_the_second_look_at_most_once_in_a_hundred(every: int) -> None:
    # The chance that nothing comes up in so many requests, over all that the first look may see.
    hidden = []
    for seed in range(400):
        decision = decided(poisson(random.Random(seed), every))
        if wanted := requests_to_confirm(decision):
            hidden.append(math.exp(-wanted / every))
    assert len(hidden) > 100
    assert sum(hidden) / len(hidden) < STOPPED
