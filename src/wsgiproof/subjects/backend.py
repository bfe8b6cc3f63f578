"""What a subject talks to, such as a database: found before a run, and then a running one.

The base classes are those of a subject that talks to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import msgspec

from wsgiproof.records.cell import AxisValue, Cell


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asked for of the axes."""

    values: Mapping[str, tuple[str, ...]]
    """By axis."""
    names: Mapping[str, Mapping[str, str]]
    """Names of values, by the key of their table."""


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What the backend of one cell takes of the machine."""

    tasks: int = 0
    """Processes and threads."""
    scratch: int = 0
    """Bytes in the temporary directory."""


class Backends:
    """The backends that a run may use, as found before it starts. The base class: it needs none."""

    found = "none is needed"
    """What was found, in one line."""
    version = ""
    """The version of the one that is started, if there is just one."""

    def resolve(self) -> None:
        """Ask the existing ones what they are.

        Raises a :class:`wsgiproof.errors.WsgiproofError` if one does not answer.
        """

    def why_not(self, values: Mapping[str, str], versions: Mapping[str, str], control: str) -> str:
        """Return why a combination of the subject's axes is no cell; empty if it is one.

        ``values`` are those asked for and ``versions`` the exact ones, by axis; ``control`` is the
        name of a planted fault, or empty.
        """
        return ""

    def why_no_faults(self, values: Mapping[str, str]) -> str:
        """Return why a combination can't have the phase ``failover``; empty if it can."""
        return "the phase failover needs a deployment"

    def value(self, axis: str, values: Mapping[str, str]) -> AxisValue:
        """Return the value of an axis without a package, as a cell has it."""
        return AxisValue(axis=axis, value=values[axis], label=values[axis])

    def of(self, cell: Cell) -> object:
        """Return what :meth:`Subject.start` starts for a cell, a value that can be sent to another
        process; None if it needs nothing."""
        return None

    def rerun(self, axis: str, cell: Cell) -> str:
        """Return the value of an option that gives the same cell again; empty to leave it out."""
        return cell.value(axis)


class Place(Protocol):
    """Where a backend keeps what it needs, until it ends."""

    def private(self) -> Path:
        """Return a new directory, which is removed afterwards; no other user may enter it."""

    def shared(self) -> Path:
        """Return a new directory, which is removed afterwards and belongs to Apache's user."""

    def logs(self, name: str) -> Path:
        """Return a new directory of this name in the output of the run."""

    def port(self) -> int:
        """Return a port on loopback that nothing listens on now."""


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


class Backend:
    """What the subject talks to, such as a database. The base class stands for none."""

    title = ""
    """What it is, such as ``PostgreSQL 16.2``; empty if there is none."""
    owned = True
    """Whether wsgiproof started it, so that it has no other clients."""
    healthy = True
    """False from when a fault is injected until it is restored."""

    @property
    def ports(self) -> frozenset[int]:
        """The ports on loopback that it listens on."""
        return frozenset()

    def prepare(self, name: str, *, for_app: bool = False) -> None:
        """Prepare it for a subject that is known by ``name`` in it; ``for_app`` is true for a
        user's application, which may use all of it.

        Raises :class:`wsgiproof.errors.ServiceFailed` if that fails.
        """

    def connection(self, cell: Cell, name: str) -> Mapping[str, str]:
        """Return how the subject connects to it, by names of the subject's own."""
        return {}

    def shown(self, name: str) -> Mapping[str, str]:
        """Return the same for people, without the credentials of others."""
        return {}

    def counts(self, name: str, sockets: Collection[tuple[int, int]]) -> Mapping[str, int | None]:
        """Return what the subject has in it, by the names of counts; None if nobody could tell.

        ``sockets`` are pairs of local and remote port that the subject's processes were seen to
        own.
        """
        return {}

    def pids(self) -> tuple[int, ...]:
        """Return its living processes that wsgiproof started."""
        return ()

    def trouble(self) -> str:
        """Return in one line what others did to it; empty if nothing."""
        return ""

    def drop(self, name: str) -> None:
        """Remove what belongs to a subject."""

    def faults(self, seconds: float) -> tuple[Fault, ...]:
        """Return the faults that may be injected; lasting ones last ``seconds``."""
        return ()

    def watch(self) -> AbstractContextManager[Watch]:
        """Return a watch on whether there is a primary; only called if there are faults."""
        raise NotImplementedError

    def rotate(self) -> Iterator[None]:
        """Make each member primary in turn, and yield after each.

        Raises :class:`wsgiproof.errors.ServiceFailed` if a member does not become primary.
        """
        yield

    def restore(self) -> None:
        """Undo injected faults. Raises :class:`wsgiproof.errors.ServiceFailed` if that fails."""

    def close(self) -> None:
        """Close wsgiproof's own connections."""
