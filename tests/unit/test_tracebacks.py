"""Tracebacks in error logs: whose they are, where they end, and what raised them."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.unit.factories import WORKER
from wsgiproof.judge.explain.lines import parse
from wsgiproof.judge.tracebacks import CHAINED, Traceback, different, of_request, tracebacks
from wsgiproof.records.observed import LogLine

HEAD = "Traceback (most recent call last):"
SITE = "/env/lib/python3.12/site-packages"


def frame(file: str, line: int = 1, function: str = "f") -> tuple[str, str]:
    return f'  File "{file}", line {line}, in {function}', "    code()"


def raised(text: str, *frames: tuple[str, str]) -> tuple[str, ...]:
    return (HEAD, *(part for one in frames for part in one), text)


def written(
    texts: Iterable[str], *, tid: int = 0, url: str = "", phase: str = "parallel"
) -> tuple[LogLine, ...]:
    """Lines of one thread, as the ErrorLogFormat of a cell writes them."""
    thread = f":tid {tid}" if tid else ""
    prefix = f"[2026-11-23 05:43:59.987537] [wsgi:error] [pid {WORKER}{thread}] "
    request = f"[{url}] " if url else ""
    return tuple(LogLine(phase=phase, text=prefix + request + text) for text in texts)


def found(*lines: LogLine) -> list[Traceback]:
    return tracebacks(parse(lines))


def only(*texts: str) -> Traceback:
    (one,) = found(*written(texts))
    return one


def test_a_deep_traceback_keeps_its_exception_and_its_deepest_frames() -> None:
    frames = [frame("/srv/app.py", number, f"level{number}") for number in range(100)]
    one = only(*raised("ValueError: deep", *frames))
    assert one.exception == "ValueError: deep"
    assert one.summary == "ValueError: deep, raised in level99 (app.py:99)"
    lines = one.text.splitlines()
    assert lines[0] == HEAD
    assert lines[-3:] == [*frames[-1], "ValueError: deep"]
    assert "  ... 172 lines ..." in lines
    assert len(lines) == 31


def test_the_deepest_frame_of_the_application_is_named_beside_that_of_a_package() -> None:
    one = only(
        *raised(
            "sqlalchemy.exc.OperationalError: no",
            frame("/run/app/wsgiproof_agent/user_app.py", 40, "call"),
            frame(f"{SITE}/flask/app.py", 2000, "wsgi_app"),
            frame("/srv/shop/views.py", 12, "cart"),
            frame(f"{SITE}/sqlalchemy/engine.py", 99, "execute"),
            frame("/usr/lib/python3.12/socket.py", 300, "connect"),
        )
    )
    assert one.place == "in cart (views.py:12), raised in connect (socket.py:300)"


def test_without_a_frame_of_the_application_the_deepest_of_all_is_named() -> None:
    one = only(*raised("KeyError: 1", frame("/usr/lib/python3.12/threading.py", 7, "run")))
    assert one.place == "raised in run (threading.py:7)"


def test_a_planted_fault_counts_as_the_application() -> None:
    planted = frame("/run/app/wsgiproof_agent/faults_answers.py", 9, "act")
    inside = frame("/run/app/wsgiproof_agent/responder.py", 1, "__call__")
    assert (
        only(*raised("ValueError: x", inside, planted)).place
        == "raised in act (faults_answers.py:9)"
    )


def test_the_mixed_lines_of_two_threads_are_two_tracebacks() -> None:
    one = written(raised("ValueError: one", frame("/srv/a.py")), tid=11, url="/interpreter1")
    two = written(raised("KeyError: 'two'", frame("/srv/b.py")), tid=12, url="/interpreter2?x=1")
    mixed = [line for pair in zip(one, two, strict=True) for line in pair]
    assert [(each.exception, each.url) for each in found(*mixed)] == [
        ("ValueError: one", "/interpreter1"),
        ("KeyError: 'two'", "/interpreter2"),
    ]


def test_mixed_lines_that_name_no_thread_are_still_counted() -> None:
    one, two = (written(raised(text, frame("/srv/a.py"))) for text in ("ValueError: 1", "E: 2"))
    mixed = [line for pair in zip(one, two, strict=True) for line in pair]
    assert len(found(*mixed)) == 2


@pytest.mark.parametrize("between", CHAINED)
def test_an_exception_and_its_cause_are_one(between: str) -> None:
    one = only(
        *raised("KeyError: 'a'", frame("/srv/a.py", 1, "inner")),
        "",
        between,
        "",
        *raised("ValueError: b", frame("/srv/a.py", 9, "outer")),
    )
    assert one.summary == "ValueError: b, raised in outer (a.py:9)"
    assert "KeyError: 'a'" in one.text
    assert len(one.begins) == 2


def test_a_message_of_several_lines_does_not_break_the_chain() -> None:
    """NumPy's advice is many lines long."""
    one = only(
        *raised("ImportError: cannot load module more than once per process", frame("/n.py")),
        "",
        CHAINED[0],
        "",
        *raised("ImportError: ", frame("/n.py", 2)),
        "IMPORTANT: PLEASE READ THIS FOR ADVICE ON HOW TO SOLVE THIS ISSUE!",
        "  * Python 3.12",
        CHAINED[0],
        *raised("ImportError: Error importing numpy", frame("/n.py", 3)),
    )
    assert one.exception == "ImportError: Error importing numpy"
    assert "more than once per process" in one.text


def test_a_group_of_exceptions_ends_with_its_own_line() -> None:
    one = only(
        "  + Exception Group Traceback (most recent call last):",
        '  |   File "/srv/a.py", line 3, in f',
        "  |     code()",
        "  | ExceptionGroup: several (2 sub-exceptions)",
        "  +-+---------------- 1 ----------------",
    )
    assert one.exception == "ExceptionGroup: several (2 sub-exceptions)"
    assert one.place == "raised in f (a.py:3)"


def test_the_announcement_of_mod_wsgi_6_is_part_of_the_exception() -> None:
    announced = "WSGI0174: ValueError exception raised processing WSGI script '/srv/app.py'"
    with_frames = only(announced, *raised("ValueError: x", frame("/srv/app.py")))
    assert (with_frames.at, with_frames.begins) == (0, (1,))
    alone = only(announced, "ValueError: x")
    assert (alone.exception, alone.begins) == ("ValueError: x", ())
    assert found(*written([announced, "  an indented line"])) == []


def test_the_announcement_of_mod_wsgi_before_6_is_part_of_the_exception() -> None:
    announced = "mod_wsgi (pid=200): Exception occurred processing WSGI script '/srv/app.py'."
    with_frames = only(announced, *raised("ValueError: x", frame("/srv/app.py")))
    assert (with_frames.at, with_frames.begins) == (0, (1,))
    alone = only(
        announced, "TypeError: sequence of byte string values expected, value of type None"
    )
    assert alone.exception.startswith("TypeError: sequence")
    assert found(*written([announced, "  an indented line"])) == []


def test_a_traceback_that_breaks_off_is_one() -> None:
    assert only(HEAD, *frame("/srv/a.py")).exception == HEAD


def test_exceptions_that_differ_in_their_message_alone_are_one_kind() -> None:
    texts = ("KeyError: 1", "KeyError: 2", "ValueError: 3", "KeyError: 4")
    several = found(*(line for text in texts for line in written(raised(text, frame("/a.py")))))
    kinds = different(several)
    assert [[one.exception for one in alike] for alike in kinds] == [
        ["KeyError: 1", "KeyError: 2", "KeyError: 4"],
        ["ValueError: 3"],
    ]


def test_exceptions_belong_to_requests_of_their_phase_and_url() -> None:
    here = written(raised("E: 1", frame("/a.py")), tid=1, url="/interpreter2", phase="serial")
    other = written(raised("E: 2", frame("/a.py")), tid=2, url="/interpreter1", phase="serial")
    early = written(raised("E: 3", frame("/a.py")), tid=3, url="/interpreter2", phase="warm-up")
    every = found(*here, *other, *early)
    assert [one.exception for one in of_request(every, "serial", "/interpreter2")] == ["E: 1"]
    old = found(*written(raised("E: 1", frame("/a.py")), phase="serial"))
    assert of_request(old, "serial", "/interpreter2") == old, "the log names no URL"
    assert of_request(old, "warm-up", "/interpreter2") == []
