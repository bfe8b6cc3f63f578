"""Every planted fault is caught by the check meant for it, every clean twin passes, for real."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from wsgiproof.errors import ExitCode
from wsgiproof.judge.control_result import ControlResult, exit_code
from wsgiproof.judge.finding import Check
from wsgiproof.judge.verdict import ALL_CHECKS, checks_of
from wsgiproof.observe.cores import why_no_core
from wsgiproof.records import CellRecord, Finding
from wsgiproof.results import read_cell
from wsgiproof.selftest import control_result
from wsgiproof.subjects.controls import CONTROLS


class Selftest:
    """One whole run of the command: what it printed, and the records that it left."""

    def __init__(self, output: Path) -> None:
        command = [sys.executable, "-m", "wsgiproof", "selftest", "--jobs", "2"]
        command += ["--output", str(output)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.code = done.returncode
        self.text = done.stdout + done.stderr
        self.records = [read_cell(path) for path in output.glob("cells/*/cell.json")]

    def trials(self, removed: str = "") -> list[ControlResult]:
        """What becomes of its controls, without one check if it is named."""
        return [
            control_result(CONTROLS[record.cell.control], record, _checks(record, removed))
            for record in self.records
        ]


def _checks(record: CellRecord, removed: str) -> dict[str, Check]:
    assert record.observed is not None
    checks = checks_of(record.observed.plan)
    return {name: check for name, check in checks.items() if name != removed}


@pytest.fixture(scope="module")
def selftest(tmp_path_factory: pytest.TempPathFactory) -> Selftest:
    return Selftest(tmp_path_factory.mktemp("selftest") / "out")


def test_each_fault_is_caught_by_its_own_check_and_each_twin_passes(selftest: Selftest) -> None:
    assert selftest.code == ExitCode.PASS, selftest.text
    assert len(selftest.records) == len(CONTROLS)


def test_its_records_come_to_the_same_again(selftest: Selftest) -> None:
    assert exit_code(selftest.trials()) == ExitCode.PASS


@pytest.mark.parametrize("removed", ALL_CHECKS)
def test_it_fails_without_any_one_check(selftest: Selftest, removed: str) -> None:
    trials = selftest.trials(removed)
    # A leak of sessions may be one of memory, too, which is undecided in so few requests.
    assert exit_code(trials) in (ExitCode.FINDING, ExitCode.UNDECIDED)
    assert {one.meant for one in trials if not one.is_expected} == {removed}


def test_the_diagnosing_pass_names_the_type_that_leaks(selftest: Selftest) -> None:
    (finding,) = _findings(selftest.records, "leak-object", "memory")
    assert any(line.endswith(" dict") for line in finding.evidence), finding.evidence


def test_a_leak_in_one_interpreter_is_attributed_to_its_url(selftest: Selftest) -> None:
    (finding,) = _findings(selftest.records, "leak-connection-in-one-interpreter", "connections")
    assert "by requests to interpreter2 alone" in finding.seen


def test_a_leak_in_each_request_is_called_early(selftest: Selftest) -> None:
    (record,) = (one for one in selftest.records if one.cell.control == "leak-connection")
    assert record.observed is not None
    assert record.observed.decided_early
    first, last = record.observed.samples[0], record.observed.samples[-1]
    assert last.requests - first.requests <= 300


@pytest.mark.parametrize("control", ["crash-in-request", "crash-when-idle", "crash-at-exit"])
def test_a_crash_comes_with_the_c_and_python_stack_of_its_thread(
    selftest: Selftest, control: str
) -> None:
    (finding,) = _findings(selftest.records, control, "crash")
    text = "\n".join(finding.evidence)
    if why := why_no_core():
        assert f"no stack: {why}" in finding.evidence
        return
    assert ", called from " in finding.seen, finding
    assert "crash_here (faults_lifecycle.py:" in finding.seen, finding
    assert re.search(r"crash_here  \S+faults_lifecycle\.py:\d+  \(Python\)", text), text
    assert "PyCFuncPtr_call" in text or "_ctypes" in text
    assert "loaded: " in text


def test_a_crash_in_a_request_names_the_request(selftest: Selftest) -> None:
    (finding,) = _findings(selftest.records, "crash-in-request", "crash")
    assert any(re.search(r"was serving .*/interpreter[12]", line) for line in finding.evidence), (
        finding
    )


@pytest.mark.parametrize(
    ("control", "check", "frame"),
    [
        ("hang-in-request", "hang", "_hang"),
        ("hang-at-import", "hang", "_hang"),
        ("hang-at-exit", "shutdown", "_hang"),
        ("deadlock", "hang", "act"),
    ],
)
def test_a_hang_names_the_frame_in_which_threads_wait(
    selftest: Selftest, control: str, check: str, frame: str
) -> None:
    (finding,) = _findings(selftest.records, control, check)
    if "stacks: " in "\n".join(finding.evidence) and "permitted" in finding.action:
        pytest.skip(finding.action)  # processes may not be looked at here, and it says so
    assert re.search(rf"blocked: .*\b{frame} \(faults_lifecycle\.py:\d+\)", finding.seen), finding
    assert any("GIL" in line for line in finding.evidence), finding


def test_a_deadlock_names_the_call_that_waits(selftest: Selftest) -> None:
    (finding,) = _findings(selftest.records, "deadlock", "hang")
    if "permitted" not in finding.action:
        assert "flock" in finding.seen


def test_no_clean_twin_has_a_crash_or_a_request_that_never_ended(selftest: Selftest) -> None:
    for record in selftest.records:
        if not CONTROLS[record.cell.control].trips and record.observed is not None:
            assert not record.observed.unfinished, record.cell.control
            assert not [one for one in record.observed.stacks if one.why == "crash"]


def test_threads_that_outlive_their_interpreter_are_told_and_no_twin_has_any(
    selftest: Selftest,
) -> None:
    told = {
        record.cell.control: record.observed.leftover_threads
        for record in selftest.records
        if record.observed is not None
    }
    left = [name for one in told["leak-thread"] for name in one.threads]
    assert left, "its threads are there until the process has ended"
    assert not any(name.startswith("pymongo") for name in left), "its client was not closed"
    assert {one.application_group for one in told["leak-thread"]} == {
        "interpreter1",
        "interpreter2",
    }
    assert not [name for name, some in told.items() if some and not CONTROLS[name].trips]


def _findings(records: Sequence[CellRecord], control: str, check: str) -> list[Finding]:
    return [
        finding
        for record in records
        if record.cell.control == control
        for finding in record.findings
        if finding.check == check
    ]
