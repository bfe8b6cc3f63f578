"""What becomes of controls, and what the self test makes of it."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from tests.unit.factories import (
    ALL_CHECKS,
    CHECKS,
    LOG,
    RULES,
    line,
    observed,
    reading,
    record,
    samples,
)
from tests.unit.test_known import CRASHING, OF_APPLICATION, OF_MONITOR, ended
from tests.unit.test_process_ends import CLEAN as CLEANLY
from tests.unit.test_process_ends import CRASH
from wsgiproof.errors import ExitCode, UsageError
from wsgiproof.judge.control_result import ControlResult, Result, confusion, exit_code
from wsgiproof.judge.verdict import every_check
from wsgiproof.records.judgement import Verdict
from wsgiproof.report.selftest import show_selftest
from wsgiproof.run.selftest import control_results, lacking, select
from wsgiproof.subjects.controls import FAULTS, LATE, LEAKS
from wsgiproof.subjects.registry import DEFAULT, SUBJECTS, known_controls

CONTROLS = known_controls()

CAUGHT = ControlResult(
    control="leak", meant="threads", verdict=Verdict.FAIL, failing=("threads", "error-log")
)
CLEAN = ControlResult(control="clean", meant="", verdict=Verdict.PASS)
ELSEWHERE = ControlResult(
    control="leak", meant="threads", verdict=Verdict.FAIL, failing=("error-log",)
)
MISSED = ControlResult(control="leak", meant="threads", verdict=Verdict.PASS)
FALSE_ALARM = ControlResult(control="clean", meant="", verdict=Verdict.FAIL, failing=("error-log",))
UNDECIDED = ControlResult(control="leak", meant="threads", verdict=Verdict.INCONCLUSIVE)
ERROR = ControlResult(control="clean", meant="", verdict=Verdict.ERROR, reason="no port")

LEAK = samples([[reading(threads=25 + 10 * number)] for number in range(13)])


@pytest.mark.parametrize(
    ("one", "result"),
    [
        (CAUGHT, Result.CAUGHT),
        (CLEAN, Result.CLEAN),
        (ELSEWHERE, Result.ELSEWHERE),
        (MISSED, Result.MISSED),
        (FALSE_ALARM, Result.FALSE_ALARM),
        (UNDECIDED, Result.UNDECIDED),
        (ERROR, Result.UNDECIDED),
    ],
)
def test_what_becomes_of_a_control(one: ControlResult, result: Result) -> None:
    assert one.result is result
    assert one.is_expected == (one in (CAUGHT, CLEAN))


@pytest.mark.parametrize(
    ("trials", "code"),
    [
        ([CAUGHT, CLEAN], ExitCode.PASS),
        ([CAUGHT, ELSEWHERE], ExitCode.FINDING),
        ([CAUGHT, MISSED], ExitCode.FINDING),
        ([CLEAN, FALSE_ALARM], ExitCode.FINDING),
        ([CAUGHT, UNDECIDED], ExitCode.UNDECIDED),
        ([UNDECIDED, MISSED], ExitCode.FINDING),
        ([CLEAN, ERROR], ExitCode.UNDECIDED),
        ([], ExitCode.UNDECIDED),
    ],
)
def test_success_is_all_of_them_as_they_should_be(
    trials: list[ControlResult], code: ExitCode
) -> None:
    assert exit_code(trials) is code


def test_the_confusion_table_counts_by_the_check_that_was_meant() -> None:
    table = confusion([CAUGHT, CAUGHT, MISSED, CLEAN])
    assert table == {"threads": {Result.CAUGHT: 2, Result.MISSED: 1}, "": {Result.CLEAN: 1}}


def test_what_went_wrong_is_told_below_the_table() -> None:
    file = io.StringIO()
    show_selftest(Console(file=file, width=120), [CAUGHT, FALSE_ALARM, ERROR], 1, "/results")
    text = file.getvalue()
    assert "FALSE ALARM  clean, a negative control: fail, failing: error-log" in text
    assert "UNDECIDED  clean, a negative control: error" in text
    assert "no port" in text
    assert "leak," not in text
    assert "3 controls, 1 as they should be." in text
    assert "Exit code 1: a fault was missed" in text


def test_a_record_is_judged_again_with_the_checks_that_are_given() -> None:
    leak = observed(samples=LEAK)
    control = CONTROLS["leak-thread"]
    (one,) = control_results(control, record(leak))
    assert one.result is Result.CAUGHT
    rest = {name: every_check(RULES)[name] for name in CHECKS if name != "threads"}
    (one,) = control_results(control, record(leak), rest)
    assert one.result is not Result.CAUGHT


def test_a_cell_that_could_not_be_run_is_undecided() -> None:
    broken = record(verdict=Verdict.ERROR, reason="no port", observed=None)
    (one,) = control_results(CONTROLS["leak-thread"], broken)
    assert (one.result, one.reason) == (Result.UNDECIDED, "no port")


EXCEPTION = [
    line(text)
    for text in (
        "Traceback (most recent call last):",
        '  File "a.py", line 1, in f',
        "TypeError: 7",
    )
]
TRUNCATED = line(
    "Truncated or oversized response headers received from daemon process 'subject': "
    "/app/script.wsgi",
    source="wsgi:error",
)


@pytest.mark.parametrize(
    ("trace", "changes", "result"),
    [
        (OF_MONITOR, {}, Result.UNDECIDED),
        (OF_MONITOR, {"log": (*LOG, TRUNCATED)}, Result.UNDECIDED),
        (OF_MONITOR, {"log": (*LOG, *EXCEPTION)}, Result.FALSE_ALARM),
        (OF_MONITOR, {"samples": LEAK}, Result.FALSE_ALARM),
        (OF_APPLICATION, {}, Result.FALSE_ALARM),
    ],
    ids=["alone", "with its traces", "an exception", "a leak", "of the application"],
)
def test_a_crash_by_a_bug_of_somebody_else_says_nothing_about_the_judge(
    trace: str, changes: dict[str, Any], result: Result
) -> None:
    seen = ended(*[CRASH] * 8, *[CLEANLY] * 8, trace=trace)
    broken = record(msgspec.structs.replace(seen, **changes), CRASHING)
    (one,) = control_results(CONTROLS["own-interpreters"], broken)
    assert one.result is result, one.reason
    assert bool(one.upstream) is (result is Result.UNDECIDED)
    assert one.verdict is Verdict.FAIL
    (caught,) = control_results(CONTROLS["crash-at-exit"], broken)
    assert caught.result is Result.CAUGHT


def test_every_check_has_a_fault_meant_for_it_and_every_fault_a_check() -> None:
    assert {control.trips for control in CONTROLS.values() if control.trips} == set(ALL_CHECKS)


def test_controls_are_selected_by_name_or_glob_in_their_own_order() -> None:
    names = [control.name for control in select(DEFAULT, ["own-interp*", "leak-thread"])]
    assert names == ["leak-thread", "own-interpreters"]


def test_a_glob_that_matches_no_control_of_the_subject_is_refused() -> None:
    """Another subject's, for example: nothing would run."""
    with pytest.raises(UsageError, match="no control of package matches 'leak-cursor'"):
        select(SUBJECTS["package"], ["leak-thread", "leak-cursor"])


def test_all_controls_are_alone_or_those_that_can_be_are_together() -> None:
    alone = {control.name for control in select(DEFAULT, [])}
    assert alone == {*CONTROLS} - {FAULTS, LEAKS, LATE}
    together = {control.name for control in select(DEFAULT, [], together=True)}
    parts = {part for control in CONTROLS.values() for part in control.parts}
    assert together == {*CONTROLS} - parts
    assert {FAULTS, LEAKS, LATE} < together


def test_without_the_extra_that_makes_certificates_controls_with_tls_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    controls = select(DEFAULT, [])
    assert lacking(controls) == ()  # the tests have it
    monkeypatch.setattr("wsgiproof.run.selftest.find_spec", lambda name: None)
    names = {one.name for one in lacking(controls)}
    assert names == {name for name, one in CONTROLS.items() if one.axes.get("transport") == "tls"}
    assert "skip-tls" in names


def test_of_combined_faults_each_is_judged_by_its_own_check() -> None:
    leak = observed(samples=samples([[reading(threads=25 + 10 * number)] for number in range(13)]))
    results = control_results(CONTROLS[LEAKS], record(leak))
    assert {one.control: one.result for one in results} == {
        "leak-thread": Result.CAUGHT,
        "leak-session": Result.ELSEWHERE,
    }
