"""The lines that the judge's rates are, for whoever draws them over the readings.

A line is given by its two ends, and so are the lines at either end of the interval of 95 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import msgspec

from wsgiproof.judge import leaks, memory
from wsgiproof.judge.growth import Growth, Series, rate_of
from wsgiproof.judge.slope import later_half
from wsgiproof.records import Observed

_MOST_LINES = 4
"""Of one check: a finding tells no more processes."""


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """A fitted rate where a leak was called, as a line over the requests served."""

    check: str
    what: str
    """The series, as the finding calls it."""
    unit: str
    rate: float
    """Units per request, and the interval that holds the true value with 95 %."""
    low: float
    high: float
    told: str
    """The rate and its interval as people read them."""
    requests: tuple[int, int]
    """From where to where the line goes."""
    line: tuple[float, float]
    """Its value at either end."""
    least: tuple[float, float]
    most: tuple[float, float]


def fits(observed: Observed) -> tuple[Fit, ...]:
    """A line for each series in which a leak was called, counts first."""
    return (*_of_counts(observed), *_of_memory(observed))


def _of_counts(observed: Observed) -> Iterator[Fit]:
    for check, resource in leaks.RESOURCES.items():
        decision = leaks.decided(resource, observed)
        if decision is not None and decision.growth is Growth.LEAK:
            yield from (_of_count(check, resource, one) for one in decision.grew[:_MOST_LINES])


def _of_count(check: str, resource: leaks.Resource, series: Series) -> Fit:
    """From the first reading on: all units have come since."""
    rate = rate_of(series)
    assert rate is not None
    first, last = series.points[0][0], series.points[-1][0]
    begin = float(series.floor[0])
    return Fit(
        check=check,
        what=series.what,
        unit=resource.unit,
        rate=rate.value,
        low=rate.low,
        high=rate.high,
        told=rate.every(),
        requests=(first, last),
        line=(begin, begin + rate.value * (last - first)),
        least=(begin, begin + rate.low * (last - first)),
        most=(begin, begin + rate.high * (last - first)),
    )


def _of_memory(observed: Observed) -> Iterator[Fit]:
    for one in memory.decided(observed).leaks[:_MOST_LINES]:
        if one.slope is None:
            continue
        points = later_half(one.series.points)
        first, last = points[0][0], points[-1][0]
        # A slope has no intercept of its own: the line goes through the middle of the points.
        middle = (first + last) / 2
        height = median(value - one.slope.rate * (at - middle) for at, value in points)
        ends = [
            (height + rate * (first - middle), height + rate * (last - middle))
            for rate in (one.slope.rate, one.slope.low, one.slope.high)
        ]
        yield Fit(
            check="memory",
            what=f"{one.series.what} of pid {one.series.pid}",
            unit=one.series.unit,
            rate=one.slope.rate,
            low=one.slope.low,
            high=one.slope.high,
            told=memory.told(one.slope, one.series.unit),
            requests=(first, last),
            line=ends[0],
            least=ends[1],
            most=ends[2],
        )
