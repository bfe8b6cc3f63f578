"""The rates that the judge fitted, as lines to draw over the samples.

A line is given by its two ends, and so are the lines at either end of the 95 % interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import msgspec

from wsgiproof.judge import count_decisions, memory
from wsgiproof.judge.growth import LeakStatus, rate_of
from wsgiproof.judge.memory_series import rate_text
from wsgiproof.judge.resources import Resource, Resources
from wsgiproof.judge.series import Series
from wsgiproof.judge.slope import later_half
from wsgiproof.records.observed import Observed

_MOST_LINES = 4
"""Lines of one check; a finding names no more series either."""


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """The fitted rate of a series that leaks, as a line over the requests served."""

    check: str
    what: str
    """The series, as the finding calls it."""
    unit: str
    rate: float
    """Units per request; ``low`` and ``high`` are its 95 % interval."""
    low: float
    high: float
    text: str
    """The rate and its interval in words."""
    requests: tuple[int, int]
    """The ends of the line, in requests."""
    line: tuple[float, float]
    """Its value at either end."""
    least: tuple[float, float]
    most: tuple[float, float]


def fits(resources: Resources, observed: Observed) -> tuple[Fit, ...]:
    """Return a line for each series that leaks, counts first."""
    return (*_of_counts(resources, observed), *_of_memory(observed))


def _of_counts(resources: Resources, observed: Observed) -> Iterator[Fit]:
    for check, resource in resources.items():
        decision = count_decisions.decision_of(resource, observed)
        if decision is not None and decision.status is LeakStatus.LEAK:
            # Processes that came and went have no line in common with the requests of the server.
            single = [one for one in decision.growing if not one.lives]
            yield from (_of_count(check, resource, one) for one in single[:_MOST_LINES])


def _of_count(check: str, resource: Resource, series: Series) -> Fit:
    """Return the line of a count. It begins at the first sample: all units came after it."""
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
        text=rate.describe(),
        requests=(first, last),
        line=(begin, begin + rate.value * (last - first)),
        least=(begin, begin + rate.low * (last - first)),
        most=(begin, begin + rate.high * (last - first)),
    )


def _of_memory(observed: Observed) -> Iterator[Fit]:
    for one in memory.decision_of(observed).leaks[:_MOST_LINES]:
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
            text=rate_text(one.slope, one.series.unit),
            requests=(first, last),
            line=ends[0],
            least=ends[1],
            most=ends[2],
        )
