"""What is known of lines, stacks and answers: each entry on real texts, and findings explained."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cells import CELL, cell_with
from tests.unit.factories import ALL_CHECKS, LOG, RULES, died, line, observed
from tests.unit.test_corpus import CLEAN, NAMES, recorded, seen
from wsgiproof.judge.explain.catalog import (
    CODE,
    Catalog,
    Conditions,
    Entry,
    Place,
    common_catalog,
)
from wsgiproof.judge.explain.findings import finding as finding_text
from wsgiproof.judge.explain.findings import finding_ids
from wsgiproof.judge.explain.lines import parse
from wsgiproof.judge.verdict import judge
from wsgiproof.records.cell import Cell, InterpreterKind
from wsgiproof.records.judgement import Explanation, Finding, RestOfLog, Verdict
from wsgiproof.records.observed import Failure, LogLine, Observed, Replacement, Role, Unfinished

CATALOG = RULES.catalog
ROOT = Path(__file__).parents[2]
HEALTHY = Path(__file__).with_name("healthy_lines.txt").read_text().splitlines()
"""Of error logs of cells that passed: Apache 2.4.71, mod_wsgi 5.0.2 and 6.1.1, both modes."""
EXAMPLES = [(entry, example) for entry in CATALOG.entries for example in entry.examples]
DEATH = (
    "pid 200: Fatal Python error: Segmentation fault\n\nThread 0x00007fad75d1e780 (most recent "
    'call first):\n  File "/run/app/wsgiproof_agent/faults_lifecycle.py", line 112 in _hang\n'
)


def place(entry: Entry, example: str) -> Place:
    """Stacks have several lines, and a line may be looked for in more than one place."""
    return Place.STACK if "\n" in example else entry.where[0]


def fitting(entry: Entry) -> tuple[Cell, tuple[str, ...]]:
    """A cell in which the conditions of an entry hold, and the other evidence that they take."""
    threads = "5 threads still ran: pymongo_server_monitor_thread"
    beside = (threads, *entry.examples) if entry.only.beside else ()
    cells = (
        cell_with(CELL, mod_wsgi=mod_wsgi, python=python)
        for mod_wsgi, python in product(("5.0.2", "6.1.1"), ("3.12.1", "3.12.0", "3.11.2"))
    )
    return next(cell for cell in cells if entry.only.hold(cell, beside)), beside


def with_lines(*lines: LogLine) -> Observed:
    return observed(log=(*LOG, *lines))


def finding(check: str, seen: Observed) -> Finding:
    (found,) = [one for one in judge(CELL, seen, RULES).findings if one.check == check]
    return found


def ids(explained: tuple[Explanation, ...]) -> list[str]:
    return [one.id for one in explained]


# The catalog


@pytest.mark.parametrize(("entry", "example"), EXAMPLES, ids=lambda value: getattr(value, "id", ""))
def test_each_example_is_explained_by_its_own_entry(entry: Entry, example: str) -> None:
    where = place(entry, example)
    cell, beside = fitting(entry)
    assert CATALOG.find(example, where, *entry.phases[-1:], cell=cell, beside=beside) == entry


@pytest.mark.parametrize(
    ("entry", "example"),
    [(entry, example) for entry, example in EXAMPLES if entry in common_catalog().entries],
    ids=lambda value: getattr(value, "id", ""),
)
def test_each_common_example_is_explained_without_the_entries_of_a_subject(
    entry: Entry, example: str
) -> None:
    where = place(entry, example)
    cell, beside = fitting(entry)
    common = common_catalog()
    assert common.find(example, where, *entry.phases[-1:], cell=cell, beside=beside) == entry


def test_the_entries_of_a_subject_come_first_and_are_none_of_the_common_ones() -> None:
    common = common_catalog().entries
    assert RULES.entries
    assert CATALOG.entries == (*RULES.entries, *common)
    assert "connection-lost" in {entry.id for entry in RULES.entries}
    assert not any(name in entry.meaning for entry in common for name in ("PyMongo", "MongoDB"))


@pytest.mark.parametrize("entry", CATALOG.entries, ids=lambda entry: entry.id)
def test_each_entry_says_all_that_a_reader_needs(entry: Entry) -> None:
    assert re.fullmatch(r"[a-z0-9-]+", entry.id)
    assert entry.examples
    assert entry.where
    assert all((entry.meaning, entry.versions, entry.action))
    assert set(entry.explains) <= set(ALL_CHECKS)
    ours = re.fullmatch(r"wsgiproof explain (finding-\d+)", entry.source)
    if ours:
        assert finding_text(ours[1])
    else:
        assert re.fullmatch(r"https://\S+", entry.source)


def test_the_package_has_the_text_of_every_finding() -> None:
    page = (ROOT / "docs/findings.md").read_text()
    texts = [finding_text(name) for name in finding_ids()]
    assert len(texts) >= 17
    assert page.endswith("\n\n## ".join(["", *(text or "" for text in texts)]) + "\n")
    assert (finding_text("finding-1") or "").startswith("1. PyMongo 4.20.0 + mod_wsgi 6.1.1")
    assert finding_text("finding-0") is None


def test_no_two_entries_have_the_same_id() -> None:
    names = [entry.id for entry in CATALOG.entries]
    assert len({*names}) == len(names)


@pytest.mark.parametrize("entry", CATALOG.entries, ids=lambda entry: entry.id)
def test_an_entry_that_fails_does_so_in_a_log_and_another_one_does_not(entry: Entry) -> None:
    in_log = [text for text in entry.examples if place(entry, text) is Place.LOG]
    for text in in_log:
        seen = with_lines(line(text, phase=[*entry.phases, "parallel"][0]))
        names = [one.check for one in judge(fitting(entry)[0], seen, RULES).findings]
        warns = re.search(r"/(pymongo|bson)/\S+:\d+: \w+Warning", text)
        assert ("error-log" in names) == bool(entry.fails or warns)


@pytest.mark.parametrize("text", HEALTHY)
def test_a_line_of_a_healthy_server_fails_nothing_and_is_no_riddle(text: str) -> None:
    source, _, message = text.removeprefix("[").partition("] ")
    judged = judge(CELL, with_lines(line(message, source=source)), RULES)
    assert judged.verdict is Verdict.PASS
    assert judged.rest_of_log.unknown == ()


@pytest.mark.parametrize("name", CLEAN)
def test_the_logs_of_recorded_cells_that_passed_hold_no_riddle(name: str) -> None:
    assert judge(recorded(name).cell, seen(name), RULES).rest_of_log.unknown == ()


@pytest.mark.parametrize("name", NAMES)
def test_each_crash_that_was_recorded_is_explained(name: str) -> None:
    for one in judge(recorded(name).cell, seen(name), RULES).findings:
        last_words = any("(most recent call first)" in text for text in one.evidence)
        if one.check == "crash" and last_words:
            assert one.explained


# Conditions

OUTLIVED = DEATH.replace("/run/app/wsgiproof_agent/faults_lifecycle.py", "/site-packages/{}")
OF_SENTRY = OUTLIVED.format("sentry_sdk/worker.py")
OF_PYMONGO = OUTLIVED.format("pymongo/periodic_executor.py")
NO_ARGUMENTS = "TypeError: Point() takes no arguments"
OTHER_LOOP = "RuntimeError: Cannot run the event loop while another loop is running"
LOADED = "Extension modules: bson._cbson, pymongo._cmessage (total: 2)"


def cell(**changes: Any) -> Cell:
    return cell_with(CELL, **changes)


@pytest.mark.parametrize(
    ("text", "changes", "expected"),
    [
        (OF_PYMONGO, {"mod_wsgi": "6.1.1"}, "thread-outlives-interpreter"),
        (OF_PYMONGO, {"mod_wsgi": "6.0"}, "thread-outlives-interpreter"),
        (OF_PYMONGO, {"mod_wsgi": "6.1.2"}, "pymongo-thread-outlives-interpreter"),
        (OF_PYMONGO, {"mod_wsgi": "5.0.2"}, "pymongo-thread-outlives-interpreter"),
        (OF_SENTRY, {"mod_wsgi": "5.0.2"}, "background-thread-outlives-interpreter"),
        (OF_SENTRY, {"mod_wsgi": "6.1.1"}, "background-thread-outlives-interpreter"),
        (OF_SENTRY + LOADED, {"mod_wsgi": "6.1.1"}, "background-thread-outlives-interpreter"),
    ],
)
def test_a_thread_that_outlives_its_interpreter_is_not_always_of_pymongo(
    text: str, changes: dict[str, str], expected: str
) -> None:
    found = CATALOG.find(text, Place.STACK, "stop", cell=cell(**changes))
    assert found is not None
    assert found.id == expected
    if expected.startswith("background"):
        assert "MongoClient" not in found.action
    if changes["mod_wsgi"] == "5.0.2":
        assert "mod_wsgi 6.0 to 6.1.1 with" not in found.versions


def test_the_names_of_leftover_threads_are_evidence_beside_a_stack() -> None:
    names = "pid 200: 2 threads of interpreter1 still ran: pymongo_server_monitor_thread"
    found = CATALOG.find(
        OF_SENTRY, Place.STACK, "stop", cell=cell(mod_wsgi="6.1.1"), beside=(names,)
    )
    assert found is not None
    assert found.id == "thread-outlives-interpreter"


@pytest.mark.parametrize(
    ("text", "changes", "expected"),
    [
        (NO_ARGUMENTS, {"python": "3.10.1"}, True),
        (NO_ARGUMENTS, {"python": "3.12.0"}, True),
        (NO_ARGUMENTS, {"python": "3.10.2"}, False),
        (NO_ARGUMENTS, {"python": "3.12.1"}, False),
        (NO_ARGUMENTS, {"python": "3.12.0", "interpreter": InterpreterKind.MAIN}, False),
        (OTHER_LOOP, {"python": "3.11.2"}, True),
        (OTHER_LOOP, {"python": "3.12.0"}, False),
        (OTHER_LOOP, {"python": "3.11.2", "interpreter": InterpreterKind.MAIN}, False),
        (NO_ARGUMENTS, {"python": "a checkout of CPython"}, True),
        ("x in tracemalloc_alloc", {}, True),
        ("x in tracemalloc_alloc", {"interpreter": InterpreterKind.MAIN}, False),
    ],
)
def test_an_entry_applies_only_where_its_versions_and_interpreters_do(
    text: str, changes: dict[str, Any], expected: bool
) -> None:
    assert (CATALOG.find(text, Place.LOG, cell=cell(**changes)) is not None) is expected
    assert CATALOG.find(text, Place.LOG) is not None, (
        "where the versions are unknown, all may apply"
    )


def test_an_entry_may_apply_to_some_versions_of_the_subject_only() -> None:
    (found,) = [entry for entry in CATALOG.entries if entry.id == "missing-module"]

    def holds(axis: str, wanted: str, cell: Cell | None) -> bool:
        only = Conditions(versions={axis: (wanted,)})
        catalog = Catalog(entries=(msgspec.structs.replace(found, only=only),), codes={})
        return catalog.find("ImportError: No module named x", Place.LOG, cell=cell) is not None

    assert holds("pymongo", ">=4.9", CELL)
    assert not holds("pymongo", "<4.9", CELL)
    assert holds("pymongo", "<4.9", None)
    assert not holds("psycopg", ">=3", CELL), "this cell has no such axis"


def test_a_race_that_mod_wsgi_6_1_cannot_have_is_not_named() -> None:
    stack = "  apr_hash_next\n  apr_hash_set  libapr\n  wsgi_acquire_interpreter  src/server"
    assert CATALOG.find(stack, Place.STACK, cell=cell(mod_wsgi="5.0.2")) is not None
    assert CATALOG.find(stack, Place.STACK, cell=cell(mod_wsgi="6.1.1")) is None


@pytest.mark.parametrize("entry", CATALOG.entries, ids=lambda entry: entry.id)
def test_no_failure_is_lost_to_a_condition(entry: Entry) -> None:
    """A line fails the check wherever it is written; a condition only picks the explanation."""
    if entry.fails:
        assert entry.only == Conditions()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pymongo.errors.AutoReconnect: h:27017: connection pool paused", "pool-paused"),
        ("pymongo.errors.AutoReconnect: h:27017: connection closed", "connection-lost"),
        ("ImportError: cannot load module more than once per process", "once-per-process"),
        ("ImportError: No module named flask", "missing-module"),
        ("ModuleNotFoundError: No module named 'shop.views'", "missing-module"),
        ("the page: No module named 'x' was found", None),
        ("ImportError: cannot import name 'x' from 'shop'", None),
    ],
)
def test_lines_that_look_alike_are_told_apart(text: str, expected: str | None) -> None:
    found = CATALOG.find(text, Place.LOG, cell=CELL)
    assert (found.id if found else None) == expected


def test_pyo3_serves_the_first_interpreter_whichever_it_is() -> None:
    (entry,) = [one for one in CATALOG.entries if one.id == "pyo3"]
    assert "never in a sub interpreter" not in entry.versions
    assert "first interpreter" in entry.meaning


# The codes of mod_wsgi 6


def test_a_code_without_an_entry_leads_to_the_reference() -> None:
    found = CATALOG.find(
        "WSGI0148: Malformed header 'x' found when reading script headers", Place.LOG
    )
    assert found is not None
    assert (found.id, found.fails) == ("WSGI0148", False)
    assert found.meaning == CATALOG.codes["WSGI0148"].meaning
    assert found.source.endswith("/error-reference.html#wsgi0148")


def test_a_code_that_is_newer_than_the_table_leads_there_too() -> None:
    found = CATALOG.find("WSGI9999: Something new.", Place.LOG)
    assert found is not None
    assert found.source.endswith("/error-reference.html#wsgi9999")
    assert not found.fails


def test_codes_of_the_gravest_levels_fail() -> None:
    text = "WSGI0024: Unable to spawn daemon process 'subject'. Daemon group will not start."
    told = finding("error-log", with_lines(line(text, source="wsgi:alert")))
    assert ids(told.explained) == ["WSGI0024"]


def test_every_code_has_a_level_and_a_meaning() -> None:
    assert len(CATALOG.codes) == 210
    assert {code.level for code in CATALOG.codes.values()} == {
        "alert", "crit", "err", "warning", "retired"
    }  # fmt: skip
    assert all(CODE.match(f"{name}: ") and code.meaning for name, code in CATALOG.codes.items())


# Findings


def test_a_crash_is_explained_by_its_last_words_in_the_phase_of_its_death() -> None:
    at_stop = observed(events=(died(signal=11),), fatal_traces=(DEATH,))
    before = observed(events=(died(signal=11, phase="parallel"),), fatal_traces=(DEATH,))
    (told,) = finding("crash", at_stop).explained
    assert told.id == "background-thread-outlives-interpreter"
    assert told.where == "stacks, phase stop"
    assert ids(finding("crash", before).explained) == ["killed-by-signal"]


def test_a_crash_among_requests_is_not_one_of_a_process_that_ends() -> None:
    """Whatever the phase: in the trials, processes are used before they end."""
    serving = Unfinished(pid=200, tid=1, url="/interpreter1 (together)", started=1.0)
    used = observed(
        events=(died(signal=11, phase="trials"),), fatal_traces=(DEATH,), unfinished=(serving,)
    )
    (told,) = finding("crash", used).explained
    assert told.id == "crash-in-use-without-thread"
    ended = Replacement(phase="trials", time=1.0, seconds=1.0, replaced=(200,), leftover=())
    (told,) = finding("crash", msgspec.structs.replace(used, trials=(ended,))).explained
    assert told.id == "background-thread-outlives-interpreter"


def test_a_line_of_the_log_explains_the_findings_that_it_belongs_to_and_no_others() -> None:
    glibc = LogLine(phase="parallel", text="double free or corruption (out)")
    crashed = observed(
        log=(*LOG, glibc, glibc), events=(died(signal=6, phase="parallel"),), fatal_traces=()
    )
    (told,) = finding("crash", crashed).explained
    assert (told.id, told.count, told.where) == ("heap-corrupt", 2, "error log, phase parallel")
    assert told.text == glibc.text
    late = observed(log=(*LOG, glibc), events=(died(role=Role.WORKER, signal=9),))
    assert finding("shutdown", late).explained == ()


def test_an_answer_that_failed_is_explained_by_its_body() -> None:
    failure = Failure(
        phase="parallel",
        kind="status",
        url="http://127.0.0.1:8080/interpreter2",
        count=3,
        status=500,
        error="answered 500, not 200",
        body="ImportError: PyO3 modules do not yet support subinterpreters, see "
        "https://github.com/PyO3/pyo3/issues/576",
    )
    assert ids(finding("responses", observed(failures=(failure,))).explained) == ["pyo3"]


def test_the_exception_of_a_traceback_is_explained() -> None:
    lines = (
        "Traceback (most recent call last):",
        '  File "/run/app/app.py", line 31, in __call__',
        "pymongo.errors.AutoReconnect: 127.0.0.1:27017: connection closed",
    )
    told = finding("error-log", with_lines(*map(line, lines)))
    assert ids(told.explained) == ["connection-lost"]


def test_a_finding_that_nothing_is_known_of_has_no_explanation() -> None:
    assert finding("crash", observed(events=(died(signal=11),))).explained == ()


# The rest of the log


RIDDLES = (
    line("AH00574: ap_get_brigade() failed", source="core:error"),
    line("mod_wsgi (pid=200): Couldn't close unix domain socket '/run/x'.", source="wsgi:error"),
    LogLine(phase="stop", text="terminate called after throwing an instance of 'std::bad_alloc'"),
)


@pytest.mark.parametrize("riddle", RIDDLES, ids=["Apache", "mod_wsgi", "a library"])
def test_an_error_that_nobody_knows_is_kept_and_fails_nothing(riddle: LogLine) -> None:
    judged = judge(CELL, with_lines(riddle, riddle), RULES)
    assert judged.verdict is Verdict.PASS
    (text,) = [one.text for one in parse([riddle])]
    assert judged.rest_of_log.unknown == (text,)
    assert judged.rest_of_log.unknown_lines == 2


def test_the_errno_that_apache_puts_before_a_message_is_none_of_it() -> None:
    told = "mod_wsgi (pid=200): Couldn't create worker thread 3 in daemon process 'subject'."
    prefixed = f"(11)Resource temporarily unavailable: {told}"
    (one,) = parse([line(prefixed, source="wsgi:alert")])
    assert one.text == told
    (one,) = parse([line(f"(111)Connection refused: {told}")])
    assert not one.from_application, "mod_wsgi has written it"
    (one,) = parse([line(f"[client 127.0.0.1:1] {told}")])
    assert one.text == told


def test_only_the_first_different_ones_are_kept_and_all_are_counted() -> None:
    many = [line(f"AH0057{number}: no.", source="core:error") for number in range(10)] * 2
    rest = judge(CELL, with_lines(*many, *RIDDLES), RULES).rest_of_log
    assert len(rest.unknown) == 10
    assert rest.unknown_lines == 23


def test_lines_of_the_application_are_counted_and_are_no_errors() -> None:
    told = ("it works, or an error: 0", "[a tag] as loggers write them")
    rest = judge(CELL, with_lines(*map(line, told)), RULES).rest_of_log
    assert (rest.unknown, rest.application_lines) == ((), 2)


def test_what_mod_wsgi_says_without_its_name_is_not_the_applications() -> None:
    text = "Truncated or oversized response headers received from daemon process 'a': /app.wsgi"
    assert judge(CELL, with_lines(line(text)), RULES).rest_of_log.application_lines == 0


def test_a_traceback_is_no_riddle() -> None:
    lines = ("Traceback (most recent call last):", '  File "x.py", line 1, in f', "ValueError: x")
    raw = (LogLine(phase="stop", text=text) for text in lines)
    assert judge(CELL, with_lines(*raw), RULES).rest_of_log.unknown == ()


def test_what_is_known_and_told_by_no_finding_is_in_the_rest() -> None:
    rest = judge(CELL, observed(), RULES).rest_of_log
    assert ids(rest.known) == ["all-workers-busy"]
    told = judge(CELL, with_lines(line("free(): invalid pointer")), RULES)
    assert ids(told.rest_of_log.known) == ["all-workers-busy"]


def test_an_old_record_without_explanations_can_be_read() -> None:
    plain = msgspec.json.decode(
        b'{"check": "error-log", "seen": "a", "meaning": "b", "action": "c"}', type=Finding
    )
    assert plain.explained == ()
    assert msgspec.json.decode(b"{}", type=RestOfLog) == RestOfLog()


# The page


def test_the_page_is_what_the_catalog_makes_of_it() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "scripts/explained-page"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (ROOT / "docs/explained.md").read_text() == made.stdout
