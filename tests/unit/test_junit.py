"""JUnit XML of a run: read back by a real reader, and whole whatever an application has logged."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from junitparser import Error, Failure, JUnitXml, Skipped, TestCase

from tests.unit.factories import CELL, observed, record, run_record
from tests.unit.test_corpus import NAMES, recorded
from tests.unit.test_report import FAILED, UNDECIDED, early_end, error
from wsgiproof.records.cell import Mode, Topology
from wsgiproof.records.judgement import CheckResult, Finding, Verdict
from wsgiproof.records.run import CellRecord, Excluded, RunRecord
from wsgiproof.report.junit import to_junit

ERROR = error()
ALONE = record(observed(backend=""), msgspec.structs.replace(CELL, topology=Topology.NONE))


def cases(run: RunRecord) -> dict[str, TestCase]:
    """Every test case by its name, as a reader sees it."""
    (suite,) = JUnitXml.fromstring(to_junit(run).decode())
    read = {str(case.name): case for case in suite}
    assert len(read) == len(list(suite)) == suite.tests
    return read


def only(cell: CellRecord) -> TestCase:
    (case,) = cases(run_record(cell)).values()
    return case


def in_mode(cell: CellRecord, mode: Mode, topology: Topology = Topology.STANDALONE) -> CellRecord:
    return msgspec.structs.replace(
        cell, cell=msgspec.structs.replace(CELL, mode=mode, topology=topology)
    )


def test_a_cell_that_passed_is_a_case_without_a_result() -> None:
    case = only(record())
    assert case.is_passed
    assert (case.name, case.classname, case.time) == (CELL.id, "wsgiproof", 27.5)
    assert case.system_out is None


def test_each_finding_is_a_failure_with_all_that_it_says() -> None:
    case = only(FAILED)
    assert [type(result) for result in case.result] == [Failure] * len(FAILED.findings)
    for result, finding in zip(case.result, FAILED.findings, strict=True):
        assert result.type == finding.check
        assert result.message == f"{finding.check}: {finding.seen}"
        lines = result.text.splitlines()
        assert lines[:3] == [finding.seen, f"means: {finding.meaning}", f"do: {finding.action}"]
        assert [line for line in lines if line.startswith("| ")]
        assert lines[-1] == f"rerun: {FAILED.rerun}"
    assert "inconclusive shutdown: wsgiproof did not stop the server" in case.system_out


def test_a_finding_names_the_error_log_and_a_control_that_it_was_planted() -> None:
    planted = msgspec.structs.replace(CELL, control="leak-cursor")
    failed = msgspec.structs.replace(FAILED, cell=planted)
    case = only(failed)
    assert f"error log: {FAILED.directory}/error.log" in case.result[0].text.splitlines()
    assert "control: 'leak-cursor' changes the application on purpose" in case.system_out
    assert "on purpose" not in str(only(FAILED).system_out)


def test_checks_without_a_chance_share_one_line() -> None:
    (result,) = only(early_end()).result
    reasons = [line for line in result.text.splitlines() if line.startswith("inconclusive ")]
    assert len(reasons) == 1
    assert reasons[0].endswith(": the experiment ended early: 100 requests failed")


def test_missing_evidence_is_an_error_of_its_own_type() -> None:
    (result,) = only(UNDECIDED).result
    assert isinstance(result, Error)
    assert result.type == "inconclusive"
    assert result.message == "inconclusive shutdown: wsgiproof did not stop the server"
    assert UNDECIDED.rerun in result.text


def test_an_error_of_ours_is_an_error() -> None:
    (result,) = only(error("mod_wsgi was not built\ncc1: no such file")).result
    assert isinstance(result, Error)
    assert result.type == "error"
    assert "cc1: no such file" in result.text.splitlines()


def test_a_skipped_cell_says_why() -> None:
    (result,) = only(record(verdict=Verdict.SKIPPED, reason="no MPM of that name")).result
    assert isinstance(result, Skipped)
    assert result.message == "no MPM of that name"


def test_a_failure_without_findings_is_still_one() -> None:
    assert only(record(verdict=Verdict.FAIL, reason="error-log", findings=())).is_failure


def test_what_passed_in_part_or_at_the_second_try_says_so() -> None:
    case = only(msgspec.structs.replace(ALONE, tries=("the port was taken",)))
    assert case.is_passed
    assert "try 1 ended in an error: the port was taken" in case.system_out
    assert "skipped connections: the cell has no deployment" in case.system_out


def test_a_planned_cell_that_never_came_is_an_error() -> None:
    run = msgspec.structs.replace(run_record(record()), planned=(CELL.id, "py3.13t"))
    (result,) = cases(run)["py3.13t"].result
    assert isinstance(result, Error)
    assert result.type == "missing"


def test_an_excluded_combination_is_skipped_with_its_reason() -> None:
    excluded = Excluded(axes={"python": "3.13t", "mode": "daemon"}, reason="built without a GIL")
    run = msgspec.structs.replace(run_record(record()), excluded=(excluded,))
    (result,) = cases(run)["python=3.13t mode=daemon"].result
    assert isinstance(result, Skipped)
    assert (result.type, result.message) == ("excluded", "built without a GIL")


def test_each_case_is_counted_once() -> None:
    cells = [
        record(),
        in_mode(FAILED, Mode.EMBEDDED),
        in_mode(UNDECIDED, Mode.DAEMON, Topology.REPLICA_SET),
        in_mode(error(), Mode.EMBEDDED, Topology.REPLICA_SET),
    ]
    run = msgspec.structs.replace(
        run_record(*cells),
        planned=(*(cell.cell.id for cell in cells), "gone"),
        excluded=(Excluded(axes={"python": "2.7"}, reason="no interpreter"),),
    )
    root = ElementTree.fromstring(to_junit(run))
    (suite,) = root
    counts = {"tests": "6", "failures": "1", "errors": "3"}
    assert counts.items() <= root.attrib.items()
    assert {**counts, "skipped": "1"}.items() <= suite.attrib.items()


def test_the_run_itself_is_in_the_properties() -> None:
    root = ElementTree.fromstring(to_junit(run_record(record())))
    told = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert told["command"] == "wsgiproof run"
    assert told["complete"] == "yes"
    assert told["mongod"] == "6.0.5"


@pytest.mark.parametrize("name", NAMES[::7])
def test_real_cells_come_through(name: str) -> None:
    cell = recorded(name)
    case = only(cell)
    assert case.is_passed == (cell.verdict is Verdict.PASS)
    assert [one.type for one in case.result if isinstance(one, Failure)] == [
        finding.check for finding in cell.findings
    ]


# Whatever an application has written


def hostile(text: str) -> RunRecord:
    """The text in each place that has text of others."""
    finding = Finding(check=text, seen=text, meaning=text, action=text, evidence=(text, text))
    lacks = CheckResult(check=text, verdict=Verdict.INCONCLUSIVE, reason=f"lacks {text}")
    said: dict[str, Any] = {"reason": text, "rerun": text, "tries": (text,)}
    cells = [
        msgspec.structs.replace(ALONE, verdict=Verdict.FAIL, findings=(finding,), **said),
        in_mode(
            msgspec.structs.replace(UNDECIDED, checks=(lacks,), **said),
            Mode.DAEMON,
            Topology.REPLICA_SET,
        ),
        in_mode(msgspec.structs.replace(ERROR, **said), Mode.EMBEDDED),
    ]
    return run_record(
        *cells,
        wsgiproof=text,
        command=text,
        started=text,
        planned=(*(cell.cell.id for cell in cells), f"gone {text}"),
        excluded=(Excluded(axes={text: text, "mode": text}, reason=text),),
        host={text: text},
    )


@settings(deadline=None)
@given(some.text(some.characters(exclude_categories=()), max_size=60))
def test_no_text_breaks_the_file_or_adds_to_it(text: str) -> None:
    root = ElementTree.fromstring(to_junit(hostile(text)))
    assert len(root.findall(".//testcase")) == 5
    assert len(root.findall(".//failure")) == 1
    assert len(root.findall(".//error")) == 3
    assert {one.tag for one in root.iter()} <= {
        *("testsuites", "testsuite", "properties", "property", "testcase"),
        *("failure", "error", "skipped", "system-out"),
    }


@settings(deadline=None)
@given(some.text(some.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=60))
def test_printable_text_comes_through_as_it_is(text: str) -> None:
    (result,) = only(error(text)).result
    assert result.text.splitlines()[0] == text


def test_megabytes_are_cut_and_said_to_be() -> None:
    long = "x" * 3_000_000
    content = to_junit(hostile(long))
    assert len(content) < 200_000
    assert b"x ..." in content
    lines = only(error("\n".join(map(str, range(100_000))))).result[0].text.splitlines()
    assert lines[59] == "59"
    assert lines[60] == "... 99,940 more lines in cell.json"
