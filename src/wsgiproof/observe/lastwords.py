"""What interpreters leave behind in files: who they are, their stacks as they die, and the threads
that they leave."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec

from wsgiproof.observe.answers import Seen, read_answer
from wsgiproof.records import Identity, Outlived

T = TypeVar("T")

_LONGEST = 20_000
"""Characters kept of one process's last words."""
_MOST_OUTLIVED = 200
"""Interpreters whose threads are told."""


def read_last_words(evidence: Path) -> tuple[str, ...]:
    """One text for each process that left one, headed by its pid."""
    texts = []
    for path in sorted(evidence.glob("fatal-*.txt")):
        text = path.read_text(errors="replace").strip()
        if text:
            texts.append(f"pid {path.stem.removeprefix('fatal-')}: {text[:_LONGEST]}")
    return tuple(texts)


class _Told(msgspec.Struct, frozen=True):
    threads: tuple[str, ...]
    application_group: str | None


_read_told = msgspec.json.Decoder(_Told).decode


def read_outlived(evidence: Path) -> tuple[Outlived, ...]:
    """The threads that each interpreter left running; none of one that left none, or that died
    before it could tell."""
    return tuple(islice(_outlived(evidence), _MOST_OUTLIVED))


def _outlived(evidence: Path) -> Iterator[Outlived]:
    for pid, told in _notes(evidence, "outlived", _read_told):
        yield Outlived(
            pid=pid, application_group=told.application_group or "", threads=told.threads
        )


def read_loaded(evidence: Path, answered: Collection[str]) -> Iterator[Identity]:
    """Who loaded the application, but for the interpreters (tokens) that have ``answered``."""
    for _, answer in _notes(evidence, "identity", read_answer):
        if answer.interpreter not in answered:
            yield Seen("", answer, 0).identity()


def _notes(evidence: Path, name: str, read: Callable[[bytes], T]) -> Iterator[tuple[int, T]]:
    """Each line that a process has noted under ``name``, with its pid; none that is not whole."""
    for path in sorted(evidence.glob(f"{name}-*.txt")):
        for line in path.read_bytes().splitlines():
            try:
                told = read(line)
            except msgspec.MsgspecError:  # it died while it wrote
                continue
            yield int(path.stem.removeprefix(f"{name}-")), told
