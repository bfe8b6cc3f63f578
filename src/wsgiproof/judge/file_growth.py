"""Files that grow: by how much, and whether that is more than is accepted.

An application may log, so that no growth is too much unless a limit is given. Then the later half
of the load decides: a log that is rotated grows until there are as many files as are kept.
"""

from __future__ import annotations

import math

import msgspec

from wsgiproof.judge.finding import Outcome, count, evidence, mebibytes
from wsgiproof.judge.growth import CONFIDENCE
from wsgiproof.judge.slope import Points, Slope, later_half, span, theil_sen
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import Observed

_MATERIAL = 2**20
"""A pass says how many bytes files have grown by if it is more than that."""


def with_file_growth(outcome: Outcome, observed: Observed) -> Outcome:
    """Return the outcome of the check ``files``, with what the size of the files adds to it."""
    limit, points = observed.plan.max_file_growth, _points(observed)
    if not outcome.passed:
        return outcome
    if limit is None:
        grown = points[-1][1] - points[0][1] if points else 0
        note = f"; the files have grown by {mebibytes(grown)}" if grown >= _MATERIAL else ""
        return msgspec.structs.replace(outcome, passed=outcome.passed + note)
    slope = _later(points)
    if slope is None:
        times = count(len(points), "time")
        return Outcome(
            missing=f"the size of the files was read {times}, too few for --max-file-growth"
        )
    if slope.low > limit:
        return Outcome(findings=(_finding(slope, points, limit),))
    return msgspec.structs.replace(
        outcome, passed=f"{outcome.passed}; files grew by {_rate(slope)}"
    )


def _finding(slope: Slope, points: Points, limit: float) -> Finding:
    return Finding(
        check="files",
        seen=f"files grew by {_rate(slope)}, {mebibytes(points[-1][1] - points[0][1])} in all "
        f"(--max-file-growth {limit:g})",
        meaning="files in the directories of the server grow with each request, by more than the "
        "configuration accepts, until the disk is full",
        action="rotate the file, or write less to it",
        evidence=evidence(f"{size:,} bytes after {at:,} requests" for at, size in points),
    )


def _points(observed: Observed) -> Points:
    return [
        (one.requests, size)
        for one in observed.samples
        if (size := one.counts.get("bytes")) is not None
    ]


def _later(points: Points) -> Slope | None:
    """Return the bytes per request of the later half; None if it has too few points."""
    later = later_half(points)
    if not later or not span(later):
        return None
    slope = theil_sen(later, CONFIDENCE)
    return slope if slope.high < math.inf else None


def _rate(slope: Slope) -> str:
    return f"{slope.rate:,.0f} bytes per request ({slope.low:,.0f} to {slope.high:,.0f}, 95 %)"
