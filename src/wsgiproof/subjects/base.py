"""What a subject is: the base class of everything that wsgiproof can test.

A subject is a folder below ``subjects/`` with a subclass of :class:`Subject`, the code that runs
inside Apache, and one line in :mod:`wsgiproof.subjects.registry`. The base class is a subject that
needs nothing: no versions, no database, no checks of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import msgspec

from wsgiproof.judge.rules import Rules
from wsgiproof.records.cell import Cell


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Something that has to be true of the subject in each interpreter, as reported from inside."""

    what: str
    expected: object
    actual: object
    """None if the interpreter did not report it."""


class Subject:
    """Something to test. A subclass overrides what differs."""

    name: str
    """In configuration, records and ids of cells, such as ``pymongo``."""
    title: str
    """For people, such as ``PyMongo``."""
    agent: Path
    """The directory of its modules that run inside Apache: there it is the package
    ``wsgiproof_agent.subject``. :mod:`wsgiproof.agent.subject` says what it has to define."""
    identity: tuple[str, ...] = ()
    """The fields that its agent reports about each interpreter."""

    @cached_property
    def rules(self) -> Rules:
        """How it is judged."""
        return Rules(title=self.title)

    def settings(self, cell: Cell) -> Mapping[str, Any]:
        """Return the settings for its agent, beside how to connect to its backend."""
        return {}

    def claims(self, cell: Cell, identity: Mapping[str, Any]) -> Iterable[Claim]:
        """Yield what has to be true of an interpreter that reported ``identity``."""
        return ()


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault of a backend, and how to undo it.

    Both may raise :class:`wsgiproof.errors.ServiceFailed`.
    """

    name: str
    begin: Callable[[], None]
    seconds: float
    """How long the fault lasts."""
    end: Callable[[], None]
    takes_primary: bool = True
    """Whether there is no primary for a moment, which may be too short to be seen."""


class Watch(Protocol):
    """Watches whether the backend has a primary: a member that can serve."""

    lost: float | None
    """When there was none for the first time, in CLOCK_MONOTONIC seconds."""
    since: float | None
    """Since when there is one again; None while there is none, or if it was never lost."""
