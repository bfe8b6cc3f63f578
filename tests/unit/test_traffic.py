"""Latencies, throughput and failures: what is kept of them, and that it stays small."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgiproof.load.response import Response
from wsgiproof.load.statistics import Histogram, LoadStatistics
from wsgiproof.records.traffic import Latencies, Outcome, bucket, merged

SECONDS = st.lists(st.floats(min_value=0, max_value=3600), min_size=1, max_size=200)


def latencies(seconds: list[float]) -> Latencies:
    histogram = Histogram()
    for one in seconds:
        histogram.add(one)
    return histogram.latencies("/")


@given(SECONDS, st.sampled_from([0, 50, 90, 99, 99.9, 100]))
def test_a_percentile_is_right_to_its_precision_and_never_too_small(
    seconds: list[float], percent: float
) -> None:
    exact = sorted(seconds)[max(math.ceil(len(seconds) * percent / 100), 1) - 1]
    measured = latencies(seconds).percentile(percent)
    assert exact - 1e-6 <= measured <= exact * 1.008 + 1e-6


@given(st.integers(min_value=0, max_value=10**12))
def test_a_bucket_begins_at_most_0_8_percent_below_its_values(value: int) -> None:
    assert bucket(value) <= value <= bucket(value) * 1.008
    assert bucket(bucket(value)) == bucket(value)


@given(SECONDS, SECONDS)
def test_two_histograms_together_are_the_histogram_of_both(
    one: list[float], other: list[float]
) -> None:
    both = merged([latencies(one), latencies(other)], "/")
    assert both == latencies(one + other)
    assert both.count == len(one) + len(other)


def test_they_come_back_from_json_as_they_were() -> None:
    measured = latencies([0.001, 0.2, 0.2])
    assert msgspec.json.decode(msgspec.json.encode(measured), type=Latencies) == measured


def response(number: int, outcome: Outcome = Outcome.OK, started: float = 0.0) -> Response:
    body = b'{"pid": %d, "token": "x"}' % number
    return Response("/", outcome, 200, body, "", started, 0.001 * (number % 5000))


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.STATUS])
def test_what_is_kept_does_not_grow_with_the_requests(outcome: Outcome) -> None:
    """New processes for ever, failures for ever, days on end."""

    def size(requests: int) -> int:
        tally = LoadStatistics()
        for number in range(requests):
            tally.add(response(number, outcome, tally._started + number * 10))
        traffic = tally.traffic(1)
        assert traffic.requests == sum(traffic.throughput.requests) == requests
        assert traffic.failed == sum(traffic.throughput.failed)
        assert sum(one.count for one in traffic.latencies) == requests
        return len(msgspec.json.encode(traffic))

    assert size(40_000) < 1.1 * size(10_000)
