"""What processes leave behind as they die."""

from __future__ import annotations

from pathlib import Path

from wsgiproof.observe.evidence import Evidence
from wsgiproof.observe.fatal_traces import read_fatal_traces, read_leftover_threads
from wsgiproof.records.observed import LeftoverThreads

STACK = "Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n"


def test_one_text_for_each_process_headed_by_its_pid(tmp_path: Path) -> None:
    (tmp_path / "fatal-200.txt").write_text(STACK)
    (tmp_path / "fatal-300.txt").write_text("Fatal Python error: Aborted\n")
    assert read_fatal_traces(Evidence(tmp_path)) == (
        f"pid 200: {STACK.strip()}",
        "pid 300: Fatal Python error: Aborted",
    )


def test_who_died_in_silence_has_none(tmp_path: Path) -> None:
    """The file is opened when the process starts, and stays empty if all goes well."""
    (tmp_path / "fatal-200.txt").touch()
    (tmp_path / "fatal-201.txt").write_text(" \n")
    (tmp_path / "notes.txt").write_text("nobody's last words")
    assert read_fatal_traces(Evidence(tmp_path)) == ()


def test_a_directory_that_is_gone_has_none(tmp_path: Path) -> None:
    assert read_fatal_traces(Evidence(tmp_path / "gone")) == ()


def test_words_without_end_are_cut(tmp_path: Path) -> None:
    (tmp_path / "fatal-200.txt").write_text("x" * 1_000_000)
    (text,) = read_fatal_traces(Evidence(tmp_path))
    assert len(text) == len("pid 200: ") + 20_000


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "fatal-200.txt").write_bytes(b"a\xffb")
    assert read_fatal_traces(Evidence(tmp_path)) == ("pid 200: a\N{REPLACEMENT CHARACTER}b",)


def test_each_interpreter_tells_the_threads_that_it_leaves(tmp_path: Path) -> None:
    (tmp_path / "leftover-200.txt").write_text(
        '{"application_group": "interpreter1", "threads": ["a", "b"]}\n'
        '{"application_group": null, "threads": ["c"]}\n'
        '{"application_group": "inter'
    )
    assert read_leftover_threads(Evidence(tmp_path)) == (
        LeftoverThreads(pid=200, application_group="interpreter1", threads=("a", "b")),
        LeftoverThreads(pid=200, application_group="", threads=("c",)),
    )


def test_after_many_restarts_not_all_of_them_are_kept(tmp_path: Path) -> None:
    line = '{"application_group": "interpreter1", "threads": ["a"]}\n'
    (tmp_path / "leftover-200.txt").write_text(1000 * line)
    assert len(read_leftover_threads(Evidence(tmp_path))) == 200
