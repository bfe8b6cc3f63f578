"""The timeline of a load: requests and latencies, second by second, in bounded memory."""

from __future__ import annotations

from wsgiproof.load.statistics import Histogram
from wsgiproof.records.traffic import LoadTimeline

_MOST_SPANS = 300
"""Beyond this number, each pair of spans is merged into one."""


class LoadTimelineRecorder:
    """Count each request in the span of time in which it ended.

    Spans are one second wide at first. Times are CLOCK_MONOTONIC seconds. The first span begins
    when the first request ends.
    """

    def __init__(self) -> None:
        self._started: float | None = None
        self._width = 1
        self._spans: list[_Span] = []

    def add(self, ended: float, seconds: float, *, answered: bool, failed: bool) -> None:
        """Add a request that ended. Its latency counts if it got a response with any status."""
        if self._started is None:
            self._started = ended
        while (number := int(max(ended - self._started, 0)) // self._width) >= _MOST_SPANS:
            self._halve()
        while len(self._spans) <= number:
            self._spans.append(_Span())
        span = self._spans[number]
        span.requests += 1
        span.failed += failed
        if answered:
            span.latencies.add(seconds)

    def timeline(self) -> LoadTimeline | None:
        """Return the timeline for the record; None if no request ended."""
        if self._started is None:
            return None
        latencies = [span.latencies.latencies("") for span in self._spans]
        return LoadTimeline(
            started=self._started,
            width=self._width,
            requests=tuple(span.requests for span in self._spans),
            failed=tuple(span.failed for span in self._spans),
            p50=tuple(_microseconds(one.percentile(50)) for one in latencies),
            p99=tuple(_microseconds(one.percentile(99)) for one in latencies),
            longest=tuple(one.longest for one in latencies),
        )

    def _halve(self) -> None:
        self._width *= 2
        for number in range(0, len(self._spans) - 1, 2):
            self._spans[number].merge(self._spans[number + 1])
        self._spans = self._spans[::2]


class _Span:
    def __init__(self) -> None:
        self.requests = 0
        self.failed = 0
        self.latencies = Histogram()

    def merge(self, other: _Span) -> None:
        """Add all requests of another span."""
        self.requests += other.requests
        self.failed += other.failed
        self.latencies.merge(other.latencies)


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)
