"""Counts with all pools full: what a pool's surplus hides between two fillings."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec
import pytest

from tests.cells import CELL
from tests.unit.factories import RESOURCES, WORKER, counting, observed, outcome, reading, sample
from wsgiproof.judge.full_pools import decide_full
from wsgiproof.judge.growth import CountDecision, LeakStatus
from wsgiproof.judge.leak_load import leak_rates, to_confirm
from wsgiproof.judge.leaks import counted
from wsgiproof.judge.series import Series
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import Observed, Sample

LOAD = 3300
CONNECTIONS = counted(RESOURCES["connections"])


def decided(*values: int, part: int = 150) -> CountDecision:
    """The decision on values at the fillings: after the warm-up, the load, and each part more."""
    points = [(250, values[0])]
    points += [(250 + LOAD + part * number, value) for number, value in enumerate(values[1:])]
    decision = decide_full(Series("connections", tuple(points)))
    assert decision is not None
    return decision


def test_one_filling_decides_nothing() -> None:
    assert decide_full(Series("connections", ())) is None
    assert decide_full(Series("connections", ((250, 30),))) is None
    assert decide_full(Series("connections", ((250, 30), (250, 34)))) is None


@pytest.mark.parametrize("last", [28, 30])
def test_no_more_than_at_the_first_filling_excludes_a_leak(last: int) -> None:
    decision = decided(30, last)
    assert (decision.status, decision.units) == (LeakStatus.NO_LEAK, 0)
    assert 1 / decision.excluded_rate == pytest.approx(LOAD / 3.0, rel=0.01)


def test_a_few_more_are_no_leak_and_exclude_less() -> None:
    decision = decided(30, 33)
    assert (decision.status, decision.units) == (LeakStatus.NO_LEAK, 3)
    assert 1 / decision.excluded_rate == pytest.approx(LOAD / 8.8, rel=0.01)


def test_many_more_need_another_look() -> None:
    decision = decided(30, 51)
    assert decision.status is LeakStatus.UNDECIDED
    assert 500 < decision.more < 2000


def test_growth_from_filling_to_filling_is_a_leak() -> None:
    decision = decided(30, 51, 52, 53, 54)
    assert decision.status is LeakStatus.LEAK
    assert decision.rate is not None
    assert 1 / decision.rate.value == pytest.approx((LOAD + 450) / 24)


def test_a_pool_that_was_not_full_the_first_time_is_no_leak() -> None:
    values = (30, 36, 36, 36, 36, 36)
    assert decided(*values, part=200).status is LeakStatus.UNDECIDED
    decision = decided(*values, part=3000)
    assert decision.status is LeakStatus.NO_LEAK
    assert decision.confirmed_requests == 12_000
    assert 1 / decision.excluded_rate == pytest.approx(12_000 / 3.0, rel=0.01)


@pytest.mark.parametrize("every", [30, 100, 150])
def test_a_leak_of_a_driver_is_one_in_nearly_every_run(every: int) -> None:
    """The experiment fills the pools after each quarter of the requests that rule out a leak."""
    generator = random.Random(every)
    caught = 0
    for _ in range(100):
        value = 30
        values = [value]
        for requests in (LOAD, *[0] * 8):
            part = requests or -(-decided(*values[:2]).more // 4)
            value += sum(generator.random() * every < 1 for _ in range(part))
            values.append(value)
        part = -(-decided(*values[:2]).more // 4)
        caught += decided(*values, part=part).status is LeakStatus.LEAK
    assert caught >= 97


# In a whole record


def full(values: Sequence[int], field: str = "connections", pid: int = WORKER) -> Observed:
    """A clean record, with these values at the fillings of its pools."""

    def filling(number: int, value: int) -> Sample:
        server: dict[str, int | None] = {"connections": 28, "sessions": 32}
        worker: dict[str, int | None] = {"connections": 28, "descriptors": 38}
        for counts in (server, worker):
            if field in counts:
                counts[field] = value
        one = msgspec.structs.replace(reading(pid if number else WORKER), **worker)
        requests = 250 + (LOAD + 150 * (number - 1) if number else 0)
        return sample(0, [one], counted=server, requests=requests)

    return observed(full_pools=tuple(filling(*one) for one in enumerate(values)))


@pytest.mark.parametrize("field", ["connections", "descriptors", "sessions"])
def test_a_leak_in_the_surplus_is_found_though_no_count_grew(field: str) -> None:
    assert outcome(full((28, 28), field)) == {}
    assert outcome(full((28, 49), field)) == {field: Verdict.INCONCLUSIVE}
    assert list(to_confirm(RESOURCES, full((28, 49), field))) == [field]
    seen = full((28, 49, 50, 51, 52), field)
    assert outcome(seen) == {field: Verdict.FAIL}
    assert list(leak_rates(RESOURCES, seen)) == [field]


def test_a_pass_says_what_was_excluded() -> None:
    alone = ", and one in 167 requests if each is alone"
    assert CONNECTIONS(CELL, full((28, 28))).passed == (
        "connections did not grow in 3,000 requests; with all pools full again, there were 0 more; "
        f"a leak of one in 1,001 requests would have shown (95 %){alone}"
    )
    assert CONNECTIONS(CELL, full((28, 31))).passed.endswith(
        f"there were 3 more; a leak of one in 376 requests would have shown (95 %){alone}"
    )


def test_fillings_of_different_processes_are_not_compared() -> None:
    assert outcome(full((28, 49), pid=WORKER + 1)) == {}


def test_sockets_that_the_deployment_does_not_have_are_a_leak_in_any_phase() -> None:
    """The count of the process rises and falls, as that of the pool does."""
    noise = [0, 6, 1, 8, 3, 5, 0, 7, 2, 4]
    points = tuple(
        msgspec.structs.replace(
            counting(one, connections=20 + noise[number % 10]),
            processes=(reading(connections=20 + noise[number % 10] + number // 2),),
        )
        for number, one in enumerate(observed().samples)
    )
    assert outcome(observed(samples=points)) == {"connections": Verdict.FAIL}
