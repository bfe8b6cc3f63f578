"""The check of the error log, on lines as they really look."""

from __future__ import annotations

import msgspec
import pytest

from tests.cells import CELL
from tests.unit.factories import LOG, RULES, line, observed, outcome
from wsgiproof.judge.verdict import judge
from wsgiproof.records.judgement import Finding, Verdict
from wsgiproof.records.observed import LogLine, Observed

FAIL = {"error-log": Verdict.FAIL}

TRACEBACK = (
    "mod_wsgi (pid=200): Exception occurred processing WSGI script '/run/app/script.wsgi'.",
    "Traceback (most recent call last):",
    '  File "/run/app/wsgiproof_agent/responder.py", line 31, in __call__',
    "    found = self._work()",
    "            ^^^^^^^^^^^^",
    "pymongo.errors.ServerSelectionTimeoutError: 127.0.0.1:27017: [Errno 111] refused",
)
WARNING = (
    "/env/lib/python3.12/site-packages/pymongo/synchronous/topology.py:178: "
    "UserWarning: something may be wrong here"
)
KNOWN = {
    "RuntimeError: log object has expired": "Python flushes wsgi.errors",
    "Truncated or oversized response headers received from daemon process 'subject': "
    "/run/app/script.wsgi": "crashed",
    "Timeout when reading response headers from daemon process 'subject': /run/app/script.wsgi":
    "hung",
    "ImportError: PyO3 modules do not yet support subinterpreters, see "
    "https://github.com/PyO3/pyo3/issues/576": "PyO3",
    "ImportError: PyO3 modules may only be initialized once per interpreter process": "PyO3",
    "ImportError: Interpreter change detected - this module can only be loaded into one "
    "interpreter per process.": "Cython",
    "ImportError: module _cbson does not support loading in subinterpreters": "own GIL",
    "double free or corruption (fasttop)": "corrupt",
    "munmap_chunk(): invalid pointer": "corrupt",
    "malloc(): unaligned tcache chunk detected": "corrupt",
    "free(): invalid pointer": "corrupt",
    "Fatal Python error: Segmentation fault": "fatal signal",
    "/app/app.py:3: UserWarning: MongoClient opened before fork. May not be entirely fork-safe, "
    "proceed with caution.": "forked",
}  # fmt: skip
HARMLESS = (
    "mod_wsgi (pid=10054): Initializing Python.",
    "mod_wsgi (pid=10054): Process 'subject' to be deregistered, as server is restarting or being "
    "shutdown.",
    "AH00161: server reached MaxRequestWorkers setting, consider raising the MaxRequestWorkers "
    "setting",
    "AH00094: Command line: '/usr/sbin/apache2 -d /tmp/wsgiproof-x -D FOREGROUND'",
    "caught SIGTERM, shutting down",
    "/app/app.py:3: DeprecationWarning: the application's own affair",
    "the last line of an application that says: no error, all is free",
)


def with_lines(*texts: str, phase: str = "parallel") -> Observed:
    return observed(log=(*LOG, *(line(text, phase=phase) for text in texts)))


def findings(seen: Observed) -> tuple[Finding, ...]:
    return judge(CELL, seen, RULES).findings


def test_a_traceback_trips_the_check_and_is_told_by_its_last_line() -> None:
    seen = with_lines(*TRACEBACK, HARMLESS[0], phase="serial")
    assert outcome(seen) == FAIL
    (told,) = findings(seen)
    assert told.seen == (
        f"1 traceback in the error log, the first in phase serial: {TRACEBACK[-1]}, "
        "raised in __call__ (responder.py:31)"
    )
    assert told.evidence == ("\n".join(TRACEBACK[1:]),)


def test_an_exception_without_a_traceback_trips_the_check() -> None:
    raised = "TypeError: sequence of byte string values expected, value of type NoneType found"
    (told,) = findings(with_lines(TRACEBACK[0], raised, TRACEBACK[0], raised))
    assert told.seen == f"2 exceptions in the error log, the first in phase parallel: {raised}"
    assert told.evidence == (raised,)


@pytest.mark.parametrize(
    "text",
    ["client connection closed.", "failed to write response data: Broken pipe"],
)
def test_a_client_that_has_gone_is_no_failure_of_the_application(text: str) -> None:
    assert outcome(with_lines(TRACEBACK[0], f"OSError: Apache/mod_wsgi {text}")) == {}


def test_tracebacks_are_counted_and_different_ends_are_evidence() -> None:
    other = (*TRACEBACK[1:3], "AttributeError: 'NoneType' object has no attribute 'now'")
    (told,) = findings(with_lines(*TRACEBACK, *other, *TRACEBACK))
    assert told.seen.startswith("3 tracebacks in the error log, of 2 kinds, the first")
    assert told.evidence == ("\n".join(TRACEBACK[1:]), "\n".join(other))


def test_a_traceback_that_stops_in_the_middle_is_one_all_the_same() -> None:
    assert outcome(with_lines(*TRACEBACK[:3])) == FAIL


def test_a_traceback_behind_a_client_address_is_read_the_same() -> None:
    (told,) = findings(
        with_lines(*(f"[client 127.0.0.1:51234] {text}" for text in TRACEBACK[1:]))
    )  # fmt: skip
    assert told.evidence == ("\n".join(TRACEBACK[1:]),)


def test_lines_without_a_prefix_count_too() -> None:
    """What the C library or faulthandler writes goes around Apache's format."""
    raw = tuple(LogLine(phase="stop", text=text) for text in TRACEBACK[1:])
    assert outcome(observed(log=(*LOG, *raw))) == FAIL


@pytest.mark.parametrize("package", ["pymongo/synchronous", "bson", "gridfs"])
def test_a_warning_of_the_subject_trips_the_check(package: str) -> None:
    text = WARNING.replace("pymongo/synchronous", package)
    seen = with_lines(text, "  warnings.warn(")
    assert outcome(seen) == FAIL
    (told,) = findings(seen)
    assert told.seen == f"1 warning of PyMongo in the error log: {text}"


@pytest.mark.parametrize("text", KNOWN, ids=lambda text: text[:40])
def test_each_known_failure_line_trips_the_check_with_its_own_meaning(text: str) -> None:
    seen = with_lines(text)
    assert outcome(seen) == FAIL
    (told,) = findings(seen)
    assert KNOWN[text] in told.meaning
    assert told.evidence == (text,)


def test_a_source_stands_with_the_advice() -> None:
    (told,) = findings(with_lines("free(): invalid pointer"))
    assert told.action.endswith("(wsgiproof explain finding-12)")


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_lines_pass(text: str) -> None:
    assert outcome(with_lines(text)) == {}


def test_an_empty_log_is_not_a_pass() -> None:
    assert outcome(observed(log=())) == {"error-log": Verdict.INCONCLUSIVE}


def test_lines_that_were_not_kept_are_not_a_pass() -> None:
    assert outcome(observed(log_lines_dropped=3)) == {"error-log": Verdict.INCONCLUSIVE}


def test_a_finding_in_what_was_kept_outweighs_what_was_not() -> None:
    lines = (*LOG, line("Fatal Python error: Aborted"))
    assert outcome(observed(log=lines, log_lines_dropped=3)) == FAIL


LATE = "Timeout when reading response headers from daemon process 'subject': /run/app/script.wsgi"


def test_an_exceeded_time_limit_proves_nothing_on_a_busy_machine() -> None:
    slow = msgspec.structs.replace(with_lines(LATE), starved=0.8)
    assert outcome(slow) == {"error-log": Verdict.INCONCLUSIVE}
    assert outcome(msgspec.structs.replace(slow, starved=0.3)) == FAIL


def test_any_other_failure_is_one_on_a_busy_machine_too() -> None:
    seen = msgspec.structs.replace(with_lines(LATE, "free(): invalid pointer"), starved=0.8)
    assert outcome(seen) == FAIL
    (found,) = [one for one in judge(CELL, seen, RULES).findings if one.check == "error-log"]
    assert "free()" in found.seen
