"""How a load went over time: requests and their latencies, second by second, in bounded memory."""

from __future__ import annotations

from wsgiproof.load.statistics import Histogram
from wsgiproof.traffic import LoadTimeline

_MOST_SPANS = 300
"""Then each two of them become one."""


class LoadTimelineRecorder:
    """Accounts for each request in the span of time in which it ended.

    Spans are one second wide at first. Times are of CLOCK_MONOTONIC; the first request that ends
    begins the first span.
    """

    def __init__(self) -> None:
        self._started: float | None = None
        self._width = 1
        self._spans: list[_Span] = []

    def add(self, ended: float, seconds: float, *, answered: bool, failed: bool) -> None:
        """One more request ended; its time counts if there was an answer with any status."""
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
        """As it is recorded; None if no request ended."""
        if self._started is None:
            return None
        told = [span.latencies.latencies("") for span in self._spans]
        return LoadTimeline(
            started=self._started,
            width=self._width,
            requests=tuple(span.requests for span in self._spans),
            failed=tuple(span.failed for span in self._spans),
            p50=tuple(_microseconds(one.percentile(50)) for one in told),
            p99=tuple(_microseconds(one.percentile(99)) for one in told),
            longest=tuple(one.longest for one in told),
        )

    def _halve(self) -> None:
        self._width *= 2
        for number in range(0, len(self._spans) - 1, 2):
            self._spans[number].take(self._spans[number + 1])
        self._spans = self._spans[::2]


class _Span:
    def __init__(self) -> None:
        self.requests = 0
        self.failed = 0
        self.latencies = Histogram()

    def take(self, other: _Span) -> None:
        """All of another one as well."""
        self.requests += other.requests
        self.failed += other.failed
        self.latencies.take(other.latencies)


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)
