"""The statistics of a series, against what they have to be by definition."""

from __future__ import annotations

import math
import random
from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from wsgiproof.judge.slope import (
    Slope,
    earlier_half,
    inversions,
    lasting_growth,
    later_half,
    outside_interval,
    part_rates,
    span,
    theil_sen,
    without_release,
    without_step,
)

fixed = settings(derandomize=True, deadline=None, max_examples=60, database=None)
values = some.lists(some.integers(-(10**9), 10**9), min_size=5, max_size=25)


def points(values: list[int], step: int = 250) -> tuple[tuple[int, int], ...]:
    return tuple((600 + step * number, value) for number, value in enumerate(values))


def test_a_straight_line_has_its_slope_and_no_doubt() -> None:
    line = points([100 + 500 * number for number in range(7)])
    assert theil_sen(line) == Slope(rate=2.0, low=2.0, high=2.0)


def test_one_wild_point_moves_the_slope_of_a_line_not_at_all() -> None:
    line = [500 * number for number in range(9)]
    line[4] = 10**9
    assert theil_sen(points(line)).rate == 2.0


def test_points_at_the_same_requests_have_no_slope() -> None:
    assert theil_sen([(0, 0), (0, 50), (100, 100), (100, 150)]).rate == pytest.approx(1.0)
    with pytest.raises(ValueError, match="two points"):
        theil_sen([(7, 1), (7, 2)])


@pytest.mark.parametrize("few", [2, 3, 4])
def test_too_few_points_for_the_confidence_have_an_infinite_interval(few: int) -> None:
    slope = theil_sen(points(list(range(0, 250 * few, 250))))
    assert (slope.rate, slope.low, slope.high) == (1.0, -math.inf, math.inf)


@pytest.mark.parametrize("size", range(1, 8))
def test_the_distribution_of_discordant_pairs_is_that_of_all_orders(size: int) -> None:
    counted = [0] * (size * (size - 1) // 2 + 1)
    for order in permutations(range(size)):
        counted[sum(a > b for a, b in combinations(order, 2))] += 1
    assert inversions(size) == tuple(counted)


def test_the_normal_distribution_takes_over_where_it_is_as_good() -> None:
    exact, normal = outside_interval(40, 0.95), outside_interval(41, 0.95)
    assert normal / (41 * 40) == pytest.approx(exact / (40 * 39), rel=0.02)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("size", [5, 7, 13])
def test_the_interval_holds_the_true_slope_as_often_as_it_says(
    size: int, confidence: float
) -> None:
    chance = random.Random(size)
    held = 0
    for _ in range(600):
        noise = [chance.choice((chance.gauss(0, 3000), chance.gauss(0, 300))) for _ in range(size)]
        line = points([round(20_000 * number + noise[number]) for number in range(size)])
        slope = theil_sen(line, confidence)
        held += slope.low <= 80 <= slope.high
    assert held >= 600 * confidence - 2 * math.sqrt(600 * confidence * (1 - confidence))


@fixed
@given(values)
def test_the_slope_is_in_its_interval_and_that_among_the_steepest(values: list[int]) -> None:
    series = points(values)
    slope = theil_sen(series)
    steps = part_rates(series, len(series))
    assert min(steps) - 1e-6 <= slope.low <= slope.rate <= slope.high <= max(steps) + 1e-6


@fixed
@given(values, some.integers(-(10**6), 10**6), some.integers(-1000, 1000))
def test_a_line_that_is_added_adds_its_slope(values: list[int], shift: int, rate: int) -> None:
    before = theil_sen(points(values))
    after = theil_sen(points([v + shift + 250 * rate * n for n, v in enumerate(values)]))
    assert (after.rate, after.low, after.high) == pytest.approx(
        (before.rate + rate, before.low + rate, before.high + rate), abs=1e-6, rel=1e-9
    )


@fixed
@given(values)
def test_upside_down_the_interval_is_mirrored(values: list[int]) -> None:
    up, down = theil_sen(points(values)), theil_sen(points([-value for value in values]))
    assert (down.rate, down.low, down.high) == pytest.approx((-up.rate, -up.high, -up.low))


@fixed
@given(values)
def test_the_halves_share_the_middle_and_hold_everything(values: list[int]) -> None:
    series = points(values)
    earlier, later = earlier_half(series), later_half(series)
    assert earlier[-1] == later[0]
    assert (*earlier, *later[1:]) == series
    assert span(earlier) + span(later) == span(series)
    assert 0 <= len(later) - len(earlier) <= 1


@fixed
@given(values, some.integers(1, 8))
def test_the_parts_add_up_to_the_whole(values: list[int], parts: int) -> None:
    series = points(values)
    rates = part_rates(series, parts)
    assert len(rates) == min(parts, len(values) - 1)
    assert min(rates) - 1e-6 <= (values[-1] - values[0]) / span(series) <= max(rates) + 1e-6


def test_the_parts_of_a_line_are_alike() -> None:
    assert part_rates(points([250 * number for number in range(13)]), 5) == [1.0] * 5


@pytest.mark.parametrize(
    ("values", "grown"), [([1, 5, 9], 8), ([9, 5, 1], 0), ([5, 9, 2, 7], 5), ([0, 9, 0], 0)]
)
def test_what_came_down_again_has_not_grown(values: list[int], grown: int) -> None:
    assert lasting_growth(points(values)) == grown


@pytest.mark.parametrize("at", range(1, 9))
def test_one_step_is_taken_out_and_the_slope_stays(at: int) -> None:
    line = [20_000 * number for number in range(9)]
    stepped = [value + 500_000 * (number >= at) for number, value in enumerate(line)]
    assert without_step(points(stepped), 1000) == list(points(line))


@fixed
@given(values, some.integers(0, 10**9))
def test_where_there_is_no_step_nothing_is_taken_out(values: list[int], least: int) -> None:
    series = points(values)
    without = without_step(series, least)
    taken = series[-1][1] - without[-1][1]
    assert taken == 0 or taken > least
    assert [requests for requests, _ in without] == [requests for requests, _ in series]
    assert without[0] == series[0]


@pytest.mark.parametrize(
    "values",
    [[0, 0, 9, 9, 18, 18, 18], [0, 3, 1, 4, 0, 2, 5], [9, 9, 9, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 2]],
    ids=["two steps", "noise", "down", "less than the least"],
)
def test_what_is_not_one_step_up_stays(values: list[int]) -> None:
    assert without_step(points(values), 3) == list(points(values))


@pytest.mark.parametrize("at", [1, 4, 8])
def test_a_release_of_what_was_there_before_the_requests_is_taken_out(at: int) -> None:
    line = [50_000 * number for number in range(9)]
    fallen = [value - 1_000_000 * (number >= at) for number, value in enumerate(line)]
    assert without_release(points(fallen), 1000) == list(points(line))


@pytest.mark.parametrize(
    "values",
    [
        [0, 50, 100, 150, 200, 250, -110, -60, -10],  # emptied down to where it was at request 0
        [0, 50, 100, -900, -850, -800, -1600, -1550, -1500],
        [0, 3, 1, 4, -20, 2, 5, 3, 1],
        [0, 0, 0, -3, -3, -3, -3, -3, -3],
    ],
    ids=["a buffer that is emptied", "two falls", "it came back", "less than the least"],
)
def test_what_is_not_one_release_stays(values: list[int]) -> None:
    assert without_release(points(values), 10) == list(points(values))
