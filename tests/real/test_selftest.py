"""Every planted fault is caught by the check meant for it, every clean twin passes, for real."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from wsgiproof.errors import ExitCode
from wsgiproof.judge.finding import Check
from wsgiproof.judge.trial import Trial, exit_code
from wsgiproof.judge.verdict import ALL_CHECKS, checks_of
from wsgiproof.records import CellRecord, Finding, load_cell
from wsgiproof.selftest import trial
from wsgiproof.subjects.controls import CONTROLS


class Selftest:
    """One whole run of the command: what it printed, and the records that it left."""

    def __init__(self, output: Path) -> None:
        command = [sys.executable, "-m", "wsgiproof", "selftest", "--jobs", "2"]
        command += ["--output", str(output)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.code = done.returncode
        self.text = done.stdout + done.stderr
        self.records = [load_cell(path) for path in output.glob("cells/*/cell.json")]

    def trials(self, removed: str = "") -> list[Trial]:
        """What becomes of its controls, without one check if it is named."""
        return [
            trial(CONTROLS[record.cell.control], record, _checks(record, removed))
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
    assert exit_code(trials) == ExitCode.FINDING
    assert {one.meant for one in trials if not one.as_it_should_be} == {removed}


def test_the_diagnosing_pass_names_the_type_that_leaks(selftest: Selftest) -> None:
    (finding,) = _findings(selftest.records, "leak-object", "memory")
    assert any(line.endswith(" dict") for line in finding.evidence), finding.evidence


def test_a_leak_in_one_interpreter_is_attributed_to_its_url(selftest: Selftest) -> None:
    (finding,) = _findings(selftest.records, "leak-connection-in-one-interpreter", "connections")
    assert "by requests to interpreter2 alone" in finding.seen


def test_a_leak_in_each_request_is_called_early(selftest: Selftest) -> None:
    (record,) = (one for one in selftest.records if one.cell.control == "leak-connection")
    assert record.observed is not None
    assert record.observed.called
    first, last = record.observed.checkpoints[0], record.observed.checkpoints[-1]
    assert last.requests - first.requests <= 300


def _findings(records: Sequence[CellRecord], control: str, check: str) -> list[Finding]:
    return [
        finding
        for record in records
        if record.cell.control == control
        for finding in record.findings
        if finding.check == check
    ]
