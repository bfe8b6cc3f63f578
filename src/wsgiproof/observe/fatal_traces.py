"""What interpreters leave behind in files: who they are, their stacks as they die, and the threads
that they leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import msgspec

from wsgiproof.observe.answers import Seen, read_answer
from wsgiproof.observe.evidence import Evidence
from wsgiproof.records import EvidenceKind, Identity, LeftoverThreads

T = TypeVar("T")

_LONGEST = 20_000
"""Characters kept of one process's last words."""
_MOST_WORDS = 8 << 20
"""Bytes of all last words."""
_LONGEST_NOTE = 1 << 18
"""Bytes of what one process has noted: some 300 for each interpreter's threads, 700 for its
identity."""
_MOST_NOTES = 16 << 20
"""Bytes of what all have noted."""
_MOST_OUTLIVED = 200
"""Interpreters whose threads are told."""
_MOST_LOADED = 10_000
"""Interpreters that loaded the application and never answered."""


def read_fatal_traces(evidence: Evidence) -> tuple[str, ...]:
    """One text for each process that left one, headed by its pid."""
    texts = []
    for pid, content in evidence.files("fatal", 4 * _LONGEST, _MOST_WORDS):
        text = content.decode(errors="replace").strip().strip("\0")
        if text:
            texts.append(f"pid {pid}: {text[:_LONGEST]}")
    return tuple(texts)


class _Told(msgspec.Struct, frozen=True):
    threads: tuple[str, ...]
    application_group: str | None


_read_told = msgspec.json.Decoder(_Told).decode


def read_leftover_threads(evidence: Evidence) -> tuple[LeftoverThreads, ...]:
    """The threads that each interpreter left running; none of one that left none, or that died
    before it could tell."""
    return tuple(islice(_leftover_threads(evidence), _MOST_OUTLIVED))


def _leftover_threads(evidence: Evidence) -> Iterator[LeftoverThreads]:
    for pid, told in _notes(evidence, "leftover", _read_told):
        yield LeftoverThreads(
            pid=pid, application_group=told.application_group or "", threads=told.threads
        )


def read_loaded(evidence: Evidence, identities: Sequence[Identity]) -> tuple[Identity, ...]:
    """Who loaded the application, but for those that have answered, whose ``identities`` are known.

    What these must have left and have not is noted with the evidence.
    """
    answered = {one.token for one in identities}
    loaded: dict[tuple[int, str], Identity] = {}
    for pid, answer in _notes(evidence, "identity", read_answer):
        if answer.pid == pid and len(loaded) < _MOST_LOADED:
            loaded[pid, answer.interpreter] = Seen("", answer, 0).identity()
    evidence.expect(identities, loaded)
    return tuple(one for (_, token), one in loaded.items() if token not in answered)


def _notes(
    evidence: Evidence, kind: EvidenceKind, read: Callable[[bytes], T]
) -> Iterator[tuple[int, T]]:
    """Each line that a process has noted, with its pid; none that is not whole."""
    for pid, content in evidence.files(kind, _LONGEST_NOTE, _MOST_NOTES):
        for line in content.splitlines():
            try:
                yield pid, read(line)
            except (msgspec.MsgspecError, RecursionError):  # it died while it wrote; or is hostile
                continue
