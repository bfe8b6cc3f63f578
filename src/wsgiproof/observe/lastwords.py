"""What interpreters leave behind in files: who they are, and their stacks as they die."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from wsgiproof.observe.answers import Seen, read_answer
from wsgiproof.records import Identity

_LONGEST = 20_000
"""Characters kept of one process's last words."""


def read_last_words(evidence: Path) -> tuple[str, ...]:
    """One text for each process that left one, headed by its pid."""
    texts = []
    for path in sorted(evidence.glob("fatal-*.txt")):
        text = path.read_text(errors="replace").strip()
        if text:
            texts.append(f"pid {path.stem.removeprefix('fatal-')}: {text[:_LONGEST]}")
    return tuple(texts)


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
