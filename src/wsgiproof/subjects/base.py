"""What a subject is: the base class of everything that wsgiproof can test.

A subject is a folder below ``subjects/`` with a subclass of :class:`Subject`, the code that runs
inside Apache, and one line in :mod:`wsgiproof.subjects.registry`. The base class is a subject that
needs nothing: no versions, no database, no checks of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsgiproof.records.cell import Cell
from wsgiproof.subjects.axis import Axis
from wsgiproof.subjects.backend import Asked, Backend, Backends, Needs, Place
from wsgiproof.subjects.controls import Control, by_name

if TYPE_CHECKING:  # every command reads the axes of a subject, and few need its judge
    from wsgiproof.judge.rules import Rules
    from wsgiproof.process.account import Account


class Subject:
    """Something to test. A subclass overrides what differs."""

    name: str
    """In configuration, records and ids of cells, such as ``sqlite3``."""
    title: str
    """For people, such as ``SQLite``."""
    agent: Path
    """The directory of its modules that run inside Apache: there it is the package
    ``wsgiproof_agent.subject``. :mod:`wsgiproof.agent` says what it has to define."""
    needed = "backend"
    """What ``wsgiproof doctor`` calls what its backend needs, such as a program."""
    backend_title = "the backend"
    """What is started, for people."""
    axes: tuple[Axis, ...] = ()
    """The axes that it adds to the matrix. No other subject may use their names."""
    build_variables: Mapping[str, str] = {}
    """Environment variables for the build of its packages."""
    found_by_app = ""
    """Where a user's application finds its backend, in a few words for the help of ``--app``."""
    by_default = "one in daemon and one in embedded mode"
    """Its cells if nothing was asked for, for the help of ``run``."""
    examples: Mapping[str, tuple[str, ...]] = {}
    """Examples for the help of commands, by the name of the command."""
    selftest: Mapping[str, str] = {}
    """The values of its axes for the controls: a combination without findings of its own."""
    identity: tuple[str, ...] = ()
    """The fields that its agent reports about each interpreter."""
    controls: tuple[Control, ...] = ()
    """The planted faults that only it can have, and their negative controls."""

    @cached_property
    def rules(self) -> Rules:
        """How it is judged."""
        from wsgiproof.judge.rules import Rules

        return Rules(title=self.title)

    def needs(self, asked: Asked) -> Needs:
        """Return what the backend of one cell takes of the machine, at most."""
        return Needs()

    def extras(self, values: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
        """Return the extras of its packages that a combination of its axes installs."""
        return {}

    def find_backends(self, asked: Asked, account: Account | None) -> Backends:
        """Find what the cells need, before anything is started.

        Raises a :class:`wsgiproof.errors.WsgiproofError` if something is missing.
        """
        return Backends()

    def found_here(self, backend: Any, account: Account) -> Any:
        """Return what ``backend``, which :meth:`Backends.of` returned on another machine, is on
        this one.

        Raises :class:`wsgiproof.errors.PrerequisiteMissing` if this machine lacks it.
        """
        return backend

    @contextmanager
    def start(self, cell: Cell, backend: Any, place: Place) -> Iterator[Backend]:
        """Start or reach the backend of a cell, and end it with the context.

        ``backend`` is what :meth:`Backends.of` returned.
        """
        yield Backend()

    def by_hand(
        self, cell: Cell, backend: Any, name: str
    ) -> tuple[Mapping[str, str], tuple[str, ...]]:
        """Return how the subject of a server that is started by hand connects to a backend, and
        notes on it for the user. Arguments are as for :meth:`start` and :meth:`Backend.prepare`."""
        return {}, ()

    def shared_by(self, cell: Cell) -> object:
        """Return a value that is the same for all cells that can use one backend in turn."""
        return None

    def settings(self, cell: Cell, connection: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the settings for its workload. ``connection`` is how to reach its backend."""
        return {}

    def for_app(self, connection: Mapping[str, str]) -> Mapping[str, str]:
        """Return how a user's application reaches the backend. It finds the value ``database`` as
        ``wsgiproof.database`` in its environ, and as ``WSGIPROOF_DATABASE`` in os.environ."""
        return connection

    def every_control(self) -> dict[str, Control]:
        """Return every control that can be run with it, by name."""
        return by_name(self.controls)
