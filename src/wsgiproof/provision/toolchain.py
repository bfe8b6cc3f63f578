"""The builds that a cell needs, as values: ``build`` makes them, ``services`` uses them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import msgspec

from wsgiproof.records.cell import Mpm, Resolution


class Python(msgspec.Struct, frozen=True, kw_only=True):
    """One interpreter on this machine, as it describes itself."""

    version: str
    path: str
    prefix: str
    shared: bool
    """Built with ``--enable-shared``, so that mod_wsgi can link against its library."""
    headers: bool
    stdlib: str
    free_threaded: bool
    build: str = ""
    """When and by which compiler it was built (``sys.version``)."""
    name: str = ""
    """Its name in cell ids, unique in a run: ``3.13``, ``3.13t``, ``3.13.0``."""
    origin: str = ""
    """Where it was found: ``PATH``, ``pyenv``, ..., ``wsgiproof`` if wsgiproof built it, ``given``
    if named by its path; empty for the one that runs wsgiproof."""
    asked: str = ""
    """The value of the axis that requested it; empty if it was chosen by default."""

    @property
    def short(self) -> str:
        """The first two numbers of its version, and a ``t`` if it is built without a GIL."""
        return ".".join(self.version.split(".")[:2]) + "t" * self.free_threaded

    @property
    def title(self) -> str:
        """For people: ``Python 3.13.0t``."""
        return f"Python {self.version}" + "t" * self.free_threaded

    def identity(self) -> dict[str, str]:
        """Return what a cached build for it depends on, since the path may get another
        interpreter."""
        return {
            "python": self.version,
            "interpreter": self.path,
            "build": self.build,
            "free-threaded": str(self.free_threaded),
        }


class FoundPython(msgspec.Struct, frozen=True, kw_only=True):
    """A file that may be an interpreter."""

    path: str
    origin: str
    python: Python | None = None
    """None if it did not describe itself."""
    problem: str = ""
    """Why it can't be used, in short; empty if it can."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a package for one interpreter."""

    version: str
    path: str = ""
    """The given path: a ``.so``, a wheel, an archive or a tree; or ``git+`` and the URL of a
    repository; empty if it is from the package index."""
    archive: str = ""
    """The file to install: a wheel, or an sdist, also of a tree; empty if it is from the package
    index."""
    digest: str = ""
    """The digest of that file."""
    commit: str = ""
    """The commit of a git checkout or repository; empty if it is neither."""


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """An environment that exists already."""

    home: str
    packages: Mapping[str, str] = {}
    """What is installed there, by normalized name."""


class BuildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to build for a cell."""

    python: Python
    mod_wsgi: Source
    packages: dict[str, Source] = {}
    """The packages of the subject, by name."""
    extras: dict[str, tuple[str, ...]] = {}
    """The extras of some of them."""
    variables: dict[str, str] = {}
    """Environment variables for their build."""
    requirements: tuple[str, ...] = ()
    """What is installed beside them."""
    installed: Installed | None = None
    """The environment to use as it is; None: one is built."""
    constraints: str = ""
    """The content of a constraints file for pip; empty if there is none."""
    resolution: Resolution = Resolution.HIGHEST
    """Which versions of dependencies."""
    home: str = ""
    """The working directory of daemon processes; empty for Apache's."""
    directives: tuple[str, ...] = ()
    """Lines at the end of Apache's configuration."""
    access_log: bool = False
    """Whether Apache logs all requests."""
    shared_tmp: bool = False
    """Whether the server shares ``/tmp`` and other places with the rest of the machine."""


class Httpd(msgspec.Struct, frozen=True, kw_only=True):
    """An Apache installation: its server, its ``apxs``, and what it can load."""

    version: str
    build: str
    """Its version and build date, as it prints them."""
    httpd: Path
    apxs: Path
    modules: Path
    """The directory of the loadable modules."""
    static: frozenset[str]
    """Names of the modules compiled in, such as ``unixd``."""
    mpms: tuple[Mpm, ...]
    libraries: Path | None = None
    """For ``LD_LIBRARY_PATH``, if the server needs its own libraries."""

    def environment(self) -> dict[str, str]:
        """Return the environment variables that this server needs to start."""
        return {"LD_LIBRARY_PATH": str(self.libraries)} if self.libraries else {}


class Apache(msgspec.Struct, frozen=True, kw_only=True):
    """One Apache of a run, which may have to be built first."""

    asked: str = ""
    """The value of the axis that requested it; empty for that of the machine."""
    name: str = ""
    """Its name in cell ids, unique in a run; empty if the run has only this one."""
    version: str
    mpms: tuple[Mpm, ...]
    httpd: Httpd | None = None
    """None if it is the one that wsgiproof builds, which the build cache has or will have."""


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """The WSGI application of a cell, laid out in a directory."""

    directory: Path
    script: Path
    groups: tuple[str, ...]
    """The application group of each URL; ``%{GLOBAL}`` is the main interpreter."""
    evidence: Path
    """The directory in which the processes write evidence about themselves."""
    tmp: Path
    """The directory for temporary files of this server alone (``TMPDIR``)."""
    lazy: bool = False
    """Whether the first request to an interpreter loads the application there."""
    home: str = ""
    """The working directory of daemon processes; empty for that of Apache, which is ``/``."""
    user: int | None = None
    """The id of the user of Apache's children; None if wsgiproof runs as that user, too."""
    identity: tuple[str, ...] = ()
    """The fields that its subject reports of itself."""
    attached: bool = False
    """Whether the probe is attached to an application that mod_wsgi loads by itself."""
    secret: str = ""
    """The start of the header of a request that gives the probe a command; empty if the probe
    accepts no commands. It is in the settings of the application, and in no log and no record."""


class Toolchain(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the Apache of one cell is started from."""

    python: Python
    httpd: Httpd
    mod_wsgi: Path
    home: Path
    """The virtual environment with the subject, for ``WSGIPythonHome``."""
    packages: Mapping[str, str]
    """All packages installed there, with exact versions."""

    def places(self) -> tuple[Path, ...]:
        """Return the paths of everything that runs, which may be in the build cache."""
        return (Path(self.python.path), self.httpd.httpd, self.mod_wsgi, self.home)

    def facts(self) -> dict[str, str]:
        """Return the paths and Apache's version, for the record."""
        return {
            "python": self.python.path,
            "httpd": str(self.httpd.httpd),
            "httpd_version": self.httpd.version,
            "mod_wsgi": str(self.mod_wsgi),
            "environment": str(self.home),
        }


class State(StrEnum):
    """The state of an entry of the cache."""

    BUILT = "built"
    UNFINISHED = "unfinished"
    """Its build was killed, or is still running."""
    DAMAGED = "damaged"
    """Its content has changed since it was built."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the cache."""

    kind: str
    name: str
    path: str
    state: State
    bytes: int
    seconds: float | None = None
    """How long its build took; None if it was not finished."""
    used: float
    """When it was last used, in seconds since the epoch."""
    key: dict[str, str] = {}


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one build."""

    title: str
    seconds: float
    cached: bool = False
    """Whether it was in the cache before."""
    problem: str = ""
    """Why the build failed; empty if it did not."""
