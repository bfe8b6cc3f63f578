"""What interpreters leave behind in files: who they are, their stacks as they die, and the threads
that they leave."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from wsgiproof.observe.answers import Seen, read_answer
from wsgiproof.records import Identity, Outlived

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
    for path in sorted(evidence.glob("outlived-*.txt")):
        for line in path.read_bytes().splitlines():
            try:
                told = _read_told(line)
            except msgspec.MsgspecError:  # it died while it wrote
                continue
            yield Outlived(
                pid=int(path.stem.removeprefix("outlived-")),
                application_group=told.application_group or "",
                threads=told.threads,
            )


def read_loaded(evidence: Path, answered: Collection[str]) -> Iterator[Identity]:
    """Who loaded the application, but for the interpreters (tokens) that have ``answered``."""
    for path in sorted(evidence.glob("identity-*.txt")):
        for line in path.read_bytes().splitlines():
            try:
                answer = read_answer(line)
            except msgspec.MsgspecError:  # it died while it wrote
                continue
            if answer.interpreter not in answered:
                yield Seen("", answer, 0).identity()
