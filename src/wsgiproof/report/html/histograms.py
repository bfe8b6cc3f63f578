"""How long requests took, by interpreter: the recorded buckets, made fewer for a plot."""

from __future__ import annotations

import math
from typing import Any

from wsgiproof.records import Observed, PhaseName
from wsgiproof.traffic import PERCENTILES, Latencies, together

_EACH_DOUBLING = 8
"""Bars, which are as wide as they are long in time: a plot of latencies has a logarithmic axis."""


def histograms(seen: Observed) -> list[dict[str, Any]]:
    """For each interpreter, of all requests but those of the warm-up, which wait by intent."""
    groups = {one.url: one.application_group for one in seen.identities}
    by_url: dict[str, list[Latencies]] = {}
    for one in seen.latencies:
        if one.phase != PhaseName.WARM_UP:
            by_url.setdefault(one.url, []).append(one)
    return [
        _histogram(together(several, groups.get(url) or url)) for url, several in by_url.items()
    ]


def _histogram(one: Latencies) -> dict[str, Any]:
    bars: dict[int, int] = {}
    for lower, count in one.buckets.items():
        bar = math.floor(math.log2(max(lower, 1)) * _EACH_DOUBLING)
        bars[bar] = bars.get(bar, 0) + count
    return {
        "name": one.url,
        "count": one.count,
        "percentiles": {f"p{percent:g}": one.percentile(percent) * 1e3 for percent in PERCENTILES},
        "longest": one.longest / 1e3,
        "x": [2 ** ((bar + 0.5) / _EACH_DOUBLING) / 1e3 for bar in sorted(bars)],
        "y": [bars[bar] for bar in sorted(bars)],
    }
