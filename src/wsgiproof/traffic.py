"""What a load client saw, as frozen values: latencies, failures, throughput.

Latencies are kept in the buckets of an HDR histogram with two significant digits (Gil Tene,
https://hdrhistogram.org): a power of two is divided into 128 buckets of the same width, so a value
is known to 0.8 %, from a microsecond to hours, and buckets that nothing fell into take no room.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
"""Those that are told."""
_EXACT_BITS = 8
"""Below 2 to this power microseconds each value has a bucket of its own."""


def bucket(microseconds: int) -> int:
    """The lower bound of the bucket that this many microseconds fall into."""
    shift = microseconds.bit_length() - _EXACT_BITS
    return microseconds >> shift << shift if shift > 0 else microseconds


def _top(lower: int) -> int:
    """The largest value in the bucket that begins at ``lower``."""
    return lower + (1 << max(lower.bit_length() - _EXACT_BITS, 0)) - 1


class Latencies(msgspec.Struct, frozen=True, kw_only=True):
    """How long requests to one URL took: in one phase of a run, or from one interpreter."""

    url: str
    phase: str = ""
    pid: int | None = None
    """The process that answered; None where all processes are taken together."""
    interpreter: str = ""
    """Its application group, or else its token; empty where all are taken together."""
    longest: int
    """Microseconds of the slowest one."""
    buckets: dict[int, int]
    """How many requests are in each bucket, by its lower bound in microseconds, in their order."""

    @property
    def count(self) -> int:
        """How many requests."""
        return sum(self.buckets.values())

    def percentile(self, percent: float) -> float:
        """Seconds within which ``percent`` of the requests were answered, to 0.8 % (not less)."""
        rank = max(math.ceil(self.count * percent / 100), 1)
        seen = 0
        for lower, count in self.buckets.items():
            seen += count
            if seen >= rank:
                return min(_top(lower), self.longest) / 1e6
        return self.longest / 1e6

    def to_json(self) -> dict[str, Any]:
        """As ``wsgiproof client --json`` prints it: with what comes of the buckets."""
        told = {f"p{percent:g}": self.percentile(percent) for percent in PERCENTILES}
        return msgspec.structs.asdict(self) | {"count": self.count, "percentiles": told}


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """One request that failed: how, where, and the start of what came back."""

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
    """How a load went over time: one number for each ``width`` seconds, in each of the tuples.

    The latencies are microseconds of the requests that ended then with an answer of any status; 0
    where there was none.
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
    """What came of all requests of a run of the load client, or of those until it was ended."""

    requests: int
    """Those that ended, well or not."""
    failed: int
    kinds: dict[str, int]
    """The failed ones by the kind of failure."""
    first_failures: tuple[Failed, ...]
    resent: int
    """Sent again, since the server closed the connection that was kept for them."""
    unclosed: int
    """Answered in good order, but the server did not close the connection, as it was asked to."""
    unsent: int
    """Due by the rate, and not sent before the time was over: all connections were busy."""
    seconds: float
    seed: int
    """Of the random choice of URLs."""
    latencies: tuple[Latencies, ...]
    """Of each URL: requests that were answered, or had no answer in time."""
    interpreters: tuple[Latencies, ...]
    """Of each interpreter, where the answers say which one it was."""
    throughput: Throughput

    def to_json(self) -> dict[str, Any]:
        """As ``wsgiproof client --json`` prints it; described in ``docs/results.md``."""
        return msgspec.structs.asdict(self) | {
            "latencies": [one.to_json() for one in self.latencies],
            "interpreters": [one.to_json() for one in self.interpreters],
        }


def recorded(counts: dict[int, int]) -> dict[int, int]:
    """The buckets in their order."""
    return dict(sorted(counts.items()))


def together(several: Iterable[Latencies], url: str) -> Latencies:
    """All of them in one."""
    counts: dict[int, int] = {}
    longest = 0
    for one in several:
        longest = max(longest, one.longest)
        for lower, count in one.buckets.items():
            counts[lower] = counts.get(lower, 0) + count
    return Latencies(url=url, longest=longest, buckets=recorded(counts))
