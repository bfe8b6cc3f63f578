"""Following an error log."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsgiproof.observe import log as module
from wsgiproof.observe.log import LogFollower


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "error.log"
    path.touch()
    return path


def add(log: Path, data: bytes) -> None:
    with log.open("ab") as file:
        file.write(data)


def told(follower: LogFollower) -> list[tuple[str, str]]:
    return [(line.phase, line.text) for line in follower.lines]


def test_each_line_belongs_to_the_phase_in_which_it_was_read(log: Path) -> None:
    follower = LogFollower(log)
    add(log, b"one\ntwo\n")
    follower.read("warm-up")
    follower.read("parallel")
    add(log, b"three\n")
    follower.read("serial")
    assert told(follower) == [("warm-up", "one"), ("warm-up", "two"), ("serial", "three")]


def test_a_line_that_is_not_ended_waits_for_its_rest(log: Path) -> None:
    follower = LogFollower(log)
    add(log, b"whole\nha")
    follower.read("warm-up")
    assert told(follower) == [("warm-up", "whole")]
    add(log, b"lf\n")
    follower.read("parallel")
    assert told(follower)[1:] == [("parallel", "half")]


def test_a_character_cut_in_two_is_read_whole(log: Path) -> None:
    follower = LogFollower(log)
    first, second = "ü\n".encode()[:1], "ü\n".encode()[1:]
    add(log, first)
    follower.read("warm-up")
    add(log, second)
    follower.read("parallel")
    assert told(follower) == [("parallel", "ü")]


def test_the_last_line_counts_even_if_nobody_ended_it(log: Path) -> None:
    """A process that dies may not get so far as to end its line."""
    follower = LogFollower(log)
    add(log, b"one\n")
    follower.read("serial")
    add(log, b"two\nFatal Python error: Segm")
    follower.finish("stop")
    assert told(follower) == [
        ("serial", "one"),
        ("stop", "two"),
        ("stop", "Fatal Python error: Segm"),
    ]


def test_bytes_that_are_no_text_are_replaced(log: Path) -> None:
    follower = LogFollower(log)
    add(log, b"a\xffb\0c\n")
    follower.read("serial")
    assert told(follower) == [("serial", "a\N{REPLACEMENT CHARACTER}b\0c")]


def test_a_line_ends_at_a_newline_and_nowhere_else(log: Path) -> None:
    """The characters that str.splitlines() takes for line ends are text to Apache."""
    follower = LogFollower(log)
    text = "a\x0bb\x0cc\x1cd\x85e\u2028f"
    add(log, f"{text}\n".encode())
    follower.read("serial")
    assert told(follower) == [("serial", text)]


def test_a_long_line_is_cut(log: Path) -> None:
    follower = LogFollower(log)
    add(log, b"x" * 1_000_000 + b"\nnext\n")
    follower.read("serial")
    assert [len(line.text) for line in follower.lines] == [2000, 4]
    assert follower.dropped == 0


def test_lines_beyond_the_bound_are_counted_and_not_kept(log: Path) -> None:
    follower = LogFollower(log)
    line = b"x" * 1999 + b"\n"
    add(log, line * 3000)
    follower.read("parallel")
    assert follower.dropped == 0
    add(log, line * 3000)
    follower.read("serial")
    add(log, b"last")
    follower.finish("stop")
    assert len(follower.lines) == 4000
    assert follower.dropped == 2001


def test_an_empty_log_has_no_lines(log: Path) -> None:
    follower = LogFollower(log)
    follower.finish("stop")
    assert follower.lines == []


# What a process of Apache's may do to it, which has it open


def test_a_log_of_thirty_gigabytes_without_a_line_is_bounded_and_noted(log: Path) -> None:
    follower = LogFollower(log)
    add(log, b"one\n")
    os.truncate(log, 30 << 30)
    add(log, b"\ntwo\n")
    follower.read("serial")
    follower.finish("stop")
    assert told(follower)[0] == ("serial", "one")
    assert sum(len(line.text) for line in follower.lines) < 10_000
    assert "bytes of the error log were not read" in follower.damaged


def test_a_line_without_end_takes_no_memory(log: Path) -> None:
    follower = LogFollower(log)
    for _ in range(3):
        add(log, b"x" * 5_000_000)
        follower.read("serial")
    assert follower.lines == []
    add(log, b"\nnext\n")
    follower.read("serial")
    assert [len(line.text) for line in follower.lines] == [2000, 4]
    assert follower.damaged == ""


def test_many_empty_lines_are_counted_and_not_kept(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_LINES", 10)
    follower = LogFollower(log)
    add(log, b"\n" * 3_000_000)
    follower.read("serial")
    assert len(follower.lines) == 10
    assert follower.dropped == 3_000_000 - 10


@pytest.mark.parametrize("before", [b"", b"the beginning\n"])
def test_a_log_that_was_cut_is_noted_however_much_came_since(log: Path, before: bytes) -> None:
    """Before the first look as well: nobody knows what stood there."""
    add(log, before or b"the beginning\n")
    follower = LogFollower(log)
    if before:
        follower.read("warm-up")
    os.truncate(log, 0)
    add(log, b"harmless\n" * 100)
    follower.read("serial")
    assert follower.damaged == "the error log was truncated while the server ran"
    assert follower.lines[-1].text == "harmless"


@pytest.mark.parametrize("place", ["gone", "a link", "a FIFO", "a directory"])
def test_a_log_that_is_gone_or_replaced_is_noted_and_not_waited_for(log: Path, place: str) -> None:
    follower = LogFollower(log)
    log.unlink()
    if place == "a link":
        log.symlink_to("/dev/zero")
    elif place == "a FIFO":
        os.mkfifo(log)
    elif place == "a directory":
        log.mkdir()
    follower.read("serial")
    follower.finish("stop")
    assert follower.lines == []
    assert follower.damaged.startswith("the error log can't be read: ")
