"""Running statistics of a load: latencies, failures and throughput, in bounded memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import msgspec

from wsgiproof.load.response import Response
from wsgiproof.records.traffic import (
    FailedRequest,
    Latencies,
    Outcome,
    Throughput,
    Traffic,
    bucket,
    sorted_buckets,
)

_FIRST_FAILURES = 5
_BODY_KEPT = 200
"""Bytes that are kept of the body of a failed request."""
_MOST_INTERPRETERS = 200
"""Interpreters with statistics of their own; a server that replaces its processes keeps adding new
ones."""
_MOST_SPANS = 120
"""Spans of throughput; beyond this number, each pair is merged into one."""

_TIMED = {Outcome.OK, Outcome.STATUS, Outcome.TIMEOUT}

Check = Callable[[bytes], str]
"""Return what is wrong with a body; empty if it is as expected."""


class Histogram:
    """The number of requests in each latency bucket."""

    __slots__ = ("_counts", "_longest")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._longest = 0

    def add(self, seconds: float) -> None:
        """Add a request that took this long."""
        microseconds = int(seconds * 1e6)
        lower = bucket(microseconds)
        self._counts[lower] = self._counts.get(lower, 0) + 1
        if microseconds > self._longest:
            self._longest = microseconds

    def merge(self, other: Histogram) -> None:
        """Add all requests of another histogram."""
        for lower, count in other._counts.items():
            self._counts[lower] = self._counts.get(lower, 0) + count
        self._longest = max(self._longest, other._longest)

    def latencies(
        self, url: str, *, phase: str = "", pid: int | None = None, interpreter: str = ""
    ) -> Latencies:
        """Return the histogram for the record."""
        return Latencies(
            url=url,
            phase=phase,
            pid=pid,
            interpreter=interpreter,
            longest=self._longest,
            buckets=sorted_buckets(self._counts),
        )


class _ServedBy(msgspec.Struct, frozen=True):
    """The process and the interpreter that a response of wsgiproof's application names."""

    pid: int
    token: str
    application_group: str | None = None


_decode_served_by = msgspec.json.Decoder(_ServedBy).decode


class _Spans:
    """Requests by the time at which they ended; spans grow wider as the run goes on."""

    def __init__(self) -> None:
        self._width = 1
        self._requests: list[int] = []
        self._failed: list[int] = []

    def add(self, seconds: float, failed: bool) -> None:
        """Add a request that ended this long after the start."""
        while (number := int(seconds) // self._width) >= _MOST_SPANS:
            self._width *= 2
            self._requests = _halved(self._requests)
            self._failed = _halved(self._failed)
        while len(self._requests) <= number:
            self._requests.append(0)
            self._failed.append(0)
        self._requests[number] += 1
        self._failed[number] += failed

    def throughput(self) -> Throughput:
        """Return the throughput for the record."""
        return Throughput(
            width=self._width, requests=tuple(self._requests), failed=tuple(self._failed)
        )


def _halved(counts: list[int]) -> list[int]:
    return [sum(counts[at : at + 2]) for at in range(0, len(counts), 2)]


class LoadStatistics:
    """Statistics over every :class:`Response` of a run. ``check`` examines each body."""

    def __init__(self, check: Check | None = None) -> None:
        self.requests = 0
        self.failed = 0
        self.unsent = 0
        self._check = check
        self._kinds: Counter[str] = Counter()
        self._first: list[FailedRequest] = []
        self._resent = 0
        self._unclosed = 0
        self._urls: dict[str, Histogram] = {}
        self._interpreters: dict[tuple[str, int, str], Histogram] = {}
        self._spans = _Spans()
        self._started = time.monotonic()

    def add(self, response: Response) -> None:
        """Add a request that has ended."""
        self.requests += 1
        outcome = response.outcome
        error = response.error
        kind = "" if outcome is Outcome.OK else str(outcome)
        if error and not kind:
            self._unclosed += 1
        if not kind and self._check is not None and (error := self._check(response.body)):
            kind = Outcome.INVALID_BODY
        if kind:
            self._fail(kind, error, response)
        if response.resent:
            self._resent += 1
        if outcome in _TIMED:
            self._time(response)
        self._spans.add(response.started + response.seconds - self._started, bool(kind))

    def traffic(self, seed: int) -> Traffic:
        """Return the statistics so far, for the record."""
        return Traffic(
            requests=self.requests,
            failed=self.failed,
            kinds=dict(self._kinds.most_common()),
            first_failures=tuple(self._first),
            resent=self._resent,
            unclosed=self._unclosed,
            unsent=self.unsent,
            seconds=time.monotonic() - self._started,
            seed=seed,
            latencies=tuple(one.latencies(url) for url, one in sorted(self._urls.items())),
            interpreters=tuple(
                one.latencies(url, pid=pid, interpreter=name)
                for (url, pid, name), one in sorted(self._interpreters.items())
            ),
            throughput=self._spans.throughput(),
        )

    def _fail(self, kind: str, error: str, response: Response) -> None:
        self.failed += 1
        self._kinds[kind] += 1
        if len(self._first) < _FIRST_FAILURES:
            self._first.append(
                FailedRequest(
                    kind=kind,
                    url=response.url,
                    status=response.status,
                    error=error,
                    body=response.body[:_BODY_KEPT].decode("utf-8", "replace"),
                )
            )

    def _time(self, response: Response) -> None:
        histogram = self._urls.get(response.url)
        if histogram is None:
            histogram = self._urls[response.url] = Histogram()
        histogram.add(response.seconds)
        if response.body.startswith(b"{"):
            self._time_interpreter(response)

    def _time_interpreter(self, response: Response) -> None:
        try:
            served_by = _decode_served_by(response.body)
        except msgspec.MsgspecError:
            return  # the response of another application
        key = (
            response.url,
            served_by.pid,
            served_by.application_group or served_by.token,
        )
        histogram = self._interpreters.get(key)
        if histogram is None:
            if len(self._interpreters) >= _MOST_INTERPRETERS:
                return
            histogram = self._interpreters[key] = Histogram()
        histogram.add(response.seconds)
