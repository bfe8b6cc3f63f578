"""The cell: one combination of the matrix, as a frozen value."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import PurePath

import msgspec

_LONGEST_APP_NAME = 60
"""Characters. A cell's id is the name of a directory."""


GIT = "git+"
"""How the name of a git repository begins, before its URL."""


MOD_WSGI_HTTPD = "mod_wsgi-httpd"
"""The Apache that wsgiproof builds, by the name of the package that has its sources."""


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


class Loading(StrEnum):
    """When mod_wsgi loads the script."""

    EAGER = "eager"
    """When a process starts, in its main thread: ``WSGIScriptAlias`` names both groups."""
    LAZY = "lazy"
    """At the first request, in its thread: ``WSGIScriptAliasMatch`` names no group, so that the
    application group is mod_wsgi's default, ``%{RESOURCE}``. PyMongo's own test is loaded so."""


class Resolution(StrEnum):
    """Which versions of its dependencies are installed with the subject (uv's option of that
    name)."""

    HIGHEST = "highest"
    LOWEST_DIRECT = "lowest-direct"
    """The lowest that the subject and the other requirements allow of what these name; the highest
    of what that needs in turn."""
    LOWEST = "lowest"
    """The lowest of everything."""


class AxisValue(msgspec.Struct, frozen=True, kw_only=True):
    """The value of one axis of the subject."""

    axis: str
    value: str
    """An exact version, one of a few choices, or a name."""
    path: str = ""
    """Its path, or ``git+`` and a URL, if it is a version that is not from the package index."""
    commit: str = ""
    """The commit, if that is a git checkout or repository."""
    label: str = ""
    """How it appears in the id of the cell; empty: it does not."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One combination to test. Versions are exact: they are resolved before anything is built.

    ``control`` names a planted fault or its negative control; it is empty for the real subject.
    ``app`` is the absolute path of the user's own application; it is empty for wsgiproof's.
    ``httpd_conf`` is that of the user's own configuration, which says where its application is.
    """

    python: str
    python_name: str = ""
    """The interpreter's name in the id, such as ``3.13t``; empty: its version's first two numbers.
    A plan gives each of its interpreters a different name."""
    mod_wsgi: str
    mod_wsgi_path: str = ""
    """Its path, if it is not from the package index: a ``.so``, a source tree, or an archive; or
    ``git+`` and a URL."""
    mod_wsgi_commit: str = ""
    """The commit, if that is a git checkout or repository."""
    httpd: str = ""
    """The version of the Apache that was asked for; empty: that of the machine."""
    httpd_path: str = ""
    """Its path, or :data:`MOD_WSGI_HTTPD`."""
    httpd_name: str = ""
    """Its name in the id, if the plan has several."""
    subject: str
    """The name of what is tested."""
    of_subject: tuple[AxisValue, ...] = ()
    """The values of the axes that the subject adds, in their order."""
    mode: Mode
    mpm: Mpm = Mpm.PREFORK
    interpreter: InterpreterKind = InterpreterKind.SHARED_GIL
    loading: Loading = Loading.EAGER
    sub_interpreters: int = 2
    """Interpreters that share a process; 1 if the kind is ``main``."""
    virtual_hosts: bool = False
    """Whether each interpreter is that of a virtual host of its own."""
    processes: int = 0
    """Processes that run the application; 0: the usual number for the mode and the MPM."""
    min_processes: int = 0
    """Processes that Apache keeps without load, while it starts others under load and ends them. 0:
    their number is constant."""
    threads: int = 0
    """Request threads in each of them; 0: the usual number."""
    maximum_requests: int = 0
    """Requests after which a process is replaced by a new one; 0: never."""
    resolution: Resolution = Resolution.HIGHEST
    """Which versions of dependencies are installed."""
    control: str = ""
    app: str = ""
    httpd_conf: str = ""

    @property
    def id(self) -> str:
        """A stable, readable name, made from the axes. It is never parsed."""
        parts = [
            f"py{self.python_name or '.'.join(self.python.split('.')[:2])}",
            version_label("mw", self.mod_wsgi, self.mod_wsgi_path, self.mod_wsgi_commit),
            *([f"httpd{self.httpd_name}"] if self.httpd_name else []),
            *([one.label for one in self.of_subject if one.label] or [self.subject]),
            self.mode,
            self.mpm,
            self.interpreter,
        ]
        if self.loading is not Loading.EAGER:
            parts.append(self.loading)
        if self.sub_interpreters != (1 if self.interpreter is InterpreterKind.MAIN else 2):
            parts.append(f"x{self.sub_interpreters}")
        if self.virtual_hosts:
            parts.append("virtual-hosts")
        if self.processes:
            least = f"{self.min_processes}to" if self.min_processes else ""
            parts.append(f"p{least}{self.processes}")
        parts += [f"t{self.threads}"] if self.threads else []
        if self.maximum_requests:
            parts.append(f"recycled{self.maximum_requests}")
        if self.resolution is not Resolution.HIGHEST:
            parts.append(self.resolution)
        if self.control:
            parts.append(self.control)
        if self.app:
            parts.append(f"app-{self.app_name}")
        if self.httpd_conf:
            parts.append(f"conf-{_safe_stem(self.httpd_conf)}")
        return "-".join(parts)

    @property
    def app_name(self) -> str:
        """The file's name without its suffix, in characters that are safe in any name."""
        return _safe_stem(self.app)

    @property
    def own_app(self) -> str:
        """The option that names the user's own application; empty for the built-in one."""
        return "--app" if self.app else "--httpd-conf" if self.httpd_conf else ""

    def value(self, axis: str) -> str:
        """Return the value of an axis of the subject; empty if it has none."""
        return next((one.value for one in self.of_subject if one.axis == axis), "")

    @property
    def axes(self) -> dict[str, str | int | bool]:
        """Every axis by name, for results and reports."""
        axes: dict[str, str | int | bool] = {}
        for name, value in msgspec.structs.asdict(self).items():
            if name != "of_subject":
                axes[name] = value
                continue
            for one in self.of_subject:
                axes[one.axis] = one.value
                axes |= {f"{one.axis}_path": one.path} if one.path else {}
                axes |= {f"{one.axis}_commit": one.commit} if one.commit else {}
        return axes


def _safe_stem(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]", "_", PurePath(path).stem)[:_LONGEST_APP_NAME]


def version_label(name: str, version: str, path: str, commit: str = "") -> str:
    """Return how a version appears in the id of a cell: ``mw5.0.2``, ``mw5.0.2+src``, or of a git
    repository ``mw5.0.2+g1a2b3c4``.

    What is not from the package index has a mark, since its version may be the same.
    """
    if not path:
        return f"{name}{version}"
    if path.startswith(GIT):
        return f"{name}{version}+g{commit[:7]}"
    mark = "+so" if is_module(path) else {".whl": "+whl"}.get(PurePath(path).suffix, "+src")
    return f"{name}{version}{mark}"


def is_module(path: str) -> bool:
    """Whether a path is that of a compiled mod_wsgi: ``mod_wsgi.so``, or ``mod_wsgi.so-3.11``,
    which is how Debian names it."""
    return re.search(r"\.so(-\d+(\.\d+)*)?$", path) is not None


def is_before_4(mod_wsgi: str) -> bool:
    """Whether this version of mod_wsgi is older than 4, which differs in much."""
    return mod_wsgi.startswith(("1.", "2.", "3."))
