"""What the catalog knows about findings, and unknown lines: in each report, once."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.unit import test_junit, test_report, test_summary
from tests.unit.factories import LOG, died, line, observed, record
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import LogLine
from wsgiproof.records.run import CellRecord

RIDDLE = LogLine(phase="stop", text="terminate called after throwing 'std::bad_alloc'")
CRASHED = record(
    observed(
        log=(
            *LOG,
            LogLine(phase="serial", text="double free or corruption (out)"),
            line("a line of the application"),
        ),
        events=(died(phase="serial", signal=6),),
    )
)
PUZZLING = record(observed(log=(*LOG, RIDDLE, RIDDLE)))


def in_terminal(cell: CellRecord) -> str:
    return test_report.shown([cell], width=1000)


def in_junit(cell: CellRecord) -> str:
    case = test_junit.only(cell)
    return "\n".join([*(result.text for result in case.result), case.system_out or ""])


def in_markdown(cell: CellRecord) -> str:
    return test_summary.text_of(test_summary.shown(cell))


each_report = pytest.mark.parametrize("told", [in_terminal, in_junit, in_markdown])
for_programs = pytest.mark.parametrize("told", [in_junit, in_markdown])


@for_programs
def test_what_is_known_is_told_once_with_all_that_belongs_to_it(
    told: Callable[[CellRecord], str],
) -> None:
    text = told(CRASHED)
    crash, log = CRASHED.findings
    (known,) = crash.explained
    assert (crash.check, log.check, log.explained) == ("crash", "error-log", (known,))
    assert f"known: {known.id} (error log, phase serial): {known.text}" in text
    assert text.count(f"known: {known.id} (") == 1
    assert text.count(f"known: {known.id}, as above") == 1
    for label in ("versions", "see"):
        assert text.count(f"{label}: ") == 1
    assert text.count(f"means: {known.meaning}") == 2, "the finding of the log says it itself"


def test_the_terminal_leads_with_what_is_known() -> None:
    lines = in_terminal(CRASHED).splitlines()
    crash, log = CRASHED.findings
    (known,) = crash.explained
    at = lines.index(f"  crash: {crash.seen}")
    assert lines[at + 1 : at + 6] == [
        f"    means: {known.meaning}",
        f"    do: {known.action}",
        f"    known: {known.id} ({known.versions})",
        f"    more: wsgiproof explain {known.id}",
        f"    likely consequence: error-log: {log.seen}",
    ]


@each_report
def test_what_nobody_knows_is_shown_of_a_cell_that_passed_too(
    told: Callable[[CellRecord], str],
) -> None:
    assert PUZZLING.verdict is Verdict.PASS
    text = told(PUZZLING)
    assert f"not known to wsgiproof: {RIDDLE.text}" in text
    assert "not known to wsgiproof: 2 lines in all, see error.log" in text


@pytest.mark.parametrize("told", [in_terminal, in_junit])
def test_a_cell_that_failed_says_what_else_is_in_its_log(
    told: Callable[[CellRecord], str],
) -> None:
    also = "also in the error log: all-workers-busy (1 x), 1 line of the application"
    assert also in told(CRASHED)
    assert "also in the error log" not in told(PUZZLING)


@each_report
def test_a_quiet_cell_says_nothing_of_its_log(told: Callable[[CellRecord], str]) -> None:
    assert "known" not in told(record())


@each_report
def test_control_characters_of_a_riddle_reach_nobody(told: Callable[[CellRecord], str]) -> None:
    nasty = LogLine(phase="stop", text="terminate \x1b[31m called")
    text = told(record(observed(log=(*LOG, nasty))))
    assert re.search(r"terminate \?\[31m called", text)
    assert "\x1b" not in text
