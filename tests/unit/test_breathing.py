"""Counts of processes that come and go with the load, on series and on invented servers."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from tests.cells import CELL, configured
from tests.unit.breathing_model import MOST, Breathing, Kind
from tests.unit.factories import RESOURCES, counting, observed, outcome, reading, sample
from tests.unit.pool_model import THREADS
from wsgiproof.judge.count_decisions import decision_of
from wsgiproof.judge.growth import CountDecision, LeakStatus
from wsgiproof.judge.leak_load import have_returned, to_settle
from wsgiproof.judge.leaks import counted
from wsgiproof.judge.resources import backend_counts, growth, process_counts
from wsgiproof.judge.series import Series, pooled
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import Observed, ProcessSample, Sample
from wsgiproof.records.plan import LoadPlan

RUNS = 4
PLAN = configured(sensitivity=100).plan()
KINDS = {
    "constant": Kind(),
    "varies": Kind(jitter=1),
    "pools that are not full at once": Kind(fills=12),
    "a cache that fills": Kind(most=8),
    "a cache that fills for longer than most live": Kind(most=10, each=8),
    "each interpreter opens something late": Kind(late=40),
    "lives for three seconds": Kind(temporary=0.1),
    "many requests in a life": Kind(lives=400, rate=500.0),
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def decided(kind: Kind, leak: float, seed: int, plan: LoadPlan = PLAN) -> CountDecision:
    decision = decision_of(THREADS, Breathing(kind, leak, seed, plan).run())
    assert decision is not None
    return decision


@each_kind
def test_what_each_process_opens_and_fills_is_never_a_leak(kind: Kind) -> None:
    found = Counter(decided(kind, 0.0, seed).status for seed in range(RUNS))
    assert found[LeakStatus.LEAK] == 0
    assert found[LeakStatus.NO_LEAK] >= RUNS - 1


@pytest.mark.parametrize("name", [name for name in KINDS if "seconds" not in name])
def test_a_leak_of_one_in_fifty_requests_is_found(name: str) -> None:
    found = Counter(decided(KINDS[name], 1 / 50, seed).status for seed in range(RUNS))
    assert found == {LeakStatus.LEAK: RUNS}


def test_a_bound_is_stated_for_what_is_excluded_alone() -> None:
    """The rate that the most certain of some clean runs says would have shown."""
    kind = KINDS["constant"]
    stated = min(decided(kind, 0.0, seed).excluded_rate for seed in range(5))
    assert stated <= 1 / PLAN.sensitivity
    again = [decided(kind, stated, 1000 + seed) for seed in range(2 * RUNS)]
    denied = [one.status is LeakStatus.NO_LEAK and one.excluded_rate <= stated for one in again]
    assert sum(denied) <= 3


# Series of many processes


def life(*points: tuple[int, int]) -> Series:
    return Series("pid 7", points)


def test_what_processes_gain_is_placed_by_their_age() -> None:
    """Each of them gains its units in its first requests, whenever the server starts it."""
    filling = [life((at, 5), (at + 10, 9), (at + 100, 9)) for at in (0, 300, 700)]
    together = pooled("x", filling)
    assert (together.span, together.gained) == (300, 12)
    assert [value for _, value in together.points] == [0, 0, 0, *[12] * 22]


def test_processes_of_different_lives_are_at_risk_for_as_long_as_they_live() -> None:
    together = pooled("x", [life((0, 1), (50, 1)), life((0, 1), (150, 2))])
    assert together.span == 200
    assert together.points[-1] == (200, 1)
    assert together.points[-2][1] == 0
    assert "+1 in 150 requests of pid 7" in together.describe()


def test_a_process_without_a_request_between_two_counts_tells_nothing() -> None:
    assert pooled("x", [life((40, 3)), life((40, 3), (40, 9))]).lives == ()


# Samples


def worker(pid: int, requests: int, threads: int = 7, *, comparable: bool = True) -> ProcessSample:
    one = reading(pid, threads=threads, descriptors=threads, connections=threads)
    return msgspec.structs.replace(one, requests=requests, comparable=comparable)


def at(number: int, *workers: ProcessSample) -> Sample:
    return sample(number, workers)


def test_readings_of_young_and_of_ending_processes_do_not_count() -> None:
    samples = [
        at(0, worker(1, 50)),
        at(1, worker(1, 90), worker(2, 9, threads=3, comparable=False)),
        at(2, worker(1, 91, threads=1, comparable=False), worker(2, 30)),
        at(3, worker(2, 70, threads=8)),
    ]
    assert growth(THREADS, samples) == (80, 1)
    (series,) = process_counts(samples, THREADS).series
    assert [one.what for one in series.lives] == ["pid 1", "pid 2"]


def test_the_deployments_count_rises_and_falls_with_the_processes() -> None:
    samples = [at(0, worker(1, 50)), at(1, worker(1, 90), worker(2, 30))]
    assert backend_counts(samples, RESOURCES["connections"]).series == ()


def test_sessions_are_counted_in_rounds_in_which_the_processes_stayed() -> None:
    """In the third, a process has come and gone that answered the requests that are missing."""
    served = [(0,), (125,), (250, 0), (300, 75), (360, 80)]
    counts = [10, 11, 13, 14, 29]
    samples = [
        sample(number, [worker(pid, one) for pid, one in enumerate(each)], {"sessions": value})
        for number, (each, value) in enumerate(zip(served, counts, strict=True))
    ]
    (series,) = backend_counts(samples, RESOURCES["sessions"]).series
    assert series.points == ((0, 0), (125, 1), (250, 2))


def test_nobody_knows_whether_counts_of_other_processes_have_returned() -> None:
    before, now = at(0, worker(1, 50)), at(1, worker(2, 50, threads=1))
    assert not have_returned([THREADS], before, now)


def seen(*samples: Sample) -> Observed:
    return observed(workers=(MOST, 1), samples=samples)


def test_processes_that_were_never_read_twice_are_no_pass() -> None:
    of_each = [at(number, worker(number, 40)) for number in range(8)]
    assert outcome(seen(*of_each))["threads"] is Verdict.INCONCLUSIVE


def test_growth_of_processes_that_stay_for_long_enough_is_asked_for() -> None:
    """Each of ten processes gains a unit in each of its rounds."""
    samples = [
        at(number, *(worker(pid, 10 * number - 4 * pid, threads=number) for pid in living))
        for number, living in enumerate([(1, 2)] * 4 + [(2, 3)] * 4 + [(3, 4)] * 4, 4)
    ]
    one = seen(*samples)
    assert to_settle({"threads": THREADS}, one)
    told = counted(THREADS)(CELL, one).missing
    assert "processes that live longer would decide" in told


def test_sessions_are_counted_once_processes_stay() -> None:
    """In the load none stayed, so nothing is known of sessions."""
    load = [at(number, worker(number, 125)) for number in range(1, 9)]
    still = [
        sample(number, [worker(9, 125 * number - 900)], {"sessions": 32}) for number in range(9, 18)
    ]
    before = seen(*load)
    assert to_settle({"sessions": RESOURCES["sessions"]}, before)
    assert outcome(before)["sessions"] is Verdict.INCONCLUSIVE
    after = msgspec.structs.replace(before, settled=tuple(still))
    assert "sessions" not in outcome(after)
    leak = [counting(one, sessions=32 + number) for number, one in enumerate(still)]
    after = msgspec.structs.replace(before, settled=tuple(leak))
    assert outcome(after)["sessions"] is Verdict.FAIL


def test_a_pool_of_several_threads_may_hide_a_leak_in_its_surplus() -> None:
    samples = [
        at(number, *(worker(pid, 30 * number) for pid in living))
        for number, living in enumerate([(1, 2)] * 6 + [(2, 3)] * 6, 1)
    ]
    of_one_thread = decision_of(RESOURCES["descriptors"], seen(*samples))
    several = msgspec.structs.replace(seen(*samples), workers=(MOST, 8))
    of_several = decision_of(RESOURCES["descriptors"], several)
    assert of_one_thread is not None
    assert of_several is not None
    assert of_several.excluded_rate > 10 * of_one_thread.excluded_rate
