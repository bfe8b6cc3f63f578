"""Robust statistics of a series: its slope with an interval, and how its growth is spread.

Points are ``(requests, value)`` pairs in order. No distribution is assumed: up to 29 % of the
points may have any value (Theil-Sen's breakdown point).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import accumulate, combinations, pairwise
from statistics import NormalDist, median

import msgspec

Points = Sequence[tuple[int, int]]

_MOST_EXACT = 40
"""Up to this many points, Kendall's distribution is computed; beyond, the normal one is as good."""


class Slope(msgspec.Struct, frozen=True, kw_only=True):
    """Units per request, with an interval of the requested confidence."""

    rate: float
    low: float
    high: float


def theil_sen(points: Points, confidence: float = 0.95) -> Slope:
    """Return the median slope of all pairs of points, with Sen's interval.

    The interval is between two of the sorted slopes, chosen by the distribution of Kendall's S (Sen
    1968, "Estimates of the regression coefficient based on Kendall's tau"). It is exact up to 40
    points, so it never has less than the requested confidence if the noise is independent. With too
    few points for that confidence (below 5 for 95 %) it is infinite. Pairs with the same number of
    requests have no slope and are left out. Raises ``ValueError`` if no pair is left.
    """
    slopes = sorted(
        (after - before) / (later - earlier)
        for (earlier, before), (later, after) in combinations(points, 2)
        if later != earlier
    )
    if not slopes:
        raise ValueError("a slope needs two points at different numbers of requests")
    outside = outside_interval(len(points), confidence)
    if outside == 0 or 2 * outside > len(slopes):
        return Slope(rate=median(slopes), low=-math.inf, high=math.inf)
    return Slope(rate=median(slopes), low=slopes[outside - 1], high=slopes[-outside])


def outside_interval(points: int, confidence: float) -> int:
    """Return which sorted slope, counted from 1 from either end, bounds the interval; 0 if none.

    The number of slopes below the true one is Kendall's number of discordant pairs. The interval
    from the k-th least to the k-th greatest slope misses the true one if that number is below k, or
    if the number of slopes above it is.
    """
    tail = (1 - confidence) / 2
    if points > _MOST_EXACT:
        expected = points * (points - 1) / 4
        deviation = math.sqrt(points * (points - 1) * (2 * points + 5) / 72)
        return math.floor(expected + NormalDist().inv_cdf(tail) * deviation)
    orders = inversions(points)
    allowed = tail * sum(orders)
    return sum(1 for below in accumulate(orders) if below <= allowed)


@cache
def inversions(points: int) -> tuple[int, ...]:
    """Return, for each number of discordant pairs, how many orders of ``points`` have it."""
    counts = [1]
    for size in range(2, points + 1):
        # The new last element is discordant with 0 to size - 1 of the others.
        sums = [0, *accumulate(counts)]
        top = len(counts)
        counts = [
            sums[min(pairs + 1, top)] - sums[max(0, pairs + 1 - size)]
            for pairs in range(top + size - 1)
        ]
    return tuple(counts)


def later_half(points: Points) -> Points:
    """Return the points from the middle one to the last."""
    return points[(len(points) - 1) // 2 :]


def earlier_half(points: Points) -> Points:
    """Return the points up to the middle one, which is in both halves."""
    return points[: (len(points) - 1) // 2 + 1]


def span(points: Points) -> int:
    """Return the requests from the first point to the last."""
    return points[-1][0] - points[0][0]


def part_rates(points: Points, parts: int) -> list[float]:
    """Return the units per request in each of ``parts`` consecutive parts.

    There are fewer parts if there are too few points.
    """
    steps = len(points) - 1
    parts = min(parts, steps)
    marks = [points[round(number * steps / parts)] for number in range(parts + 1)]
    return [
        (after - before) / (later - earlier)
        for (earlier, before), (later, after) in pairwise(marks)
        if later != earlier
    ]


def without_step(points: Points, least: float) -> list[tuple[int, int]]:
    """Return the series with its one step up flattened to the median slope of all rounds.

    A step is more than ``least`` above that slope, and more than twice as far from it as any other
    round. Noise, and growth in several steps, are left unchanged.
    """
    _, above = _above_usual(points)
    steepest = max(range(len(above)), key=above.__getitem__)
    others = max((abs(one) for one in above[:steepest] + above[steepest + 1 :]), default=math.inf)
    if above[steepest] <= max(least, 2 * others):
        return list(points)
    return _flattened(points, steepest, above[steepest])


def without_release(points: Points, least: float) -> list[tuple[int, int]]:
    """Return the series with its one fall flattened that requests can't explain.

    It ends below the first value by more than requests had added until then, so it is not what they
    left: an allocator gave back memory of the start. Growth before it is not lost that way. What
    fills and is emptied never falls so far. The fall is also more than ``least``, more than twice
    as far as any other, and no later round takes most of it back.
    """
    usual, above = _above_usual(points)
    furthest = min(range(len(above)), key=above.__getitem__)
    fall = -above[furthest]
    others = max((-one for one in above[:furthest] + above[furthest + 1 :]), default=math.inf)
    taken_back = max(above[furthest + 1 :], default=0)
    served, first = points[0]
    is_release = points[furthest + 1][1] < first - max(usual * served, 0)
    if not is_release or fall <= max(least, 2 * others) or taken_back > 0.75 * fall:
        return list(points)
    return _flattened(points, furthest, -fall)


def _above_usual(points: Points) -> tuple[float, list[float]]:
    """Return the median slope of all rounds, and by how many units each round is above it."""
    steps = [
        (later - earlier, after - before) for (earlier, before), (later, after) in pairwise(points)
    ]
    usual = median(rise / length for length, rise in steps if length)
    return usual, [rise - usual * length for length, rise in steps]


def _flattened(points: Points, step: int, units: float) -> list[tuple[int, int]]:
    """Return the series without these units, which a step from one point to the next has added."""
    return [
        (requests, value - round(units) * (number > step))
        for number, (requests, value) in enumerate(points)
    ]


def lasting_growth(points: Points) -> int:
    """Return how far the last value is above the least: what falls again has not grown."""
    return points[-1][1] - min(value for _, value in points)
