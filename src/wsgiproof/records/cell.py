"""The cell: one combination of the matrix, as a frozen value."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import PurePath

import msgspec

_LONGEST_APP_NAME = 60
"""Characters. A cell's id is the name of a directory."""


class Topology(StrEnum):
    """The topology of the MongoDB deployment."""

    STANDALONE = "standalone"
    REPLICA_SET = "replica-set"
    NONE = "none"
    """No deployment: the application only encodes and decodes in memory."""


DEPLOYED = (Topology.STANDALONE, Topology.REPLICA_SET)
"""The topologies that are tested by default."""


class Mode(StrEnum):
    """Where mod_wsgi runs the application (mod_wsgi docs, "Processes And Threading")."""

    DAEMON = "daemon"
    EMBEDDED = "embedded"


class Mpm(StrEnum):
    """Apache's multi-processing module."""

    PREFORK = "prefork"
    WORKER = "worker"
    EVENT = "event"


class InterpreterKind(StrEnum):
    """The kind of interpreter that serves a URL."""

    MAIN = "main"
    """The main interpreter (``WSGIApplicationGroup %{GLOBAL}``), as the only one of its process:
    beside sub interpreters, its requests may run inside one of those (docs/findings.md)."""
    SHARED_GIL = "shared-gil"
    """Sub interpreters that share one GIL: mod_wsgi's default."""
    OWN_GIL = "own-gil"
    """Sub interpreters that each have their own GIL (PEP 684, ``WSGIPerInterpreterGIL On``)."""
    FREE_THREADED = "free-threaded"
    """Sub interpreters without a GIL (PEP 703, ``WSGIFreeThreading On``)."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One combination to test. Versions are exact: they are resolved before anything is built.

    ``control`` names a planted fault or its negative control; it is empty for the real subject.
    ``app`` is the absolute path of the user's own application; it is empty for wsgiproof's.
    """

    python: str
    python_name: str = ""
    """The interpreter's name in the id, such as ``3.13t``; empty: its version's first two numbers.
    A plan gives each of its interpreters a different name."""
    mod_wsgi: str
    mod_wsgi_path: str = ""
    """Its path, if it is not from the package index: a ``.so``, a source tree, or an archive."""
    pymongo: str
    pymongo_path: str = ""
    """Its path, if it is not from the package index: a checkout, an sdist, or a wheel."""
    topology: Topology
    mode: Mode
    mpm: Mpm = Mpm.PREFORK
    interpreter: InterpreterKind = InterpreterKind.SHARED_GIL
    mongodb: str = ""
    """The name of the deployment's binary or URI in the configuration; empty: the default one."""
    sub_interpreters: int = 2
    """Interpreters that share a process; 1 if the kind is ``main``."""
    maximum_requests: int = 0
    """Requests after which a process is replaced by a new one; 0: never."""
    control: str = ""
    app: str = ""

    @property
    def id(self) -> str:
        """A stable, readable name, made from the axes. It is never parsed."""
        parts = [
            f"py{self.python_name or '.'.join(self.python.split('.')[:2])}",
            f"mw{self.mod_wsgi}{_origin(self.mod_wsgi_path)}",
            f"pymongo{self.pymongo}{_origin(self.pymongo_path)}",
            self.topology,
            self.mode,
            self.mpm,
            self.interpreter,
        ]
        if self.mongodb:
            parts.append(self.mongodb)
        if self.sub_interpreters != (1 if self.interpreter is InterpreterKind.MAIN else 2):
            parts.append(f"x{self.sub_interpreters}")
        if self.maximum_requests:
            parts.append(f"recycled{self.maximum_requests}")
        if self.control:
            parts.append(self.control)
        if self.app:
            parts.append(f"app-{self.app_name}")
        return "-".join(parts)

    @property
    def app_name(self) -> str:
        """The file's name without its suffix, in characters that are safe in any name."""
        return re.sub(r"[^A-Za-z0-9_.]", "_", PurePath(self.app).stem)[:_LONGEST_APP_NAME]

    @property
    def has_app_name(self) -> bool:
        """Whether this PyMongo sends an appName, by which the deployment knows its connections.

        The first is 3.4. PyMongo 2.7.2 refuses a URI with an appName.
        """
        numbers = re.match(r"(\d+)(?:\.(\d+))?", self.pymongo)
        return numbers is None or (int(numbers[1]), int(numbers[2] or 0)) >= (3, 4)

    @property
    def axes(self) -> dict[str, str | int]:
        """Every axis by name, for results and reports."""
        return dict(msgspec.structs.asdict(self))


def _origin(path: str) -> str:
    """Return a mark for what is not from the package index, since versions may be the same."""
    if not path:
        return ""
    return {".so": "+so", ".whl": "+whl"}.get(PurePath(path).suffix, "+src")
