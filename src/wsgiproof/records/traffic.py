"""What a load client measured, as frozen values: latencies, failures, throughput.

Latencies are kept in the buckets of an HDR histogram with two significant digits (Gil Tene,
https://hdrhistogram.org). Each power of two is divided into 128 buckets of the same width, so a
value is known to 0.8 %, from a microsecond to hours, and empty buckets take no space.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
"""The percentiles that are reported."""
_EXACT_BITS = 8
"""Below 2 to this power microseconds, each value has its own bucket."""


class Outcome(StrEnum):
    """How one request ended: well, or with one of the kinds of failure."""

    OK = "ok"
    REFUSED = "refused"
    """No connection: nothing listens there, or there is no route."""
    RESET = "reset"
    """The connection was reset before the response was complete."""
    TIMEOUT = "timeout"
    """The response was not complete at the deadline."""
    TRUNCATED = "truncated"
    """Closed in good order, but before the response was complete."""
    MALFORMED = "malformed"
    """Not HTTP/1, bad framing, too large, or bytes after the end."""
    STATUS = "status"
    """Complete, but not a success (2xx)."""
    INVALID_BODY = "invalid body"
    """Well-formed, but the body is not as expected."""
    NO_REPORT = "no report"
    """A right status, but no report of the agent: something other than the application answered."""


def bucket(microseconds: int) -> int:
    """Return the lower bound of the bucket for this many microseconds."""
    shift = microseconds.bit_length() - _EXACT_BITS
    return microseconds >> shift << shift if shift > 0 else microseconds


def _top(lower: int) -> int:
    """Return the largest value in the bucket that begins at ``lower``."""
    return lower + (1 << max(lower.bit_length() - _EXACT_BITS, 0)) - 1


class Latencies(msgspec.Struct, frozen=True, kw_only=True):
    """The latencies of requests to one URL, in one phase of a run or from one interpreter."""

    url: str
    phase: str = ""
    pid: int | None = None
    """The process that answered; None for all processes together."""
    interpreter: str = ""
    """Its application group, or else its token; empty for all interpreters together."""
    longest: int
    """Microseconds of the slowest request."""
    buckets: dict[int, int]
    """How many requests are in each bucket, by its lower bound in microseconds, in order."""

    @property
    def count(self) -> int:
        """How many requests."""
        return sum(self.buckets.values())

    def percentile(self, percent: float) -> float:
        """Return the seconds within which ``percent`` of the requests were answered.

        The value is up to 0.8 % too high, and never too low.
        """
        rank = max(math.ceil(self.count * percent / 100), 1)
        counted = 0
        for lower, count in self.buckets.items():
            counted += count
            if counted >= rank:
                return min(_top(lower), self.longest) / 1e6
        return self.longest / 1e6

    def to_json(self) -> dict[str, Any]:
        """Return what ``wsgiproof client --json`` prints, with the count and the percentiles."""
        percentiles = {f"p{percent:g}": self.percentile(percent) for percent in PERCENTILES}
        return msgspec.structs.asdict(self) | {"count": self.count, "percentiles": percentiles}


class FailedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One failed request, with the start of its answer's body."""

    kind: str
    url: str
    status: int | None
    error: str
    body: str


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests ended in each ``width`` seconds of a run, and how many of them failed."""

    width: int
    requests: tuple[int, ...]
    failed: tuple[int, ...]


class LoadTimeline(msgspec.Struct, frozen=True, kw_only=True):
    """The load over time: each tuple has one number for each ``width`` seconds.

    The latencies are microseconds, of requests that ended then with an answer of any status; 0 if
    no request did.
    """

    started: float
    """CLOCK_MONOTONIC, when the first request ended."""
    width: int
    requests: tuple[int, ...]
    failed: tuple[int, ...]
    p50: tuple[int, ...]
    p99: tuple[int, ...]
    longest: tuple[int, ...]


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """The results of all requests of a load client's run, or of those until it was stopped."""

    requests: int
    """Requests that ended, successfully or not."""
    failed: int
    kinds: dict[str, int]
    """The failed requests by the kind of failure."""
    first_failures: tuple[FailedRequest, ...]
    resent: int
    """Requests that were sent again because the server had closed the kept-alive connection."""
    unclosed: int
    """Correct answers after which the server did not close the connection, though asked to."""
    unsent: int
    """Requests that were due by the rate and not sent, because all connections were busy."""
    seconds: float
    seed: int
    """The seed of the random choice of URLs."""
    latencies: tuple[Latencies, ...]
    """The latencies of each URL: requests that were answered, or that timed out."""
    interpreters: tuple[Latencies, ...]
    """The latencies of each interpreter, if the answers identify it."""
    throughput: Throughput

    def to_json(self) -> dict[str, Any]:
        """Return what ``wsgiproof client --json`` prints, as described in ``docs/results.md``."""
        return msgspec.structs.asdict(self) | {
            "latencies": [one.to_json() for one in self.latencies],
            "interpreters": [one.to_json() for one in self.interpreters],
        }


def sorted_buckets(counts: dict[int, int]) -> dict[int, int]:
    """Return the buckets in order."""
    return dict(sorted(counts.items()))


def merged(several: Iterable[Latencies], url: str) -> Latencies:
    """Return several histograms as one."""
    counts: dict[int, int] = {}
    longest = 0
    for one in several:
        longest = max(longest, one.longest)
        for lower, count in one.buckets.items():
            counts[lower] = counts.get(lower, 0) + count
    return Latencies(url=url, longest=longest, buckets=sorted_buckets(counts))
