"""Accounting for answers, and for the reports in their headers."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from wsgiproof.agent import protocol
from wsgiproof.observe.answers import (
    AgentReport,
    AnswerCollector,
    MemoryMetrics,
    NoReport,
    ObjectCounts,
    ProtocolError,
    measured,
    report_of,
)
from wsgiproof.records.observed import EvidenceKind

URL = "http://127.0.0.1:8080/interpreter1"
OTHER = "http://127.0.0.1:8080/interpreter2"


BODY = (3, 0x1234)
"""Its size, and its digest."""


def head(**changes: Any) -> bytes:
    """The head of an answer, with a report as ``agent/middleware.py`` writes it."""
    fields = {
        "pid": 200,
        "token": "token-1",
        "interpreter_id": 1,
        "gil": "shared",
        "application_group": "interpreter1",
        "process_group": "subject",
        "python": "3.12.1",
        "mod_wsgi": "5.0.2",
        "subject": {"version": "1.0", "fast": True},
        "mpm": "prefork",
        "gil_enabled": True,
        "prefix": "/env",
        "thread_id": 1,
        "request": 1,
        "problems": [],
    }
    return (
        b"HTTP/1.1 200 OK\r\nX-Wsgiproof-Report: %b\r\n\r\nok\n"
        % json.dumps(fields | changes).encode()
    )


SUBJECT = ("version", "fast")
"""What the host side of the subject declares."""


def report(**changes: Any) -> AgentReport:
    """The same, read."""
    return report_of(head(**changes), SUBJECT)


@pytest.fixture
def answers() -> AnswerCollector:
    answers = AnswerCollector()
    answers.phase = "parallel"
    return answers


def test_every_field_of_an_identity_is_what_was_told(answers: AnswerCollector) -> None:
    answers.success(URL, BODY, report(subject={"version": "2.0", "fast": False}, mpm=None))
    (one,) = answers.identities()
    assert (one.url, one.pid, one.token) == (URL, 200, "token-1")
    assert (one.application_group, one.process_group) == ("interpreter1", "subject")
    assert (one.python, one.mod_wsgi, one.prefix) == ("3.12.1", "5.0.2", "/env")
    assert one.subject == {"version": "2.0", "fast": False}
    assert (one.mpm, one.gil_enabled) == (None, True)
    assert (one.answers, one.threads) == (1, 1)


def test_answers_of_one_interpreter_add_up_with_its_different_threads(
    answers: AnswerCollector,
) -> None:
    for number in range(10):
        answers.success(URL, BODY, report(thread_id=number % 3, request=number))
    (one,) = answers.identities()
    assert (one.answers, one.threads) == (10, 3)
    assert (answers.requests, answers.succeeded, answers.failed) == (10, 10, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"pid": 201},
        {"token": "token-2"},
        {"application_group": "other"},
        {"process_group": ""},
        {"python": "3.12.2"},
        {"mod_wsgi": "5.0.1"},
        {"subject": {"version": "1.1", "fast": True}},
        {"subject": {"version": "1.0", "fast": None}},
        {"mpm": "event"},
        {"gil_enabled": False},
    ],
)
def test_one_deviating_answer_among_many_shows(
    answers: AnswerCollector, changes: dict[str, Any]
) -> None:
    for _ in range(50):
        answers.success(URL, BODY, report())
    answers.success(URL, BODY, report(**changes))
    for _ in range(50):
        answers.success(URL, BODY, report())
    assert sorted(one.answers for one in answers.identities()) == [1, 100]


def test_a_url_counts_for_itself(answers: AnswerCollector) -> None:
    answers.success(URL, BODY, report())
    answers.success(OTHER, BODY, report())
    assert {one.url for one in answers.identities()} == {URL, OTHER}


def test_workers_are_threads_by_process_by_url(answers: AnswerCollector) -> None:
    for pid, thread in [(200, 1), (200, 2), (200, 2), (201, 1)]:
        answers.success(URL, BODY, report(pid=pid, thread_id=thread, token=f"token-{pid}"))
    answers.success(OTHER, BODY, report())
    assert answers.workers() == {URL: {200: 2, 201: 1}, OTHER: {200: 1}}


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\nServer: other\r\n\r\nX-Wsgiproof-Report: {}"]
)
def test_an_answer_without_a_report_is_not_the_applications(head: bytes) -> None:
    with pytest.raises(NoReport, match="something else than the application gave it"):
        report_of(head, SUBJECT)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (head()[:-50], "truncated"),
        (b"HTTP/1.1 200 OK\r\nX-Wsgiproof-Report: []\r\n\r\n", "array"),
        (head(pid="200"), "pid"),
        (head(subject={"version": "1.0"}), r"missing required field `fast` - at `\$\.subject`"),
        (head(subject={"version": "1", "fast": 1, "c": 1}), "unknown field `c` - at"),
        (head(subject={"version": [], "fast": True}), "subject"),
        (head().replace(b'"subject": ', b'"pymongo": '), "unknown field `pymongo`"),
        (head(lock="shared"), "unknown field `lock`"),
        (head().replace(b'"pid": 200, ', b""), "missing required field `pid`"),
        (head().replace(b'"gil": "shared", ', b""), "missing required field `gil`"),
        (head().replace(b', "problems": []', b""), "missing required field `problems`"),
        (head(memory={"blocks": 1}), "missing required field `malloc`"),
        (head(memory={"blocks": "12", "malloc": 1}), "blocks"),
        (head(object_growth={"types": [["Order"]]}), "types"),
        (head().replace(b"200, ", b"\xff\xfe"), "malformed"),
        (b'HTTP/1.1 200 OK\r\nX-Wsgiproof-Report: {"problems": ' + b"[" * 30_000, "problems"),
        (b'HTTP/1.1 400 No\r\nX-Wsgiproof-Report: {"refused": "no command a"}\r\n\r\n',
         "no command a"),
    ],
)  # fmt: skip
def test_a_report_that_does_not_keep_to_the_protocol_names_the_field(
    broken: bytes, why: str
) -> None:
    with pytest.raises(ProtocolError, match=f"(?i)does not keep to the protocol: .*{why}"):
        report_of(broken, SUBJECT)


def test_what_was_asked_for_has_to_be_there() -> None:
    assert measured(0, "memory") == 0
    with pytest.raises(ProtocolError, match="lacks the field `memory`"):
        measured(None, "memory")


def test_both_sides_have_the_same_fields() -> None:
    fields = (
        *protocol.INTERPRETER,
        protocol.SUBJECT,
        *protocol.REQUEST,
        *protocol.MEASURED,
    )
    assert AgentReport.__struct_fields__ == fields
    kinds = {protocol.IDENTITY, protocol.FATAL, protocol.LEFTOVER, protocol.REQUESTS, protocol.CORE}
    assert {*get_args(EvidenceKind)} - {"log"} == kinds


def test_the_header_that_the_agent_added_is_the_last_one() -> None:
    forged = head(pid=666)
    own, rest = forged.split(b"\r\n\r\n")
    (line,) = (one for one in head(pid=200).split(b"\r\n") if one.startswith(b"X-Wsgiproof"))
    assert report_of(own + b"\r\n" + line + b"\r\n\r\n" + rest, SUBJECT).pid == 200


def test_answers_that_differ_are_counted_by_url(answers: AnswerCollector) -> None:
    for number in range(20):
        answers.success(URL, (3, 7 if number % 10 else number), report())
        answers.success(OTHER, (3, number), report())
    assert [(one.url, one.total, one.same) for one in answers.answers()] == [
        (URL, 20, 18),
        (OTHER, 20, 1),
    ]


def test_failures_of_one_kind_are_counted_and_keep_the_first_body(answers: AnswerCollector) -> None:
    for number in range(5):
        answers.failure("status", URL, 500, "Internal Server Error", f"body {number}".encode())
    answers.failure("status", URL, 503, "Unavailable", b"")
    answers.failure("timeout", URL, None, "no answer", b"")
    told = {(one.kind, one.status): (one.count, one.body, one.error) for one in answers.failures()}
    assert told == {
        ("status", 500): (5, "body 0", "Internal Server Error"),
        ("status", 503): (1, "", "Unavailable"),
        ("timeout", None): (1, "", "no answer"),
    }
    assert answers.failed == answers.requests == 7


def test_a_long_binary_body_is_cut_and_made_text(answers: AnswerCollector) -> None:
    answers.failure("status", URL, 500, "error", b"\xff" * 100_000)
    (failure,) = answers.failures()
    assert failure.body == "\N{REPLACEMENT CHARACTER}" * 500


def test_failures_and_problems_belong_to_their_phase(answers: AnswerCollector) -> None:
    for phase in ("warm-up", "serial"):
        answers.phase = phase
        answers.failure("status", URL, 500, "error", b"")
        answers.success(
            URL, BODY, report(problems=["int64: got int", "int64: got int", "uuid: lost"])
        )
    assert [one.phase for one in answers.failures()] == ["warm-up", "serial"]
    assert [(one.phase, one.text, one.count) for one in answers.problems()] == [
        ("warm-up", "int64: got int", 2),
        ("warm-up", "uuid: lost", 1),
        ("serial", "int64: got int", 2),
        ("serial", "uuid: lost", 1),
    ]
    assert {(one.pid, one.application_group) for one in answers.problems()} == {
        (200, "interpreter1")
    }


# What is asked of each interpreter besides


def test_memory_and_object_growth_are_read_from_an_answer() -> None:
    told = report(
        memory={"blocks": 12, "malloc": None},
        object_growth={"types": [["shop.Order", 7]], "operations": [["encode regex", 1.0, 0.0]]},
    )
    assert told.memory == MemoryMetrics(blocks=12, malloc=None)
    assert told.object_growth == ObjectCounts(
        types=(("shop.Order", 7),), operations=(("encode regex", 1.0, 0.0),)
    )
    plain = report()
    assert (plain.memory, plain.object_growth) == (None, None)


def test_requests_are_counted_by_the_process_that_answered(answers: AnswerCollector) -> None:
    for pid in (200, 201, 200):
        answers.success(URL, BODY, report(pid=pid))
    answers.failure("timeout", URL, None, "no answer", b"")
    assert answers.served == {200: 2, 201: 1}
    assert answers.kinds == {"timeout": 1}


def test_the_order_of_first_answers_and_of_first_problems_is_kept(answers: AnswerCollector) -> None:
    other = {"token": "token-2", "application_group": "interpreter2"}
    answers.success(URL, BODY, report())
    answers.failure("status", URL, 500, "error", b"")
    answers.success(OTHER, BODY, report(**other, problems=["code: got unicode"]))
    answers.success(URL, BODY, report())
    answers.success(URL, BODY, report(problems=["code: got unicode"]))
    answers.success(URL, BODY, report(problems=["code: got unicode"]))
    assert [(one.application_group, one.first) for one in answers.identities()] == [
        ("interpreter1", 0),
        ("interpreter2", 1),
    ]
    assert [
        (one.application_group, one.count, one.first, one.own_first) for one in answers.problems()
    ] == [("interpreter2", 1, 1, 0), ("interpreter1", 2, 3, 2)]


def test_a_failure_knows_how_many_answers_came_before_it(answers: AnswerCollector) -> None:
    answers.success(URL, BODY, report())
    answers.success(OTHER, BODY, report(token="token-2"))
    answers.success(OTHER, BODY, report(token="token-2"))
    answers.failure("status", URL, 500, "error", b"")
    answers.success(URL, BODY, report())
    answers.failure("status", URL, 500, "error", b"")
    (failure,) = answers.failures()
    assert (failure.count, failure.first, failure.own_first) == (2, 3, 1)


def test_requests_that_are_ours_are_none_from_elsewhere(answers: AnswerCollector) -> None:
    for number in (3, 1, 2):
        answers.success(URL, BODY, report(request=number))
        answers.success(OTHER, BODY, report(token="token-2", request=number))
    answers.note_number(report(request=4))
    assert answers.elsewhere == 0


def test_numbers_that_are_missing_went_elsewhere(answers: AnswerCollector) -> None:
    answers.success(URL, BODY, report(request=1))
    answers.success(URL, BODY, report(request=12))
    answers.success(OTHER, BODY, report(token="token-2", request=1))
    assert answers.elsewhere == 10
    # The answer to any of ours that failed may have got lost on the way.
    answers.failure("timeout", URL, None, "", b"")
    assert answers.elsewhere == 9


def test_a_reloaded_application_that_counts_anew_is_nobody_else(answers: AnswerCollector) -> None:
    for number in (1, 2, 3, 1, 2):
        answers.success(URL, BODY, report(request=number))
    assert answers.elsewhere == 0
