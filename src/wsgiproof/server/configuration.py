"""The Apache configuration of a cell, as a pure function from values to ``httpd.conf``."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec

from wsgiproof.errors import PrerequisiteMissing, UsageError
from wsgiproof.files import Directory, write_atomically
from wsgiproof.process.account import Account
from wsgiproof.process.guard.settings import CORE_DESCRIPTOR
from wsgiproof.provision.toolchain import Application, Httpd, Toolchain
from wsgiproof.records.cell import Cell, InterpreterKind, Mode, Mpm, is_before_4
from wsgiproof.server.ports import LOOPBACK

HTTPD_CONF = "httpd.conf"
ERROR_LOG = "error.log"
ACCESS_LOG = "access.log"
PROCESS_GROUP = "subject"
_LOGGING = "log_config"
"""The module that writes an access log."""
DAEMON_THREADS = 15
"""The default of mod_wsgi."""
_SPARE = 9
"""How many more requests Apache's own children take in daemon mode than there are daemon threads,
so that all of those can be busy at once."""

_EMBEDDED = {Mpm.PREFORK: (4, 1), Mpm.WORKER: (2, 8), Mpm.EVENT: (2, 8)}
"""Processes, and threads in each, that run the application in embedded mode."""
_FRONTEND_THREADS = {Mpm.PREFORK: 1, Mpm.WORKER: 32, Mpm.EVENT: 32}
"""Threads of each child that only forwards requests."""


class Url(msgspec.Struct, frozen=True, kw_only=True):
    """One mounted script: its path, and the application group that has to serve it."""

    path: str
    application_group: str
    host: str = ""
    """The name of its virtual host; empty if it is one of the main server."""


class ApacheConf(msgspec.Struct, frozen=True, kw_only=True):
    """The values that the template needs."""

    title: str
    host: str = LOOPBACK
    port: int
    notes: tuple[str, ...] = ()
    """Comments at the top of the file."""
    run_directory: Path
    """Scratch space of this server. Its children may enter it but not write to it. Its path is
    short enough for a Unix socket."""
    script: Path
    error_log: Path
    access_log: Path | None = None
    """The log of all requests; None: there is none."""
    tmp: Path | None = None
    """The directory for temporary files; None: that of the system."""
    modules: tuple[tuple[str, Path], ...]
    python_home: Path
    mpm: Mpm
    daemon: bool
    processes: int
    process_limit: int = 0
    """The most that a restart may make of them, in embedded mode."""
    threads: int
    min_processes: int = 0
    """Children that Apache keeps without load; 0: their number is constant."""
    daemon_processes: int = 1
    """How many of them each process group has."""
    daemon_threads: int = DAEMON_THREADS
    process_group: str = PROCESS_GROUP
    more_groups: int = 0
    """How many more daemon processes there are, each of which has its own process group and URLs
    that begin with its name."""
    maximum_requests: int = 0
    before_4: bool = False
    """Whether this is a mod_wsgi before 4. Its daemon processes change to the home directory of
    their user, and it leaves it to Python to find its executable in PATH, without which the
    ``site.py`` of an environment fails."""
    home: str = ""
    """The working directory of a daemon process; by default that of Apache, which is ``/``."""
    core_directory: Path = Path(f"/proc/self/fd/{CORE_DESCRIPTOR}")
    urls: tuple[Url, ...]
    lazy: bool = False
    """Whether the first request loads the script."""
    own_gil: bool = False
    free_threading: bool = False
    user: str = ""
    group: str = ""
    directives: tuple[str, ...] = ()
    """Lines that the user has added."""

    template: ClassVar[str] = "httpd.conf.j2"
    run_as: ClassVar[tuple[int, int] | None] = None
    """The user and group that the whole server runs as; None: those that run wsgiproof."""
    environment: ClassVar[Mapping[str, str]] = {}
    """Environment variables of the server beside the usual ones."""
    titled: ClassVar[bool] = True
    """Whether the command line of each daemon process begins with its process group."""
    uniform: ClassVar[bool] = True
    """Whether all URLs have equally many processes."""

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
        access_log: Path | None = None,
        process_limit: int = 0,
        directives: tuple[str, ...] = (),
    ) -> ApacheConf:
        """Return the configuration of one cell."""
        processes, threads = pool(cell)
        daemon_processes, daemon_threads = workers(cell)
        return cls(
            title=f"cell {cell.id}",
            port=port,
            run_directory=run_directory,
            script=application.script,
            error_log=error_log,
            access_log=access_log,
            tmp=application.tmp,
            modules=modules_for(
                toolchain.httpd, cell.mpm, toolchain.mod_wsgi, logs_access=access_log is not None
            ),
            python_home=toolchain.home,
            mpm=cell.mpm,
            daemon=cell.mode is Mode.DAEMON,
            processes=processes,
            process_limit=process_limit,
            threads=threads,
            min_processes=cell.min_processes,
            daemon_processes=daemon_processes,
            daemon_threads=daemon_threads,
            maximum_requests=cell.maximum_requests,
            before_4=is_before_4(cell.mod_wsgi),
            home=application.home or "/" * is_before_4(cell.mod_wsgi),
            urls=urls(application.groups, virtual_hosts=cell.virtual_hosts),
            lazy=application.lazy,
            own_gil=cell.interpreter is InterpreterKind.OWN_GIL,
            free_threading=cell.interpreter is InterpreterKind.FREE_THREADED,
            # Also without root, where Apache ignores them: mod_wsgi changes to the home directory
            # of a user that the configuration does not name.
            user=account.name,
            group=account.group,
            directives=directives,
        )

    @property
    def workers(self) -> int:
        """Return how many processes answer at each URL."""
        return self.daemon_processes if self.daemon else self.processes

    def with_processes(self, number: int) -> Self:
        """Return the same with so many processes that run the application, and never fewer.

        Each daemon process that is added has its own URLs. In embedded mode the same URLs have more
        processes, as many as ``server_limit`` at most.
        """
        if self.daemon:
            return msgspec.structs.replace(self, more_groups=max(0, number - 1))
        processes = max(self.processes, min(number, self.server_limit))
        return msgspec.structs.replace(self, processes=processes)

    @property
    def server_limit(self) -> int:
        """Return the most children that Apache may ever have, which no restart can change."""
        return self.processes if self.daemon else max(self.processes, self.process_limit)

    @property
    def search_path(self) -> str:
        """Return the PATH of Apache."""
        usual = "/usr/sbin:/usr/bin:/sbin:/bin"
        return f"{self.python_home}/bin:{usual}" if self.before_4 else usual

    @property
    def groups(self) -> dict[str, str]:
        """Return the process groups, each with the beginning of the paths of its URLs."""
        more = (f"{self.process_group}{number}" for number in range(2, self.more_groups + 2))
        return {self.process_group: "", **{name: f"/{name}" for name in more}}

    def locations(self) -> list[tuple[str, ...]]:
        """Return the URLs of each process group."""
        return [
            tuple(
                f"http://{url.host or self.host}:{self.port}{prefix}{url.path}" for url in self.urls
            )
            for prefix in self.groups.values()
        ]

    def resource(self, prefix: str, url: Url) -> str:
        """Return what ``%{RESOURCE}``, mod_wsgi's default application group, is for a URL below a
        prefix (mod_wsgi docs, "WSGIApplicationGroup")."""
        return f"{url.host or self.host}:{self.port}|{prefix}{url.path}"

    @property
    def kept_log(self) -> Path:
        """Where the error log is in the end."""
        return self.error_log

    def keep_log(self) -> None:
        """Put the error log there. Nobody has it open any more."""

    def make_log(self, directory: Directory, name: str) -> None:
        """Make an empty log for Apache to write to, in place of what is there."""
        directory.remove(name)
        directory.write(name, b"")

    def render(self) -> str:
        """Return the text of ``httpd.conf``.

        Raises :class:`UsageError` for a path that the configuration can't hold.
        """
        return str(_templates().get_template(self.template).render(conf=self))

    def write(self, directory: Path) -> Path:
        """Write ``httpd.conf`` to ``directory``, mode 0600, and return its path. Raises as
        :meth:`render`."""
        path = directory / HTTPD_CONF
        write_atomically(os.fsencode(self.render()), path)
        return path


@cache
def _templates() -> Any:
    """Return the templates, each compiled once: each trial of process ends writes the file
    again."""
    # Imported here, since it takes a while and most commands start no server.
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("wsgiproof.server", ""),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # it is not HTML
    )
    templates.filters["quoted"] = quoted
    templates.filters["substitution"] = substitution
    return templates


def quoted(path: Path | str) -> str:
    """Quote a path as one argument of a directive, by the rules of Apache's ``ap_getword_conf``.

    Raises :class:`UsageError` for what can't be quoted: a newline, and ``${``, which Apache
    replaces by the value of a variable (httpd docs, "Configuration Files").
    """
    text = str(path)
    if "${" in text or "\n" in text:
        raise UsageError(
            f"{text}: Apache's configuration can't hold a path with '${{' or a newline: "
            "choose another directory"
        )
    return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"'))


def substitution(path: Path) -> str:
    """Return a path as what replaces a match, in which ``$1`` and ``&`` would be parts of it (httpd
    docs, "AliasMatch")."""
    return re.sub(r"([$&])", r"\\\1", str(path))


def pool(cell: Cell) -> tuple[int, int]:
    """Return the number of Apache's children of this cell, and of threads in each."""
    processes, threads = workers(cell)
    if cell.mode is Mode.EMBEDDED:
        return processes, threads
    of_child = _FRONTEND_THREADS[cell.mpm]
    return math.ceil((processes * threads + _SPARE) / of_child), of_child


def workers(cell: Cell) -> tuple[int, int]:
    """Return the number of processes that run the application, and of request threads in each."""
    usual = usual_workers(cell.mode, cell.mpm)
    return cell.processes or usual[0], cell.threads or usual[1]


def usual_workers(mode: Mode, mpm: Mpm) -> tuple[int, int]:
    """Return the same numbers of a cell for which none were asked for."""
    return (1, DAEMON_THREADS) if mode is Mode.DAEMON else _EMBEDDED[mpm]


def urls(groups: Sequence[str], *, virtual_hosts: bool = False) -> tuple[Url, ...]:
    """Return one URL for each application group: ``/interpreter1`` and so on.

    With ``virtual_hosts`` each is on a host of its own. The names are below ``localhost``, so that
    curl and browsers find them on this machine (RFC 6761, 6.3).
    """
    return tuple(
        Url(
            path=f"/interpreter{number}",
            application_group=group,
            host=f"interpreter{number}.localhost" if virtual_hosts else "",
        )
        for number, group in enumerate(groups, 1)
    )


def modules_for(
    httpd: Httpd, mpm: Mpm, mod_wsgi: Path, *, logs_access: bool = False
) -> tuple[tuple[str, Path], ...]:
    """Return the modules to load for this MPM, and for an access log. Raises
    :class:`PrerequisiteMissing` if ``httpd`` lacks one of them."""
    if mpm not in httpd.mpms:
        raise PrerequisiteMissing(
            f"{httpd.httpd} has no MPM '{mpm}', only {', '.join(httpd.mpms) or 'none'}: "
            "install the module, or choose another --mpm"
        )
    names = (f"mpm_{mpm}", "unixd", "authz_core", *([_LOGGING] if logs_access else []))
    paths = [(name, httpd.modules / f"mod_{name}.so") for name in names]
    loadable = [(name, path) for name, path in paths if path.exists()]
    if logs_access and _LOGGING not in {*httpd.static, *dict(loadable)}:
        raise PrerequisiteMissing(
            f"{httpd.httpd} has no mod_{_LOGGING}, which --access-log needs: install the module"
        )
    return (*loadable, ("wsgi", mod_wsgi))
