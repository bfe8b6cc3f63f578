"""Reads the files that interpreters leave: identities, fatal traces, and leftover threads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

import msgspec

from wsgiproof.observe.answers import InterpreterAnswers, read_report
from wsgiproof.observe.evidence import Evidence
from wsgiproof.records.observed import EvidenceKind, Identity, LeftoverThreads

T = TypeVar("T")

_LONGEST = 20_000
"""Characters that are kept of one process's fatal trace."""
_MOST_TRACES = 8 << 20
"""Bytes of all fatal traces."""
_LONGEST_NOTE = 1 << 18
"""Bytes of one process's notes: about 300 for each interpreter's threads, 700 for its identity."""
_MOST_NOTES = 16 << 20
"""Bytes of all notes."""
_MOST_LEFTOVER = 200
"""Interpreters whose leftover threads are recorded."""
_MOST_LOADED = 10_000
"""Interpreters that loaded the application and never answered."""


def read_fatal_traces(evidence: Evidence) -> tuple[str, ...]:
    """Return one text for each process that left a fatal trace, headed by its pid."""
    texts = []
    for pid, content in evidence.files("fatal", 4 * _LONGEST, _MOST_TRACES):
        text = content.decode(errors="replace").strip().strip("\0")
        if text:
            texts.append(f"pid {pid}: {text[:_LONGEST]}")
    return tuple(texts)


class _ThreadNote(msgspec.Struct, frozen=True):
    threads: tuple[str, ...]
    application_group: str | None


_read_thread_note = msgspec.json.Decoder(_ThreadNote).decode


def read_leftover_threads(evidence: Evidence) -> tuple[LeftoverThreads, ...]:
    """Return the threads that each interpreter left running.

    Interpreters that left none, or that died before they could write them, are not among them.
    """
    return tuple(islice(_leftover_threads(evidence), _MOST_LEFTOVER))


def _leftover_threads(evidence: Evidence) -> Iterator[LeftoverThreads]:
    for pid, note in _notes(evidence, "leftover", _read_thread_note):
        yield LeftoverThreads(
            pid=pid, application_group=note.application_group or "", threads=note.threads
        )


def read_loaded(
    evidence: Evidence, identities: Sequence[Identity], subject: Collection[str]
) -> tuple[Identity, ...]:
    """Return the interpreters that loaded the application and are not among ``identities``.

    ``identities`` are those that have answered, and ``subject`` are the fields that the subject has
    to report of itself. Files that must be there and are gone are noted in the evidence.
    """
    answered = {one.token for one in identities}
    loaded: dict[tuple[int, str], Identity] = {}
    for pid, report in _notes(evidence, "identity", partial(read_report, subject=subject)):
        if report.pid == pid and len(loaded) < _MOST_LOADED:
            loaded[pid, report.token] = InterpreterAnswers("", report, 0).identity()
    evidence.expect(identities, loaded)
    return tuple(one for (_, token), one in loaded.items() if token not in answered)


def _notes(
    evidence: Evidence, kind: EvidenceKind, read: Callable[[bytes], T]
) -> Iterator[tuple[int, T]]:
    """Yield each complete line that a process wrote, with its pid."""
    for pid, content in evidence.files(kind, _LONGEST_NOTE, _MOST_NOTES):
        for line in content.splitlines():
            try:
                yield pid, read(line)
            except (msgspec.MsgspecError, RecursionError):  # it died while it wrote; or is hostile
                continue
