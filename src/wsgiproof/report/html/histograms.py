"""How long requests took, by interpreter: the recorded buckets, merged for a plot."""

from __future__ import annotations

import math
from typing import Any

from wsgiproof.records.observed import Observed
from wsgiproof.records.plan import PhaseName
from wsgiproof.records.traffic import PERCENTILES, Latencies, merged

_EACH_DOUBLING = 8
"""Bars for each doubling of the latency: they are equally wide on a logarithmic axis."""


def histograms(seen: Observed) -> list[dict[str, Any]]:
    """Return a histogram for each interpreter.

    Requests of the warm-up are left out: they are held inside on purpose.
    """
    groups = {one.url: one.application_group for one in seen.identities}
    by_url: dict[str, list[Latencies]] = {}
    for one in seen.latencies:
        if one.phase != PhaseName.WARM_UP:
            by_url.setdefault(one.url, []).append(one)
    return [_histogram(merged(several, groups.get(url) or url)) for url, several in by_url.items()]


def _histogram(one: Latencies) -> dict[str, Any]:
    bars: dict[int, int] = {}
    for lower, count in one.buckets.items():
        bar = math.floor(math.log2(max(lower, 1)) * _EACH_DOUBLING)
        bars[bar] = bars.get(bar, 0) + count
    # An empty bar is drawn as one, and so are those at both ends.
    all_bars = range(min(bars) - 1, max(bars) + 2) if bars else range(0)
    return {
        "name": one.url,
        "count": one.count,
        "percentiles": {f"p{percent:g}": one.percentile(percent) * 1e3 for percent in PERCENTILES},
        "longest": one.longest / 1e3,
        "x": [2 ** ((bar + 0.5) / _EACH_DOUBLING) / 1e3 for bar in all_bars],
        "y": [bars.get(bar, 0) for bar in all_bars],
    }
