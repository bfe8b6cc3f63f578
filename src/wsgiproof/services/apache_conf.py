"""The Apache configuration of a cell, as pure text: values in, ``httpd.conf`` out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import jinja2
import msgspec

from wsgiproof.account import Account
from wsgiproof.cell import Cell, InterpreterKind, Mode, Mpm
from wsgiproof.errors import NeedMissing, UsageError
from wsgiproof.files import write_atomically
from wsgiproof.services.ports import LOOPBACK
from wsgiproof.toolchain import Application, Httpd, Toolchain

HTTPD_CONF = "httpd.conf"
ERROR_LOG = "error.log"
PROCESS_GROUP = "subject"
DAEMON_THREADS = 15
"""The recipe's, and mod_wsgi's own default."""

_EMBEDDED = {Mpm.PREFORK: (4, 1), Mpm.WORKER: (2, 8), Mpm.EVENT: (2, 8)}
"""Processes and threads of each that run the application in embedded mode."""
_FRONTEND = {Mpm.PREFORK: (24, 1), Mpm.WORKER: (1, 32), Mpm.EVENT: (1, 32)}
"""The same for the children that only pass requests on: more than there are daemon threads, so
that those can all be busy at once."""


class Url(msgspec.Struct, frozen=True, kw_only=True):
    """One mounted script: a path, and the sub interpreter that has to serve it."""

    path: str
    application_group: str


class ApacheConf(msgspec.Struct, frozen=True, kw_only=True):
    """What the template needs to know."""

    title: str
    host: str = LOOPBACK
    port: int
    notes: tuple[str, ...] = ()
    """Comments at its top."""
    run_directory: Path
    """Scratch space of this server, which its children may enter and not write in; short enough for
    a Unix socket's path."""
    script: Path
    error_log: Path
    modules: tuple[tuple[str, Path], ...]
    python_home: Path
    mpm: Mpm
    daemon: bool
    processes: int
    threads: int
    daemon_threads: int = DAEMON_THREADS
    process_group: str = PROCESS_GROUP
    maximum_requests: int = 0
    urls: tuple[Url, ...]
    own_gil: bool = False
    free_threading: bool = False
    user: str = ""
    group: str = ""
    directives: tuple[str, ...] = ()
    """What the user has added, line by line."""

    @classmethod
    def of(
        cls,
        cell: Cell,
        toolchain: Toolchain,
        application: Application,
        account: Account,
        port: int,
        *,
        run_directory: Path,
        error_log: Path,
        directives: tuple[str, ...] = (),
    ) -> ApacheConf:
        """The configuration of one cell."""
        processes, threads = pool(cell)
        return cls(
            title=f"cell {cell.id}",
            port=port,
            run_directory=run_directory,
            script=application.script,
            error_log=error_log,
            modules=modules_for(toolchain.httpd, cell.mpm, toolchain.mod_wsgi),
            python_home=toolchain.home,
            mpm=cell.mpm,
            daemon=cell.mode is Mode.DAEMON,
            processes=processes,
            threads=threads,
            maximum_requests=cell.maximum_requests,
            urls=urls(application.groups),
            own_gil=cell.interpreter is InterpreterKind.OWN_GIL,
            free_threading=cell.interpreter is InterpreterKind.FREE_THREADED,
            user=account.name if account.dropped else "",
            group=account.group if account.dropped else "",
            directives=directives,
        )

    def render(self) -> str:
        """The text of ``httpd.conf``.

        Raises :class:`UsageError` for a path that Apache can't be told.
        """
        loader = jinja2.PackageLoader("wsgiproof.services", "")
        templates = jinja2.Environment(
            loader=loader,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,  # it is not HTML
        )
        templates.filters["quoted"] = quoted
        return templates.get_template("httpd.conf.j2").render(conf=self)

    def write(self, directory: Path) -> Path:
        """Write it there, for us alone, and return the file; raises as :meth:`render`."""
        path = directory / HTTPD_CONF
        write_atomically(os.fsencode(self.render()), path)
        return path


def quoted(path: Path | str) -> str:
    """A path as one argument of a directive, by the rules of Apache's ``ap_getword_conf``.

    Raises :class:`UsageError` for what no quotes can hold: the end of a line, and ``${``, which
    stands for the value of a variable (httpd docs, "Configuration Files").
    """
    text = str(path)
    if "${" in text or "\n" in text:
        raise UsageError(
            f"{text}: Apache's configuration can't hold a path with '${{' or the end of a line: "
            "choose another directory"
        )
    return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"'))


def pool(cell: Cell) -> tuple[int, int]:
    """Apache children and threads in each, for this cell."""
    sizes = _FRONTEND if cell.mode is Mode.DAEMON else _EMBEDDED
    return sizes[cell.mpm]


def workers(cell: Cell) -> tuple[int, int]:
    """Processes that run the application and request threads in each."""
    return (1, DAEMON_THREADS) if cell.mode is Mode.DAEMON else _EMBEDDED[cell.mpm]


def urls(groups: Sequence[str]) -> tuple[Url, ...]:
    """One URL for each application group, as in the recipe: ``/interpreter1`` and so on."""
    return tuple(
        Url(path=f"/interpreter{number}", application_group=group)
        for number, group in enumerate(groups, 1)
    )


def modules_for(httpd: Httpd, mpm: Mpm, mod_wsgi: Path) -> tuple[tuple[str, Path], ...]:
    """What ``httpd`` has to load for this MPM. Raises :class:`NeedMissing` if it lacks the MPM."""
    if mpm not in httpd.mpms:
        raise NeedMissing(
            f"{httpd.httpd} has no MPM '{mpm}'; it has {', '.join(httpd.mpms) or 'none'}"
        )
    wanted = (f"mpm_{mpm}", "unixd", "authz_core")
    found = [(name, httpd.modules / f"mod_{name}.so") for name in wanted]
    loadable = [(name, path) for name, path in found if path.exists()]
    return (*loadable, ("wsgi", mod_wsgi))
