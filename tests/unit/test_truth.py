"""The cases of the truth: complete, sound, and held against records as they should be."""

from __future__ import annotations

import ast
import ctypes
import os
import time
from pathlib import Path

import msgspec
import pytest

from tests.truth.cases import BUGS, FOLDER, HEALTHY, Case, command, load, problems
from tests.truth.compare import (
    Checked,
    Comparison,
    Explanation,
    Found,
    Result,
    Seen,
    compare,
    worst,
)
from tests.truth.confusion import BELOW, page, table, write, wrong
from tests.truth.runner import left, read, sweep
from wsgiproof.records.judgement import Verdict

CASES = load()
NO_KEYS = range(0)
CREATE = 0o1600
"""IPC_CREAT, for its owner."""
FILES = sorted(path for folder in (BUGS, HEALTHY) for path in (FOLDER / folder).glob("*.py"))
IDS = [f"{path.parent.name}/{path.stem}" for path in FILES]
BUG = Case(
    kind="leaks",
    why="It leaks.",
    expect=("connections",),
    also=("memory", "inconclusive:memory"),
    decides="more requests",
    folder=BUGS,
    name="leaky",
)
NEW = Case(kind="files", why="It leaves.", expect_new=("files",), folder=BUGS, name="litter")
SOUND = Case(
    kind="caches",
    why="It has a bound.",
    also=("inconclusive:memory",),
    decides="more requests",
    folder=HEALTHY,
    name="bounded",
)


def seen(**checks: str) -> Seen:
    """A cell whose checks came to these verdicts, and which came to the worst of them."""
    order = [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS]
    verdicts = {name.replace("_", "-"): Verdict(value) for name, value in checks.items()}
    verdict = min(verdicts.values(), key=order.index)
    reasons = [Checked(name, one, f"{name} is {one}") for name, one in verdicts.items()]
    return Seen(verdict=verdict, reason="", checks=tuple(reasons))


def test_each_application_has_an_entry_and_each_entry_an_application() -> None:
    assert sorted(case.id for case in CASES) == sorted(IDS)


def test_no_name_is_in_both_tables() -> None:
    names = [path.stem for path in FILES]
    assert len(names) == len({*names})


def test_there_are_enough_of_them() -> None:
    assert sum(case.folder == BUGS for case in CASES) >= 60
    assert sum(case.folder == HEALTHY for case in CASES) >= 40


def test_each_kind_of_bug_has_several() -> None:
    kinds = [case.kind for case in CASES if case.folder == BUGS]
    assert min(kinds.count(kind) for kind in kinds) >= 2


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_an_application_is_valid_on_old_pythons_and_says_its_truth(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    truth = ast.get_docstring(tree) or ""
    assert truth.endswith(".")
    assert "\n" not in truth
    defined = {
        name
        for node in tree.body
        for name in (
            [node.name]
            if isinstance(node, ast.FunctionDef)
            else [getattr(target, "id", "") for target in getattr(node, "targets", [])]
        )
    }
    assert "application" in defined


@pytest.mark.parametrize(
    ("changes", "wrong_with_it"),
    [
        ({"expect": ("conections",)}, "there is no check 'conections'"),
        ({"expect_new": ("magic",)}, "'magic' is not among"),
        ({"also": ("inconclusive:magic",)}, "is no outcome"),
        ({"also": ("fail",), "decides": ""}, "is no outcome"),
        ({"also": ("inconclusive",), "decides": ""}, "decides"),
        ({"also": (), "decides": "more requests"}, "decides"),
        ({"expect": ()}, "a bug needs a check"),
        ({"folder": HEALTHY}, "no check may have to fail"),
        ({"why": "It leaks"}, "one sentence"),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(
    changes: dict[str, object], wrong_with_it: str
) -> None:
    assert not list(problems(BUG))
    (problem,) = problems(msgspec.structs.replace(BUG, **changes))
    assert wrong_with_it in problem


def test_a_table_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cases.toml"
    path.write_text('[bugs.one]\nkind = "leaks"\nwhy = "It leaks."\nexpected = ["memory"]\n')
    with pytest.raises(ValueError, match=r"bugs/one: .*expected"):
        load(path)


def test_defaults_are_those_of_the_table_of_their_folder(tmp_path: Path) -> None:
    path = tmp_path / "cases.toml"
    path.write_text(
        "[defaults.bugs]\nrequests = 7\n[defaults.healthy]\nrequests = 8\n"
        '[bugs.a]\nkind = "x"\nwhy = "It leaks."\nexpect = ["memory"]\n'
        '[healthy.b]\nkind = "x"\nwhy = "It is sound."\n'
        '[healthy.c]\nkind = "x"\nwhy = "It is sound."\nrequests = 9\n'
    )
    assert [case.requests for case in load(path)] == [7, 8, 9]


def test_options_become_those_of_the_command(tmp_path: Path) -> None:
    case = msgspec.structs.replace(
        BUG,
        python="3.12",
        mode="daemon",
        interpreter="main",
        requests=300,
        phases=("restart", "idle"),
        idle_seconds=5,
        expect_status=(302,),
        expect_body="ok",
        requirements=("flask", "bottle"),
    )
    assert command(case, tmp_path) == [
        *("run", "--no-config", "--app", str(FOLDER / "bugs" / "leaky.py")),
        *("--output", str(tmp_path), "--jobs", "1"),
        *("--python", "3.12", "--mode", "daemon", "--interpreter", "main", "-n", "300"),
        *("--expect-body", "ok", "--phases", "restart,idle", "--idle-seconds", "5"),
        *("--expect-status", "302", "--requirement", "flask", "--requirement", "bottle"),
    ]


@pytest.mark.parametrize(
    ("case", "record", "result", "right"),
    [
        (BUG, seen(connections="fail", memory="pass"), Result.CAUGHT, True),
        (BUG, seen(connections="inconclusive", crash="fail"), Result.OTHER, False),
        (BUG, seen(connections="pass", memory="fail"), Result.OTHER, True),
        (BUG, seen(connections="pass", memory="inconclusive"), Result.UNDECIDED, True),
        (BUG, seen(connections="inconclusive", memory="inconclusive"), Result.UNDECIDED, False),
        (BUG, seen(connections="pass", memory="pass"), Result.MISSED, False),
        (NEW, seen(connections="pass"), Result.NOT_JUDGED, False),
        (NEW, seen(connections="pass", files="pass"), Result.MISSED, False),
        (NEW, seen(connections="pass", files="fail"), Result.CAUGHT, True),
        (NEW, seen(connections="fail"), Result.OTHER, False),
        (SOUND, seen(memory="pass"), Result.CLEAN, True),
        (SOUND, seen(memory="inconclusive"), Result.UNDECIDED, True),
        (SOUND, seen(memory="inconclusive", threads="inconclusive"), Result.UNDECIDED, False),
        (SOUND, seen(memory="fail", threads="inconclusive"), Result.ALARM, False),
    ],
)
def test_what_a_record_is_for_a_case(case: Case, record: Seen, result: Result, right: bool) -> None:
    comparison = compare(case, record)
    assert (comparison.result, comparison.right) == (result, right)


REAL = Found("crash", (Explanation("first-use-race"),))
CUT_OFF = Found("responses", (Explanation("daemon-died-in-request"),))


@pytest.mark.parametrize(
    ("record", "findings", "result"),
    [
        (seen(crash="fail", memory="pass"), (REAL,), Result.REAL),
        (seen(crash="fail", memory="pass"), (REAL, Found("crash")), Result.ALARM),
        (seen(crash="fail", memory="fail"), (REAL, Found("memory")), Result.ALARM),
        (seen(crash="fail", responses="fail"), (REAL, CUT_OFF), Result.REAL),
        (seen(crash="fail", responses="fail"), (REAL, Found("responses")), Result.ALARM),
        (seen(responses="fail"), (CUT_OFF,), Result.ALARM),
        (
            seen(crash="fail"),
            (Found("crash", (Explanation("background-thread-outlives-interpreter"),)),),
            Result.ALARM,
        ),
        (seen(crash="fail"), (), Result.ALARM),
    ],
)
def test_a_crash_of_a_library_is_no_false_alarm(
    record: Seen, findings: tuple[Found, ...], result: Result
) -> None:
    comparison = compare(SOUND, msgspec.structs.replace(record, findings=findings))
    assert (comparison.result, comparison.right) == (result, result is Result.REAL)
    assert compare(BUG, msgspec.structs.replace(record, findings=findings)).result is Result.OTHER


def test_the_page_names_healthy_applications_in_which_a_library_crashed() -> None:
    record = msgspec.structs.replace(seen(crash="fail"), findings=(REAL,))
    text = page([SOUND], {SOUND.id: [compare(SOUND, record)]}, "1 case")
    assert "### Not as it should be\n\nNone." in text
    assert "- `healthy/bounded`: `crash: crash is fail`" in text


@pytest.mark.parametrize("case", [BUG, NEW, SOUND])
@pytest.mark.parametrize("verdict", [Verdict.ERROR, Verdict.SKIPPED])
def test_no_verdict_is_never_right(case: Case, verdict: Verdict) -> None:
    comparison = compare(case, Seen(verdict=verdict, reason="no mongod"))
    assert comparison == Comparison(Result.BROKEN, False, (f"{verdict}: no mongod",))


def test_a_miss_says_what_the_checks_said_that_should_have_failed() -> None:
    comparison = compare(BUG, seen(connections="pass", memory="pass"))
    assert comparison.reasons == ("connections: pass: connections is pass",)


def test_a_bug_that_is_caught_names_unexpected_checks_that_failed_too() -> None:
    record = seen(connections="fail", memory="fail", sessions="fail", error_log="fail")
    assert compare(BUG, record).besides == ("error-log", "sessions")


def test_any_inconclusive_is_acceptable_where_no_check_is_named() -> None:
    case = msgspec.structs.replace(SOUND, also=("inconclusive",))
    assert compare(case, seen(threads="inconclusive", memory="inconclusive")).right


def test_a_wrong_run_counts_before_a_right_one() -> None:
    right, undecided = Comparison(Result.OTHER, True), Comparison(Result.UNDECIDED, False)
    assert worst([right, undecided, right]) is undecided
    assert worst([Comparison(Result.CAUGHT, True), right]) is right


def test_the_table_counts_each_case_once_and_lists_the_wrong_ones(tmp_path: Path) -> None:
    outcomes = {
        BUG.id: [
            compare(BUG, seen(connections="fail", sessions="fail")),
            compare(BUG, seen(connections="fail")),
        ],
        NEW.id: [compare(NEW, seen(connections="pass"))],
        SOUND.id: [compare(SOUND, seen(memory="pass")), compare(SOUND, seen(memory="fail"))],
    }
    cases = [BUG, NEW, SOUND]
    assert table(cases, outcomes).splitlines() == [
        "| planted bug | cases | caught by the expected check | caught by another check "
        "| inconclusive | not yet judged | missed | no verdict |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        "| files | 1 | 0 | 0 | 0 | 1 | 0 | 0 |",
        "| leaks | 1 | 1 | 0 | 0 | 0 | 0 | 0 |",
        "| **all** | 2 | 1 | 0 | 0 | 1 | 0 | 0 |",
        "",
        "| healthy application | cases | clean | a real crash of a library | inconclusive "
        "| false alarm | no verdict |",
        "|---|---:|---:|---:|---:|---:|---:|",
        "| caches | 1 | 0 | 0 | 0 | 1 | 0 |",
        "| **all** | 1 | 0 | 0 | 0 | 1 | 0 |",
    ]
    assert "planted bug" not in table([SOUND], outcomes)
    assert wrong(outcomes) == [NEW.id, SOUND.id]
    text = page(cases, outcomes, "3 cases")
    assert "- `healthy/bounded`: false alarm (1 of 2); expected: pass (also inconclusive" in text
    assert "    - `memory: memory is fail`" in text
    assert "- `bugs/litter`: not yet judged (1 of 1); expected: files. It leaves." in text
    assert text.endswith("- `bugs/leaky`: sessions")
    file = tmp_path / "truth.md"
    file.write_text(f"# Truth\n\n{BELOW}\n\nold\n")
    write(file, text)
    assert file.read_text() == f"# Truth\n\n{BELOW}\n\n{text}\n"


def test_reasons_are_no_markup() -> None:
    reason = "a `b`\n| <c> |"
    outcomes = {SOUND.id: [Comparison(Result.ALARM, False, (reason,))]}
    assert "    - `a 'b' | <c> |`" in page([SOUND], outcomes, "")


def test_results_are_read_cell_by_cell(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    cells = [seen(memory="pass"), seen(memory="fail")]
    path.write_bytes(msgspec.json.encode({"format": 2, "cells": cells}))
    assert [one.result for one in read(SOUND, path, 1)] == [Result.CLEAN, Result.ALARM]


@pytest.mark.parametrize("content", [None, b"{", b'{"cells": []}'])
def test_a_run_without_results_has_no_verdict(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "results.json"
    if content is not None:
        path.write_bytes(content)
    (comparison,) = read(SOUND, path, 2)
    assert comparison.result is Result.BROKEN
    assert "exit code 2" in comparison.reasons[0]


def test_what_applications_leave_in_directories_is_removed_and_nothing_else(tmp_path: Path) -> None:
    began = tmp_path.stat().st_ctime
    (tmp_path / "wsgiproof-truth-a").write_text("left")
    (tmp_path / "sem.wsgiproof-truth-b").write_text("left")
    (tmp_path / "wsgiproof-truth-c").mkdir()
    (tmp_path / "wsgiproof-truth-c" / "page").write_text("left")
    (tmp_path / "another-file").write_text("kept")
    assert sweep(began + 3600, [tmp_path], NO_KEYS) == 0
    assert sweep(began, [tmp_path], NO_KEYS) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["another-file"]


def test_segments_and_semaphores_are_removed_by_their_keys() -> None:
    libc = ctypes.CDLL(None)
    keys = range(0x58000000 + os.getpid(), 0x58000001 + os.getpid())
    began = time.time()
    assert libc.shmget(keys[0], 4096, CREATE) >= 0
    assert libc.semget(keys[0], 1, CREATE) >= 0
    try:
        assert left("shm", began + 3600, keys) == left("sem", began, NO_KEYS) == []
    finally:
        assert sweep(began, [], keys) == 2
    assert left("shm", began, keys) == left("sem", began, keys) == []
