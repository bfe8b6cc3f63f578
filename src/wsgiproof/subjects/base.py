"""What a subject is: the base classes of everything that wsgiproof can test.

A subject is a folder below ``subjects/`` with a subclass of :class:`Subject`, the code that runs
inside Apache, and one line in :mod:`wsgiproof.subjects.registry`. The base classes are those of a
subject that needs nothing: no versions, no database, no checks of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from wsgiproof.files import place
from wsgiproof.judge.finding import Claim
from wsgiproof.judge.rules import Rules
from wsgiproof.records.cell import AxisValue, Cell, version_label
from wsgiproof.subjects.controls import Control, by_name

if TYPE_CHECKING:
    from wsgiproof.process.account import Account

_PATH_SUFFIXES = (".so", ".whl", ".gz", ".zip")


def absolute(value: str, directory: Path) -> str:
    """Return a path made absolute. A value that is not a path is returned unchanged."""
    is_path = "/" in value or value in (".", "..") or value.endswith(_PATH_SUFFIXES)
    return place(value, directory) if is_path else value


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of the matrix: its option, its key in a file, and its values."""

    name: str
    """The key in a file, such as ``mod_wsgi``; the option is ``--mod-wsgi``."""
    metavar: str
    help: str
    """The help of the option; its first line is the summary."""
    about: str
    """The description of the key, for editors."""
    title: str = ""
    """Its name in a report, if a value needs one: ``mod_wsgi 5.0.2``, but ``daemon``."""
    default: tuple[str, ...] = ("",)
    """The values if none is asked for; an empty one depends on the machine."""
    choices: tuple[str, ...] = ()
    """The only values that there are; empty: any text."""
    words: tuple[str, ...] = ()
    """Values that a shell completes, beside the names of files."""
    package: str = ""
    """The package on the index of which the values are versions."""
    names: str = ""
    """The key of a table in the file that gives names to values; empty: there is none."""
    about_names: str = ""
    example: str = ""
    """A value for the file that ``wsgiproof init`` writes; empty for the default."""
    example_names: str = ""
    rare: bool = False
    """Whether the short help leaves the option out."""
    absolute: Callable[[str, Path], str] = lambda value, directory: value
    """Makes a value that is a relative path absolute."""
    shown: Callable[[str], str] = str
    """Returns a value as it may be shown and recorded, without a password."""
    exposed: Callable[[str], bool] = lambda value: False
    """Whether a value on the command line gives a password away."""

    @property
    def option(self) -> str:
        """The option of the command line."""
        return f"--{self.name.replace('_', '-')}"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asked for of the axes."""

    values: Mapping[str, tuple[str, ...]]
    """By axis."""
    names: Mapping[str, Mapping[str, str]]
    """Names of values, by the key of their table."""


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
        return Rules(title=self.title, claims=self.claims)

    def needs(self, asked: Asked) -> Needs:
        """Return what the backend of one cell takes of the machine, at most."""
        return Needs()

    def find_backends(self, asked: Asked, account: Account | None) -> Backends:
        """Find what the cells need, before anything is started.

        Raises a :class:`wsgiproof.errors.WsgiproofError` if something is missing.
        """
        return Backends()

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

    def claims(self, cell: Cell, identity: Mapping[str, Any]) -> Iterable[Claim]:
        """Yield what has to be true of an interpreter that reported ``identity``."""
        return ()

    def every_control(self) -> dict[str, Control]:
        """Return every control that can be run with it, by name."""
        return by_name(self.controls)


def version_value(axis: str, version: str, path: str = "", commit: str = "") -> AxisValue:
    """Return the value of an axis of versions, as a cell has it."""
    return AxisValue(
        axis=axis, value=version, path=path, commit=commit, label=version_label(axis, version, path)
    )
