"""Which findings of a cell are one cause, and what leads it."""

from __future__ import annotations

import signal
from typing import Any

import msgspec
import pytest

from tests.browser.replayed import recorded
from tests.unit.factories import (
    BORN,
    LOG,
    PARENT_ENDED,
    POINTS,
    RULES,
    died,
    failure,
    line,
    observed,
    reading,
    record,
    samples,
)
from tests.unit.scenarios import crash_at_stop, leak_in_four_processes, pyo3
from tests.unit.test_corpus import NAMES
from tests.unit.test_corpus import recorded as of_corpus
from wsgiproof.judge.explain.catalog import (
    CRASH_TRACES,
    EXCEPTION_TRACES,
    SYMPTOMS,
    common_catalog,
)
from wsgiproof.records.judgement import Finding, Verdict
from wsgiproof.records.observed import Replacement
from wsgiproof.records.run import CellRecord
from wsgiproof.report.causes import Cause, causes


def shape(cell: CellRecord) -> list[tuple[str, str, list[str]]]:
    """The check of each cause, what is known, and the checks of its consequences."""
    return [
        (one.check, one.known.id if one.known else "", [other.check for other in one.consequences])
        for one in causes(cell, RULES)
    ]


def test_the_traces_are_entries_of_the_catalog() -> None:
    assert {
        one.id for one in common_catalog().entries
    } >= CRASH_TRACES | EXCEPTION_TRACES | SYMPTOMS


@pytest.mark.parametrize("name", NAMES)
def test_each_finding_is_in_one_cause(name: str) -> None:
    cell = of_corpus(name)
    found = [one for cause in causes(cell, RULES) for one in (*cause.findings, *cause.consequences)]
    assert sorted(found, key=repr) == sorted(cell.findings, key=repr)


def test_what_people_meet_is_one_cause_each() -> None:
    assert shape(pyo3()) == [("error-log", "pyo3", ["responses"])]
    assert shape(leak_in_four_processes()) == [("memory", "", [])]
    assert shape(crash_at_stop()) == [("crash", "thread-outlives-interpreter", [])]


def test_crashes_of_one_cause_at_a_restart_and_at_the_stop_are_one() -> None:
    cell = crash_at_stop()
    assert cell.observed is not None
    (first, *_) = (one for one in cell.observed.events if one.signal == signal.SIGSEGV)
    events = [
        msgspec.structs.replace(one, phase="restart") if one is first else one
        for one in cell.observed.events
    ]
    at_restart = Replacement(
        phase="restart", time=0.0, seconds=1.0, replaced=(first.pid,), leftover=()
    )
    seen = msgspec.structs.replace(cell.observed, events=tuple(events), trials=(at_restart,))
    assert {"crash"} == {one.check for one in record(seen, cell.cell).findings}
    assert shape(record(seen, cell.cell)) == [("crash", "thread-outlives-interpreter", [])]


def test_a_crash_takes_the_answers_and_lines_that_it_broke() -> None:
    cell = recorded("crash-in-request")
    crash, cursors = causes(cell, RULES)
    assert (crash.check, len(crash.findings)) == ("crash", 2), "in two phases"
    assert [one.check for one in crash.consequences] == ["error-log", "responses"]
    assert cursors.check == "cursors", "which nothing connects to the crash"
    assert "daemon-died-in-request" in {one.id for one in crash.also_known}
    assert crash.known is None, "the log shows that it crashed, and not why"
    assert crash.seen.count("died of SIGSEGV") == 2


def crashed(**changes: Any) -> CellRecord:
    death = died(phase="parallel", signal=signal.SIGSEGV)
    return record(observed(events=(*BORN, death, PARENT_ENDED), **changes))


def test_answers_without_a_trace_of_the_crash_are_a_cause_by_themselves() -> None:
    assert shape(crashed(failures=(failure(),))) == [("crash", "", []), ("responses", "", [])]
    other = line("KeyError: 'x'")
    traceback = line("Traceback (most recent call last):")
    assert shape(crashed(log=(*LOG, traceback, other))) == [
        ("crash", "", []),
        ("error-log", "", []),
    ]


def test_an_exception_takes_the_answers_that_it_caused() -> None:
    cell = recorded("fail-to-import-e42fad47")
    assert shape(cell) == [("error-log", "", ["responses"])]


def test_leaked_connections_account_for_as_many_descriptors() -> None:
    assert shape(recorded("leak-connection")) == [("connections", "", ["descriptors"])]


def test_descriptors_that_leak_faster_are_a_cause_by_themselves() -> None:
    rows = [
        [reading(connections=26 + at, descriptors=38 + 20 * at, threads=25)] for at in range(POINTS)
    ]
    cell = record(observed(samples=samples(rows, [28 + at for at in range(POINTS)])))
    assert shape(cell)[:2] == [("connections", "", []), ("descriptors", "", [])]


def test_findings_alone_are_enough() -> None:
    """A record of a cell in which nothing was observed, or of another version."""
    one = Finding(check="memory", seen="s", meaning="m", action="a")
    cell = record(verdict=Verdict.FAIL, findings=(one, one), observed=None)
    (cause,) = causes(cell, RULES)
    assert cause == Cause(findings=(one, one))
    assert (cause.meaning, cause.action, cause.evidence) == ("m", "a", ())
    assert causes(msgspec.structs.replace(cell, findings=()), RULES) == ()
