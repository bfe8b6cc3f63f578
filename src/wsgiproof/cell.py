"""The cell: one point of the matrix, as a frozen value."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import PurePath

import msgspec

_LONGEST_APP_NAME = 60
"""Characters; a cell's id is the name of a directory."""


class Topology(StrEnum):
    """How the MongoDB deployment is made up; the first two are the recipe's own words."""

    STANDALONE = "standalone"
    REPLICA_SET = "replica-set"
    NONE = "none"
    """No deployment: the application only encodes and decodes, in memory."""


DEPLOYED = (Topology.STANDALONE, Topology.REPLICA_SET)
"""The topologies that are tested unless others are asked for."""


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
    """Which kind of interpreter serves a URL."""

    MAIN = "main"
    """The process's first one (``WSGIApplicationGroup %{GLOBAL}``), and no other beside it: where
    there are sub interpreters, requests for it may run inside one of them (docs/findings.md)."""
    SHARED_GIL = "shared-gil"
    """Sub interpreters that share one GIL: mod_wsgi's default."""
    OWN_GIL = "own-gil"
    """Sub interpreters with a GIL each (PEP 684, ``WSGIPerInterpreterGIL On``)."""
    FREE_THREADED = "free-threaded"
    """Sub interpreters without any GIL (PEP 703, ``WSGIFreeThreading On``)."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One combination to test. Versions are full and exact, as resolved before anything is built.

    ``control`` names a planted fault or its clean twin, and is empty for the real subject.
    ``app`` is the absolute path of an application of one's own, and is empty for ours.
    """

    python: str
    python_name: str = ""
    """What the id calls the interpreter, such as ``3.13t``; empty: by its version's first two
    numbers. A plan gives each of its interpreters a name of its own."""
    mod_wsgi: str
    mod_wsgi_path: str = ""
    """Where it comes from, if not from the package index: a ``.so``, a tree, or an archive."""
    pymongo: str
    pymongo_path: str = ""
    """Where it comes from, if not from the package index: a checkout, an sdist, or a wheel."""
    topology: Topology
    mode: Mode
    mpm: Mpm = Mpm.PREFORK
    interpreter: InterpreterKind = InterpreterKind.SHARED_GIL
    mongodb: str = ""
    """The name of the deployment's binary or URI in the configuration; empty: the usual one."""
    sub_interpreters: int = 2
    """Interpreters that share a process; 1 where the kind is ``main``."""
    maximum_requests: int = 0
    """Requests after which a process is replaced by a new one; 0: never."""
    control: str = ""
    app: str = ""

    @property
    def id(self) -> str:
        """A stable, readable name. It is rendered from the axes and never parsed back."""
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
        """The file's name without its ending, in characters that are safe wherever a name goes."""
        return re.sub(r"[^A-Za-z0-9_.]", "_", PurePath(self.app).stem)[:_LONGEST_APP_NAME]

    @property
    def axes(self) -> dict[str, str | int]:
        """Every axis by name, for results and reports."""
        return dict(msgspec.structs.asdict(self))


def _origin(path: str) -> str:
    """The mark of what does not come from the package index, whose versions may be the same."""
    if not path:
        return ""
    return {".so": "+so", ".whl": "+whl"}.get(PurePath(path).suffix, "+src")
