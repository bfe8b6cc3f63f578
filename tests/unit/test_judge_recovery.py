"""The check of failovers: what may fail, how soon it has to be over, and what may be left."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.cells import CELL
from tests.unit.factories import WORKER, counting, failure, line, observed, outcome, reading, sample
from wsgiproof.judge.recovery import recovery
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import FailureGroup, Observed, Outage, Phase, Sample, on_member
from wsgiproof.records.plan import ExtraPhase

FAILS = {"recovery": Verdict.FAIL}
UNDECIDED = {"recovery": Verdict.INCONCLUSIVE}
DEADLINE = 15.0


def on_members(*connections: int) -> dict[str, int | None]:
    """The counts of connections in all, and on each member."""
    each = {on_member(number): value for number, value in enumerate(connections, 1)}
    return {"connections": sum(connections), **each}


def counts(*by_member: int, **changes: Any) -> Sample:
    """A reading in the phase; 34 connections on one member if nothing else is said."""
    members = by_member or (34,)
    return sample(
        0,
        [reading(**changes)],
        phase="failover",
        counted=on_members(*members),
    )


def outage(**changes: Any) -> Outage:
    """One at which all went well: the primary was gone for a second."""
    one = Outage(
        fault="primary killed and restarted",
        time=27.0,
        over=2.7,
        primary_lost=0.01,
        primary_again=1.1,
        recovered=1.3,
        requests=300,
        slowest=1.4,
        before=counts(),
        after=counts(),
        settled=0.1,
    )
    return msgspec.structs.replace(one, **changes)


def failed(first: float, last: float | None = None, count: int = 3) -> FailureGroup:
    return FailureGroup(
        kind="status",
        status=500,
        error="answered 500, not 200",
        count=count,
        first=first,
        last=first if last is None else last,
    )


def harmed(*outages: Outage, **changes: Any) -> Observed:
    """A record with these outages."""
    plan = msgspec.structs.replace(
        observed().plan, phases=(ExtraPhase.FAILOVER,), recovery_deadline=DEADLINE
    )
    return observed(**{"plan": plan, "outages": outages, **changes})


def seen(record: Observed) -> str:
    return " | ".join(finding.seen for finding in recovery(CELL, record).findings)


def test_a_cell_has_the_check_only_if_it_had_the_phase() -> None:
    assert outcome(observed()) == {}
    assert outcome(observed(outages=(outage(recovered=None),))) == {}


def test_what_fails_without_a_primary_and_comes_back_is_well() -> None:
    record = harmed(outage(failures=(failed(0.02, 1.2),)))
    assert outcome(record) == {}
    assert "3 of 300 requests failed" in recovery(CELL, record).passed


def test_that_nothing_failed_is_told() -> None:
    assert "no request failed" in recovery(CELL, harmed(outage(), outage())).passed


def test_an_interpreter_that_does_not_answer_again_is_named() -> None:
    record = harmed(outage(recovered=None, silent=("interpreter2 of pid 200",)))
    assert outcome(record) == FAILS
    assert "interpreter2 of pid 200 had not answered 15 seconds after" in seen(record)


@pytest.mark.parametrize(("recovered", "fails"), [(1.1 + DEADLINE, False), (16.2, True)])
def test_a_recovery_has_a_deadline_from_the_primary_on(recovered: float, fails: bool) -> None:
    record = harmed(outage(recovered=recovered, failures=(failed(0.5, recovered),)))
    assert outcome(record) == (FAILS if fails else {})


def test_a_failure_while_there_was_a_primary_all_the_time_is_a_finding() -> None:
    paused = outage(fault="secondary paused", primary_lost=None, primary_again=0.0, recovered=0.1)
    assert outcome(harmed(paused)) == {}
    record = harmed(msgspec.structs.replace(paused, failures=(failed(0.05),)))
    assert outcome(record) == FAILS
    assert "up to 3 requests failed though there was a primary (secondary paused)" in seen(record)


def test_a_failure_before_the_fault_is_a_finding() -> None:
    assert outcome(harmed(outage(failures=(failed(-0.2, 0.5),)))) == FAILS


def test_what_fails_in_the_phase_is_no_matter_of_responses() -> None:
    phase = Phase(name="failover", started=27.0, seconds=5.0, requests=300)
    record = harmed(
        outage(failures=(failed(0.1),)),
        failures=(failure(phase="failover"),),
        phases=(*observed().phases[:-1], phase, observed().phases[-1]),
    )
    assert outcome(record) == {}


def test_more_connections_on_any_member_are_a_leak_though_another_has_less() -> None:
    record = harmed(outage(before=counts(34, 34, 34), after=counts(4, 38, 34)))
    assert outcome(record) == FAILS
    assert "connections on member 2: 4 more than before" in seen(record)


def test_each_outage_is_compared_with_the_time_before_the_first() -> None:
    lower = counts(4)
    first, second = outage(after=lower), outage(before=lower, after=counts(34))
    assert outcome(harmed(first, second)) == {}
    record = harmed(first, outage(before=lower, after=counts(36), fault="all members gone"))
    assert "2 more than before, first after 'all members gone'" in seen(record)


def test_what_comes_down_again_has_not_leaked() -> None:
    assert outcome(harmed(outage(after=counts(34, threads=26)), outage())) == {}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"threads": 27}, f"threads of pid {WORKER}: 2 more"),
        ({"descriptors": 41}, f"descriptors that are not connections of pid {WORKER}: 3 more"),
        ({"descriptors": 41, "connections": 29}, ""),  # told by the members
    ],
)
def test_threads_and_descriptors_are_counted_too(changes: dict[str, int], told: str) -> None:
    record = harmed(outage(after=counts(34, **changes)))
    assert outcome(record) == (FAILS if told else {})
    assert told in seen(record)


@pytest.mark.parametrize(
    "after",
    [
        None,
        counts(34, threads=None),
        sample(0, [reading()], counted={"connections": None, on_member(1): None}),
        counts(34, pid=WORKER + 1),
    ],
    ids=["none", "unread", "not told", "another process"],
)
def test_counts_that_are_not_there_are_no_pass(after: Sample | None) -> None:
    assert outcome(harmed(outage(after=after))) == UNDECIDED


def test_no_harm_no_primary_and_an_early_end_are_no_pass() -> None:
    assert outcome(harmed()) == UNDECIDED
    assert outcome(harmed(outage(primary_again=None, recovered=None))) == UNDECIDED


def test_what_can_not_be_harmed_is_skipped() -> None:
    assert outcome(harmed(owned=False))["recovery"] is Verdict.SKIPPED
    assert outcome(harmed(backend=""))["recovery"] is Verdict.SKIPPED


def during(*sizes: int) -> Outage:
    """A minute without servers, with these readings of memory."""
    step = 60 / len(sizes)
    memory = tuple((round(step * (number + 1), 3), size) for number, size in enumerate(sizes))
    return outage(fault="all members gone for 60 s", memory=memory)


# As PyMongo 3.11.1 had it (PYTHON-2433), and 3.11.2, which needs some once its requests fail.
GROWING = range(32_000_000, 37_600_000, 190_000)
STEPPING = [31_250_000] * 15 + [31_910_000] * 15


def test_memory_that_grows_all_the_time_without_servers_is_a_finding() -> None:
    record = harmed(during(*GROWING))
    assert outcome(record) == FAILS
    assert "the workers' memory grew steadily during 'all members gone" in seen(record)


@pytest.mark.parametrize("sizes", [STEPPING, GROWING[:8]], ids=["one step", "too few"])
def test_memory_that_is_needed_once_is_none(sizes: list[int]) -> None:
    assert outcome(harmed(during(*sizes))) == {}


TRACEBACK = "Traceback (most recent call last):"
REQUEST = "mod_wsgi (pid=200): Exception occurred processing WSGI script '/app/script.wsgi'."
CAUSE = ["ConnectionResetError: [Errno 104] Connection reset by peer"]
DIRECT = ["", "The above exception was the direct cause of the following exception:", ""]
LOST = ["pymongo.errors.AutoReconnect: 127.0.0.1:27017: connection closed"]
BUG = ["KeyError: 'x'"]


@pytest.mark.parametrize(
    ("phase", "texts", "well"),
    [
        ("failover", [REQUEST, TRACEBACK, "  File", *LOST], True),
        ("failover", [REQUEST, TRACEBACK, *CAUSE, *DIRECT, TRACEBACK, *LOST], True),
        ("failover", [REQUEST, TRACEBACK, "  A", REQUEST, TRACEBACK, *LOST, "  B", *LOST], True),
        ("parallel", [REQUEST, TRACEBACK, *LOST], False),
        ("failover", [REQUEST, TRACEBACK, *BUG], False),
        ("failover", [REQUEST, TRACEBACK, *BUG, REQUEST, TRACEBACK, *LOST], False),
        ("failover", [REQUEST, TRACEBACK, REQUEST, REQUEST, TRACEBACK, *LOST, *LOST], True),
    ],
)
def test_tracebacks_of_requests_without_a_server_are_left_to_recovery(
    phase: str, texts: list[str], well: bool
) -> None:
    lines = tuple(line(text, phase=phase) for text in texts)
    record = harmed(outage(), log=(*observed().log, *lines))
    assert outcome(record).get("error-log") == (None if well else Verdict.FAIL)


def stale(sockets: int, known: int, **states: int) -> Sample:
    """The workers have so many sockets to the deployment, which knows less of them."""
    one = reading(connections=sockets, descriptors=sockets + 12)
    return sample(
        0,
        [msgspec.structs.replace(one, states=states)],
        phase="failover",
        counted=on_members(known),
    )


def test_sockets_that_the_deployment_does_not_have_any_more_are_a_leak() -> None:
    """As recorded of a pool whose reset keeps its sockets: no other count is higher."""
    first = outage(before=stale(68, 68), after=stale(95, 68))
    second = outage(before=stale(68, 68), after=stale(115, 36), fault="all members gone")
    record = harmed(first, second)
    assert outcome(record) == FAILS
    assert seen(record) == (
        "sockets to the deployment that it does not have any more: 79 more than before, first "
        "after 'primary killed and restarted'"
    )


def test_a_socket_that_its_peer_has_closed_is_evidence_by_itself() -> None:
    before, after = stale(34, 34, ESTABLISHED=34), stale(34, 40, ESTABLISHED=30, CLOSE_WAIT=4)
    record = harmed(outage(before=counts(40), after=counts(40)))
    assert outcome(record) == {}
    record = harmed(outage(before=counting(before, **{on_member(1): 40}), after=after))
    assert outcome(record) == FAILS
    (finding,) = recovery(CELL, record).findings
    assert "4 more than before" in finding.seen
    assert finding.evidence[-1] == (
        "after 'primary killed and restarted', sockets of the workers to the deployment: "
        "4 CLOSE_WAIT, 30 ESTABLISHED; the deployment has 40 connections"
    )


@pytest.mark.parametrize("last", [stale(30, 30), stale(68, 68), stale(68, 80)])
def test_stale_sockets_that_are_closed_by_the_next_outage_are_no_leak(last: Sample) -> None:
    before = stale(68, 80)
    later = outage(before=before, after=last)
    assert outcome(harmed(outage(before=before, after=stale(95, 68)), later)) == {}
