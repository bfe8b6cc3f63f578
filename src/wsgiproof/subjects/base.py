"""What a subject is: the base class of everything that wsgiproof can test.

A subject is a folder below ``subjects/`` with a subclass of :class:`Subject`, the code that runs
inside Apache, and one line in :mod:`wsgiproof.subjects.registry`. The base class is a subject that
needs nothing: no versions, no database, no checks of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wsgiproof.judge.finding import Claim
from wsgiproof.records.cell import Cell
from wsgiproof.subjects.controls import Control, by_name


class Subject:
    """Something to test. A subclass overrides what differs."""

    name: str
    """In configuration, records and ids of cells, such as ``sqlite3``."""
    title: str
    """For people, such as ``SQLite``."""
    agent: Path
    """The directory of its modules that run inside Apache: there it is the package
    ``wsgiproof_agent.subject``. :mod:`wsgiproof.agent` says what it has to define."""
    identity: tuple[str, ...] = ()
    """The fields that its agent reports about each interpreter."""
    controls: tuple[Control, ...] = ()
    """The planted faults that only it can have, and their negative controls."""

    def settings(self, cell: Cell, connection: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the settings for its workload. ``connection`` is how to reach its backend."""
        return {}

    def for_app(self, connection: Mapping[str, str]) -> Mapping[str, str]:
        """Return how a user's application reaches the backend. It finds the value ``database`` as
        ``wsgiproof.database`` in its environ, and as ``WSGIPROOF_DATABASE`` in os.environ."""
        return connection

    def claims(self, cell: Cell, identity: Mapping[str, Any]) -> Iterable[Claim]:
        """Yield what has to be true of an interpreter that reported ``identity``."""
        return ()

    def every_control(self) -> dict[str, Control]:
        """Return every control that can be run with it, by name."""
        return by_name(self.controls)
