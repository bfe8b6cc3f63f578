"""Failed requests: which interpreters they went to, in which order, and what was raised."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from tests.cells import CELL
from tests.unit.factories import LOG, RULES, URLS, WORKER, failure, identity, observed, record
from tests.unit.test_corpus import recorded
from tests.unit.test_tracebacks import frame, raised, written
from wsgiproof.judge.verdict import judge
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import Failure, LogLine, Observed
from wsgiproof.report.causes import causes

ONE, TWO = "interpreter1", "interpreter2"
PAGE = '<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n<html><head><title>500</title>'
REFUSED = raised(
    "ImportError: PyO3 modules do not yet support subinterpreters", frame("/srv/a.py", 3)
)


def made(text: str) -> tuple[LogLine, ...]:
    """What mod_wsgi logs when a worker makes both interpreters; ``{}`` is the name of one."""
    prefix = "[2026-11-23 05:43:59.9] [wsgi:info] "
    return tuple(LogLine(phase="warm-up", text=prefix + text.format(name)) for name in (ONE, TWO))


MADE = made(f"[pid {WORKER}] mod_wsgi (pid=200): Create interpreter '{{}}'.")
MADE_BY_6 = made(
    f"[pid {WORKER}:tid 5] Creating sub-interpreter '{{}}' in daemon process 'subject'."
)


def of(url: int, number: int, first: int | None = None, own: int = 0, **more: object) -> Failure:
    return failure(
        url=URLS[url - 1],
        count=number,
        first=first,
        own_first=own,
        body=PAGE,
        phase="warm-up",
        **more,
    )


def seen(
    *failures: Failure, answers: Iterable[tuple[int, int, int]] = (), log: Iterable[LogLine] = ()
) -> Observed:
    """``answers`` are the URL, the number of answers, and the place of the first one."""
    return observed(
        requests=210,
        identities=tuple(identity(url, answers=n, first=first) for url, n, first in answers),
        failures=failures,
        log=(*LOG[:2], *log),
    )


def found(what: Observed, check: str = "responses") -> Finding:
    (one,) = [one for one in judge(CELL, what, RULES).findings if one.check == check]
    return one


@pytest.mark.parametrize("made", [MADE, MADE_BY_6])
def test_an_extension_that_refuses_the_second_interpreter(made: tuple[LogLine, ...]) -> None:
    what = seen(of(2, 105), answers=[(1, 105, 0)], log=made)
    assert found(what).seen == (
        "105 of 210 requests failed: 105 x status 500; all 105 to interpreter2, none of 105 to "
        "interpreter1; each process answered only from the interpreter that it had made first "
        "(interpreter1)"
    )


def test_the_order_is_not_said_where_the_log_does_not_show_it() -> None:
    assert "had made first" not in found(seen(of(2, 105), answers=[(1, 105, 0)])).seen
    other_way = seen(of(2, 105), answers=[(1, 105, 0)], log=reversed(MADE))
    assert "had made first" not in found(other_way).seen
    both = seen(of(2, 50), of(1, 50), answers=[(1, 50, 0)], log=MADE)
    assert "; 50 of 100 to interpreter1, all 50 to interpreter2; each process" in found(both).seen


def test_an_interpreter_that_fails_once_another_one_was_used() -> None:
    what = seen(of(1, 30, first=15, own=15), of(2, 90, first=15), answers=[(1, 15, 0)])
    assert found(what).seen.endswith(
        "interpreter1 was right in its first 15 answers, and failed only after interpreter2 had "
        "been used for the first time"
    )


def test_an_interpreter_that_fails_from_its_first_request_on() -> None:
    what = seen(of(2, 105, first=15), answers=[(1, 105, 0)])
    assert found(what).seen.endswith(
        "interpreter2 failed from its first request on, after interpreter1 had answered for the "
        "first time"
    )


@pytest.mark.parametrize(
    ("failures", "answers"),
    [
        ((of(2, 5),), [(1, 50, 0), (2, 50, 1)]),
        ((of(2, 5, first=40, own=20),), [(1, 50, 0), (2, 50, 1)]),
        ((of(1, 5, first=0), of(2, 5, first=0)), []),
    ],
)
def test_no_order_is_said_that_the_record_does_not_have(
    failures: tuple[Failure, ...], answers: list[tuple[int, int, int]]
) -> None:
    assert "first" not in found(seen(*failures, answers=answers)).seen


def test_the_first_interpreter_is_another_one_in_each_process() -> None:
    """As in embedded mode, where a request makes the interpreter that it needs."""
    other = [
        LogLine(phase="warm-up", text=one.text.replace(f"[pid {WORKER}]", "[pid 201]"))
        for one in reversed(MADE)
    ]
    what = msgspec.structs.replace(
        seen(of(1, 50), of(2, 50), log=(*MADE, *other)),
        identities=(identity(1, answers=50, first=0), identity(2, 201, answers=50, first=1)),
        workers=(4, 1),
    )
    assert found(what).seen.endswith(
        "50 of 100 to interpreter1, 50 of 100 to interpreter2; each process answered only from the "
        "interpreter that it had made first (interpreter1, interpreter2)"
    )


def test_several_processes_have_no_common_order() -> None:
    what = seen(of(2, 105, first=15), answers=[(1, 105, 0)])
    assert "first" not in found(msgspec.structs.replace(what, workers=(4, 1))).seen


def test_an_interpreter_that_got_no_request_is_not_named() -> None:
    assert found(seen(of(1, 16))).seen.endswith("16 x status 500; all 16 to interpreter1")


def test_one_interpreter_alone_is_not_named() -> None:
    what = seen(of(1, 105), answers=[(1, 105, 0)])
    assert found(msgspec.structs.replace(what, urls=URLS[:1])).seen == (
        "105 of 210 requests failed: 105 x status 500"
    )


def test_requests_that_hang_name_their_interpreter() -> None:
    hung = of(2, 15, kind="timeout", status=None, error="no answer within 10 seconds")
    what = seen(hung, answers=[(1, 105, 0)], log=MADE)
    assert (
        "all 15 to interpreter2, none of 105 to interpreter1; each process answered only from the "
        "interpreter that it had made first (interpreter1)" in found(what, "hang").seen
    )


def test_the_exception_of_a_failed_request_is_the_evidence_and_not_apaches_page() -> None:
    log = (
        *written(REFUSED, tid=7, url="/interpreter2", phase="warm-up"),
        *written(raised("KeyError: 'other'"), tid=8, url="/interpreter1", phase="serial"),
    )
    one = found(seen(of(2, 105), answers=[(1, 105, 0)], log=log))
    assert one.evidence == (
        f"[warm-up] {URLS[1]}: 500 Internal Server Error (105 x) {REFUSED[-1]}",
        "\n".join(REFUSED),
    )
    assert f"raised: {REFUSED[-1]}, raised in f (a.py:3)" in one.seen
    assert "<!DOCTYPE" not in str(one)


def test_the_page_of_apache_says_nothing_and_that_of_an_application_does() -> None:
    one = found(seen(of(2, 5), answers=[(1, 5, 0)]))
    assert one.evidence == (f"[warm-up] {URLS[1]}: 500 Internal Server Error (5 x)",)
    own = found(seen(failure(count=1, body="the database is away"), answers=[(1, 5, 0)]))
    assert own.evidence[0].endswith("(1 x) the database is away")


def test_an_exception_and_the_requests_that_it_failed_are_one_cause() -> None:
    """Of Flask, too, which logs the traceback itself: mod_wsgi does not announce it."""
    log = written(
        raised("ValueError: x", frame("/srv/a.py")), tid=7, url="/interpreter2", phase="warm-up"
    )
    cell = record(seen(of(2, 105), answers=[(1, 105, 0)], log=log))
    assert [
        (one.check, [other.check for other in one.consequences]) for one in causes(cell, RULES)
    ][-1] == (
        "error-log",
        ["responses"],
    )


def test_the_error_log_says_which_interpreters_its_tracebacks_are_of() -> None:
    log = written(REFUSED, tid=7, url="/interpreter2", phase="warm-up")
    (first, *_) = [
        one for one in judge(CELL, seen(log=log), RULES).findings if one.check == "error-log"
    ]
    assert first.seen.endswith("all in requests to interpreter2, and none to interpreter1")
    both = (*log, *written(REFUSED, tid=8, url="/interpreter1", phase="warm-up"))
    (first, *_) = [
        one for one in judge(CELL, seen(log=both), RULES).findings if one.check == "error-log"
    ]
    assert "all in requests" not in first.seen


def test_a_recorded_import_that_fails_shows_its_exception() -> None:
    name = (
        "py3.11-mw5.0.2-pymongo4.20.0-standalone-daemon-prefork-shared-gil-fail-to-import-e42fad47"
    )
    cell = recorded(name)
    assert cell.observed is not None
    one = found(cell.observed)
    assert "ImportError: planted by wsgiproof: fail-to-import, raised in at_load" in one.seen
    assert one.evidence[-1].splitlines()[-1] == "ImportError: planted by wsgiproof: fail-to-import"


def test_a_missing_package_is_no_fault_of_the_subject() -> None:
    texts = raised("ModuleNotFoundError: No module named 'flask'", frame("/run/app/own/shop.py"))
    log = written(texts, tid=7, url="/interpreter1", phase="warm-up")
    cell = record(seen(of(1, 50), of(2, 50), log=log))
    cause = next(one for one in causes(cell, RULES) if one.check == "error-log")
    assert cause.known is not None
    assert cause.known.id == "missing-module"
    assert "no fault of mod_wsgi" in cause.meaning
    assert "--requirement" in cause.action
    assert [one.check for one in cause.consequences] == ["responses"]
