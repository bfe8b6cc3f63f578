"""The check of time, on invented records."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

import msgspec
import pytest

from tests.cells import CELL
from tests.unit.factories import POINTS, RULES, observed, reading, samples
from wsgiproof.judge.latency import latency
from wsgiproof.judge.verdict import judge
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import Observed, Work
from wsgiproof.records.plan import PhaseName
from wsgiproof.records.traffic import Latencies

Milliseconds = Callable[[int], float]
"""What one request takes, after so many."""


def constant(at: int) -> float:
    return 2.0


def growing(at: int) -> float:
    return 2.0 + at / 500


def works(
    serving: Milliseconds = constant,
    cpu: Milliseconds = constant,
    waited: Milliseconds = lambda at: 0.1,
    client: Milliseconds = lambda at: 0.25,
) -> Observed:
    """A record in which each request took as long as that."""
    rows, sums, before = [], [0.0, 0.0, 0.0, 0.0], 0
    for row in samples([[reading()]] * POINTS):
        middle = (before + row.requests) // 2
        for number, one in enumerate((serving, cpu, waited, client)):
            sums[number] += (row.requests - before) * one(middle) / 1000
        work = Work(serving=sums[0], cpu=sums[1], waited=sums[2], client=sums[3])
        rows.append(msgspec.structs.replace(row, work=work))
        before = row.requests
    return observed(samples=tuple(rows))


def in_rounds(
    serving: Sequence[float], waited: Sequence[float], requests: int, parallel: int | None = None
) -> Observed:
    """A record of rounds in which a request took, and processes waited, so many milliseconds: of
    the phase parallel, or so many of it and the others of the phase serial."""
    work, seen = Work(serving=0.0, cpu=0.0, waited=0.0), []
    for number, row in enumerate(samples([[reading()]] * (len(serving) + 1))):
        if number:
            work = Work(
                serving=work.serving + requests * serving[number - 1] / 1000,
                cpu=0.0,
                waited=work.waited + requests * waited[number - 1] / 1000,
            )
        several = parallel is None or number <= parallel
        phase = PhaseName.PARALLEL if several else PhaseName.SERIAL
        seen.append(
            msgspec.structs.replace(row, requests=80 + requests * number, phase=phase, work=work)
        )
    return observed(samples=tuple(seen))


def verdict(seen: Observed) -> Verdict:
    return next(one for one in judge(CELL, seen, RULES).checks if one.check == "latency").verdict


def limited(seen: Observed, **limits: float) -> Observed:
    return msgspec.structs.replace(seen, plan=msgspec.structs.replace(seen.plan, **limits))


def noisy(at: int) -> float:
    return 2.0 + 3.0 * (at // 125 % 2)


def once(at: int) -> float:
    """A machine that gets busy while half of the requests are done."""
    return 2.0 if at < 1300 else 9.0


def cold(at: int) -> float:
    return 2.0 + 500 / (at + 1)


def half(at: int) -> float:
    """Half as much again at the end."""
    return 2.0 + at / 3000


@pytest.mark.parametrize("time", [constant, noisy, once, cold, half])
def test_time_that_does_not_keep_growing_passes(time: Milliseconds) -> None:
    assert verdict(works(serving=time)) is Verdict.PASS
    assert verdict(works(cpu=time)) is Verdict.PASS


def test_time_that_keeps_growing_fails() -> None:
    (finding,) = latency(CELL, works(serving=growing)).findings
    assert finding.seen.startswith("the time per request grew from 2.")
    assert finding.seen.endswith(" ms in 2,500 parallel requests")
    assert len(finding.evidence) >= 8


def test_time_that_was_spent_waiting_for_a_processor_is_not_judged_and_the_pass_says_so() -> None:
    seen = works(serving=growing, waited=lambda at: at / 600)
    result = latency(CELL, seen)
    assert "; not judged: the time per " in result.passed
    assert "on a busy machine" in result.passed
    assert not result.findings


def test_more_growth_than_the_time_that_was_spent_waiting_fails() -> None:
    seen = works(serving=growing, waited=lambda at: at / 1500)
    (finding,) = latency(CELL, seen).findings
    assert finding.seen.startswith("the time per request grew")


def test_a_machine_that_is_busy_all_the_time_explains_nothing() -> None:
    assert verdict(works(serving=growing, waited=lambda at: 50.0)) is Verdict.FAIL


@pytest.mark.parametrize("what", ["serving", "cpu"])
@pytest.mark.parametrize(
    "time",
    [
        growing,
        lambda at: 2.0 + max(0, at - 1000) / 250,
        lambda at: 2.0 + 6.0 * (at / 3000) ** 2,
        lambda at: 2.0 * 5 ** (at / 3000),
    ],
    ids=["line", "ramp", "square", "exponential"],
)
def test_what_takes_longer_in_the_load_client_too_is_not_judged(
    what: str, time: Milliseconds
) -> None:
    assert verdict(works(**{what: time})) is Verdict.FAIL
    slower: dict[str, Milliseconds] = {what: time, "client": lambda at: time(at) / 8}
    result = latency(CELL, works(**slower))
    assert "the machine became slower" in result.passed
    assert not result.findings


@pytest.mark.parametrize("what", ["serving", "cpu"])
def test_a_load_client_whose_time_only_varies_hides_nothing(what: str) -> None:
    varying = itertools.cycle((0.29, 0.18, 0.25, 0.20, 0.22, 0.29, 0.23, 0.36))
    slower: dict[str, Milliseconds] = {
        what: lambda at: 2.0 + at / 1000,
        "client": lambda at: next(varying),
    }
    assert verdict(works(**slower)) is Verdict.FAIL


@pytest.mark.parametrize("what", ["serving", "cpu"])
def test_records_without_the_time_of_the_client_are_judged_as_before(what: str) -> None:
    slower: dict[str, Milliseconds] = {what: growing, "client": lambda at: 0.0}
    assert verdict(works(**slower)) is Verdict.FAIL


WALL = (0.83, 1.70, 1.99, 3.03, 2.60, 4.58, 4.31, 5.17, 4.17)
"""Milliseconds per request of a healthy application on a machine with four busy processes, in
rounds of twelve requests."""
WAITED = (3.65, 4.65, 5.34, 3.12, 3.96, 8.24, 5.20, 6.64, 6.44)


@pytest.mark.parametrize(
    ("waited", "expected"),
    [(WAITED, Verdict.PASS), ([0.1] * len(WALL), Verdict.FAIL)],
    ids=["busy machine", "idle machine"],
)
def test_short_rounds_on_a_busy_machine_are_not_judged(
    waited: Sequence[float], expected: Verdict
) -> None:
    assert verdict(in_rounds(WALL, waited, 12)) is expected


FASTER_AND_FASTER = (2.23, 1.78, 1.87, 2.61, 5.22, 13.56, 7.44, 13.53, 15.44)
"""Milliseconds per request of a healthy application on a machine that gets busy meanwhile."""
WAITED_ALL_OF_IT = (0.96, 0.63, 0.84, 1.00, 3.82, 12.27, 6.47, 12.08, 15.48)


@pytest.mark.parametrize(
    ("waited", "expected"),
    [(WAITED_ALL_OF_IT, Verdict.PASS), ([0.6] * len(FASTER_AND_FASTER), Verdict.FAIL)],
    ids=["busy machine", "idle machine"],
)
def test_a_line_that_begins_below_all_times_hides_no_waiting(
    waited: Sequence[float], expected: Verdict
) -> None:
    seen = in_rounds(FASTER_AND_FASTER, waited, 37)
    assert verdict(seen) is expected
    result = latency(CELL, seen)
    said = [result.passed, *(one.seen for one in result.findings)]
    assert any("from 1.78 to " in one for one in said)


SEVERAL = (1.37, 3.64, 1.82, 2.08, 2.11, 2.52, 3.14, 3.09, 3.24, 4.89, 3.63, 4.71, 4.68, 5.88)
SEVERAL_WAITED = (8.2, 23.2, 3.3, 3.4, 1.4, 11.4, 4.2, 10.7, 6.1, 15.2, 4.4, 13.7, 6.8, 18.3)
"""Milliseconds per request with fifteen at once, of an application that gets slower, on a busy
machine: that the processes waited longer may be the reason."""
ALONE = (67.6, 71.3, 72.0, 81.0, 86.3, 85.2, 88.0, 90.0, 88.0)
"""The same of requests that were alone, after them."""
ALONE_WAITED = (6.5, 11.0, 7.0, 18.8, 19.9, 22.9, 14.6, 13.1, 7.9)


UNEVEN = (1.2, 1.9, 3.7, 3.9, 6.2, 3.4, 2.8, 3.4, 3.5, 4.0, 4.3, 4.2, 4.9, 5.0)
"""The same of fifteen at once; the machine was busy at first, so that not each third is slower."""


@pytest.mark.parametrize(
    ("several", "alone", "waited", "expected"),
    [
        (SEVERAL, ALONE, ALONE_WAITED, Verdict.FAIL),
        (UNEVEN, ALONE, ALONE_WAITED, Verdict.FAIL),
        (SEVERAL, [one / 4 for one in ALONE], [one / 4 for one in ALONE_WAITED], Verdict.PASS),
        (SEVERAL, [80.0] * 9, [7.0] * 9, Verdict.PASS),
        (SEVERAL, ALONE[::-1], [0.1] * 9, Verdict.PASS),
        (SEVERAL, ALONE, [one - 10 for one in ALONE], Verdict.PASS),
        (SEVERAL, [70 + one for one in ALONE_WAITED], ALONE_WAITED, Verdict.PASS),
        (SEVERAL, ALONE[:5], ALONE_WAITED[:5], Verdict.PASS),
        (SEVERAL, (), (), Verdict.PASS),
    ],
    ids=[
        "slower alone",
        "slower alone, uneven before",
        "faster alone",
        "always slower alone",
        "faster and faster alone",
        "waited alone",
        "waited more and more alone",
        "few alone",
        "none alone",
    ],
)
def test_requests_that_are_alone_show_growth_that_waiting_hides(
    several: Sequence[float],
    alone: Sequence[float],
    waited: Sequence[float],
    expected: Verdict,
) -> None:
    seen = in_rounds((*several, *alone), (*SEVERAL_WAITED, *waited), 62, parallel=len(several))
    seen = msgspec.structs.replace(seen, workers=(1, 15))
    assert verdict(seen) is expected
    for finding in latency(CELL, seen).findings:
        assert re.fullmatch(
            r"a request that was alone took \d+\.\d\d ms, and one of 15 at once [12]\d\.\d\d ms "
            "at first",
            finding.seen,
        )


def test_processor_time_grows_on_a_busy_machine_too() -> None:
    seen = works(serving=growing, cpu=growing, waited=lambda at: at / 600)
    (finding,) = latency(CELL, seen).findings
    assert finding.seen.startswith("the processor time per request grew")


@pytest.mark.parametrize(
    ("most", "expected"), [(2.0, Verdict.FAIL), (3.0, Verdict.FAIL), (4.5, Verdict.PASS)]
)
def test_how_much_it_may_grow_is_in_the_plan(most: float, expected: Verdict) -> None:
    assert verdict(limited(works(serving=growing), max_slowdown=most)) is expected


def test_growth_by_microseconds_is_noise() -> None:
    assert verdict(works(serving=lambda at: 0.01 + at / 10_000_000)) is Verdict.PASS


def test_a_few_rounds_decide_nothing() -> None:
    seen = works(serving=growing)
    few = msgspec.structs.replace(seen, samples=seen.samples[:6])
    assert verdict(few) is Verdict.INCONCLUSIVE


def test_a_record_without_times_is_skipped() -> None:
    seen = observed()
    rows = [msgspec.structs.replace(row, work=None) for row in seen.samples]
    assert verdict(msgspec.structs.replace(seen, samples=tuple(rows))) is Verdict.SKIPPED


def stalling(phase: str) -> Observed:
    slow = Latencies(url="/interpreter1", phase=phase, longest=8_000_000, buckets={2000: 99})
    return msgspec.structs.replace(works(), latencies=(slow,))


def test_a_stall_is_a_note() -> None:
    assert latency(CELL, stalling("parallel")).passed.endswith(
        "; the slowest request took 8.0 s (/interpreter1, phase parallel, median 2 ms)"
    )


def test_a_stall_fails_if_the_configuration_says_so() -> None:
    (finding,) = latency(CELL, limited(stalling("serial"), max_latency=5.0)).findings
    assert finding.seen == "a request took 8.0 s (--max-latency 5)"
    assert verdict(limited(stalling("serial"), max_latency=9.0)) is Verdict.PASS


@pytest.mark.parametrize("phase", ["warm-up", "restart", "reload", "failover", "diagnosis"])
def test_a_phase_that_slows_requests_down_itself_does_not_count(phase: str) -> None:
    seen = limited(stalling(phase), max_latency=5.0)
    assert verdict(seen) is Verdict.PASS
    assert "slowest" not in latency(CELL, seen).passed
