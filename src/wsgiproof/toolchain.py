"""The built things that a cell needs, as values: ``build`` makes them, ``services`` uses them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import msgspec

from wsgiproof.cell import Mpm


class Python(msgspec.Struct, frozen=True, kw_only=True):
    """One interpreter on this machine, described by itself."""

    version: str
    path: str
    prefix: str
    shared: bool
    """Built with ``--enable-shared``, so that mod_wsgi can link against its library."""
    headers: bool
    stdlib: str
    free_threaded: bool
    build: str = ""
    """When it was built, and by which compiler, in its own words (``sys.version``)."""
    name: str = ""
    """What ids call it, among the others of a run: ``3.13``, ``3.13t``, ``3.13.0``."""
    origin: str = ""
    """Where it was found: ``PATH``, ``pyenv``, ..., ``wsgiproof`` for our own builds, ``given`` if
    by its path; empty for the one that runs wsgiproof."""
    asked: str = ""
    """The words by which it was asked for; empty: nobody did, it was at hand."""

    @property
    def short(self) -> str:
        """Its version's first two numbers, and a ``t`` if it is built without a GIL."""
        return ".".join(self.version.split(".")[:2]) + "t" * self.free_threaded

    @property
    def title(self) -> str:
        """For people: ``Python 3.13.0t``."""
        return f"Python {self.version}" + "t" * self.free_threaded

    def identity(self) -> dict[str, str]:
        """What a cached build for it depends on: another interpreter may come to the same path."""
        return {
            "python": self.version,
            "interpreter": self.path,
            "build": self.build,
            "free-threaded": str(self.free_threaded),
        }


class FoundPython(msgspec.Struct, frozen=True, kw_only=True):
    """What was found where an interpreter may be."""

    path: str
    origin: str
    python: Python | None = None
    """None if it did not say what it is."""
    problem: str = ""
    """Why it can't be used, in short; empty if it can."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One version of mod_wsgi or PyMongo for one interpreter."""

    version: str
    path: str = ""
    """What was named: a ``.so``, a wheel, an archive, a tree; empty: the package index has it."""
    archive: str = ""
    """What is installed: the wheel, or an sdist, of a tree too; empty if the index has it."""
    digest: str = ""
    """Of the content of that file."""


class BuildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the toolchain of a cell is to be made of."""

    python: Python
    mod_wsgi: Source
    pymongo: Source
    requirements: tuple[str, ...] = ()
    """What else is installed beside PyMongo."""
    constraints: str = ""
    """The content of a constraints file, as pip has them; empty: none."""
    directives: tuple[str, ...] = ()
    """Lines for Apache's configuration, after ours."""


class Httpd(msgspec.Struct, frozen=True, kw_only=True):
    """An Apache installation: its server, its ``apxs``, and what it can load."""

    version: str
    build: str
    """Its version and when it was built, in its own words."""
    httpd: Path
    apxs: Path
    modules: Path
    """The directory of the loadable modules."""
    static: frozenset[str]
    """Names of the modules compiled in, such as ``unixd``."""
    mpms: tuple[Mpm, ...]
    libraries: Path | None = None
    """For ``LD_LIBRARY_PATH``, where the server needs libraries of its own."""

    def environment(self) -> dict[str, str]:
        """The variables without which this server does not start."""
        return {"LD_LIBRARY_PATH": str(self.libraries)} if self.libraries else {}


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """Where the laid-out WSGI application of a cell is."""

    directory: Path
    script: Path
    groups: tuple[str, ...]
    """The application group of each URL; ``%{GLOBAL}`` is the main interpreter."""
    evidence: Path
    """What the processes write about themselves; theirs to write."""
    secret: str = ""
    """What a request has to begin its header with for the probe to obey it; empty: it obeys
    nobody. It is in the settings of the application, and in no log and no record."""


class Toolchain(msgspec.Struct, frozen=True, kw_only=True):
    """All that an Apache of one cell is started from."""

    python: Python
    httpd: Httpd
    mod_wsgi: Path
    home: Path
    """The virtual environment with the subject, for ``WSGIPythonHome``."""
    packages: Mapping[str, str]
    """All that is installed there, with exact versions."""

    def places(self) -> tuple[Path, ...]:
        """Where what runs is, which may be in the build cache."""
        return (Path(self.python.path), self.httpd.httpd, self.mod_wsgi, self.home)

    def facts(self) -> dict[str, str]:
        """Where everything is, for the record."""
        return {
            "python": self.python.path,
            "httpd": str(self.httpd.httpd),
            "httpd_version": self.httpd.version,
            "mod_wsgi": str(self.mod_wsgi),
            "environment": str(self.home),
        }


class State(StrEnum):
    """What an entry is worth."""

    BUILT = "built"
    UNFINISHED = "unfinished"
    """Its build was killed, or is still going on."""
    DAMAGED = "damaged"
    """Its content is not what was built."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One directory of the cache."""

    kind: str
    name: str
    path: str
    state: State
    bytes: int
    seconds: float | None = None
    """That its build took; None if it was not finished."""
    used: float
    """When it was last asked for, in seconds of the epoch."""
    key: dict[str, str] = {}


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one build."""

    title: str
    seconds: float
    cached: bool = False
    """It was there already."""
    problem: str = ""
    """Why there is nothing; empty if it is built."""
