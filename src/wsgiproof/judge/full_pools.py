"""Does a count grow from one filling of all pools to the next?

A pool has a surplus: more connections or sessions than the load needs at most moments. What leaks
from it does not show in a count while the surplus lasts, since the pool opens nothing new. So all
pools are filled at the end of the warm-up, and again after the load. Both times they hold as much
as all request threads need at once, so a higher count is what they have lost in between.

A pool that was not quite full the first time is no leak. So a higher count has to rise further with
more requests, each time after another filling.
"""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec

from wsgiproof.judge.growth import (
    LEAST_STEPS,
    STOPPED,
    CountDecision,
    LeakStatus,
    Rate,
    decide,
    poisson_limits,
)
from wsgiproof.judge.series import Series

_NO_POOL = 10**9
"""A bound on what a pool may add: none of these counts exceeds it."""
_ONCE = 2
"""Fillings that may show something which an interpreter opens once, and late."""


def decide_full(series: Series) -> CountDecision | None:
    """Decide whether a count leaks, from its values with all pools full.

    None if there are fewer than two, or no requests between them.
    """
    if len(series.points) < 2:
        return None
    (first, before), (last, after) = series.points[0], series.points[-1]
    if last <= first:
        return None
    units = max(0, after - before)
    if units < LEAST_STEPS:
        return CountDecision(
            status=LeakStatus.NO_LEAK,
            units=units,
            requests=last - first,
            excluded_rate=poisson_limits(units)[1] / (last - first),
        )
    decision = decide([series], _NO_POOL, _ONCE)
    if decision.status is LeakStatus.NO_LEAK:
        return _until_it_stops(series, units, decision)
    return decision


def _until_it_stops(series: Series, units: int, decision: CountDecision) -> CountDecision:
    """Return the decision on a count that has risen in few fillings, or in none of the last."""
    (first, _), (last, _) = series.points[0], series.points[-1]
    rises = [number for number, (one, two) in enumerate(pairwise(series.floor), 1) if two > one]
    risen = series.points[rises[-1]][0] - first
    quiet = last - first - risen
    rate = poisson_limits(units)[0] / risen
    needed = math.ceil(-math.log(STOPPED) / rate)
    if quiet < needed:
        return msgspec.structs.replace(
            decision,
            status=LeakStatus.UNDECIDED,
            units=units,
            rate=_rate(units, risen),
            doubt="a pool may not have been full the first time",
            more=needed - quiet,
        )
    return msgspec.structs.replace(
        decision,
        units=units,
        confirmed_requests=quiet,
        excluded_rate=poisson_limits(0)[1] / quiet,
    )


def _rate(units: int, requests: int) -> Rate:
    """Return the rate of ``units`` that came at any time in ``requests``."""
    low, high = poisson_limits(units)
    return Rate(value=units / requests, low=low / requests, high=high / requests)
