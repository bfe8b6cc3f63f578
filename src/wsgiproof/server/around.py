"""The configuration around a user's own ``httpd.conf``, which Apache reads unchanged.

Root does not run this Apache: its parent process has the user of its children. So the file can't
make root read, write or run anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self

from wsgiproof.files import Directory, open_regular, read_at_most
from wsgiproof.process.account import Account
from wsgiproof.provision.toolchain import Application, Toolchain
from wsgiproof.records.cell import Cell, Mode
from wsgiproof.server.configuration import ERROR_LOG, HTTPD_CONF, ApacheConf
from wsgiproof.server.own_conf import MOD_WSGI_PYTHON_HOME, MOD_WSGI_SO, PORT, OwnConf

_RUNTIME = "server"
_LARGEST_LOG = 64 << 20
"""Bytes that are kept of it."""


class AroundConf(ApacheConf, frozen=True, kw_only=True):
    """The values of the lines before and after the user's file."""

    template: ClassVar[str] = "around.conf.j2"
    titled: ClassVar[bool] = False
    uniform: ClassVar[bool] = False

    own: OwnConf
    given: tuple[str, ...]
    """The URLs, as the user gave them."""
    mod_wsgi: Path
    application: Path
    """The directory of the probe."""
    account: Account
    logs: Path
    """The directory in which the error log is kept."""

    @classmethod
    def around(
        cls,
        own: OwnConf,
        given: tuple[str, ...],
        cell: Cell,
        toolchain: Toolchain,
        application: Application,
        account: Account,
        port: int,
        *,
        run_directory: Path,
        error_log: Path,
        directives: tuple[str, ...] = (),
    ) -> AroundConf:
        """Return the configuration of one cell."""
        return cls(
            title=f"cell {cell.id}",
            port=next((one for one in own.ports if one), port),
            run_directory=run_directory,
            script=own.path,
            error_log=run_directory / ERROR_LOG if account.dropped else error_log,
            logs=error_log.parent,
            tmp=application.tmp,
            modules=(),
            python_home=toolchain.home,
            mpm=own.mpm,
            daemon=own.mode is Mode.DAEMON,
            processes=own.processes,
            threads=own.threads,
            urls=(),
            lazy=application.lazy,
            user=account.name,
            group=account.group,
            directives=directives,
            own=own,
            given=given,
            mod_wsgi=toolchain.mod_wsgi,
            application=application.directory,
            account=account,
        )

    @property
    def runtime(self) -> Path:
        """The directory for its sockets, locks and the file with its process id."""
        return self.run_directory / _RUNTIME

    @property
    def run_as(self) -> tuple[int, int] | None:  # type: ignore[override]
        """The user and group of the whole server; None: those that run wsgiproof."""
        return (self.account.uid, self.account.gid) if self.account.dropped else None

    @property
    def environment(self) -> Mapping[str, str]:  # type: ignore[override]
        """The values of the variables in the file, and where Python finds the probe."""
        return {
            **self.own.variables,
            PORT: str(self.port),
            MOD_WSGI_SO: str(self.mod_wsgi),
            MOD_WSGI_PYTHON_HOME: str(self.python_home),
            "PYTHONPATH": str(self.application),
        }

    @property
    def workers(self) -> int:
        """Return how many processes answer at each URL."""
        return self.processes

    def with_processes(self, number: int) -> Self:
        """Return the same: their number is that of the file."""
        return self

    def locations(self) -> list[tuple[str, ...]]:
        """Return the URLs; all processes have the same."""
        return [tuple(self.own.url(one, self.port) for one in self.given)]

    @property
    def kept_log(self) -> Path:
        """Where the error log is in the end."""
        return self.logs / ERROR_LOG

    def keep_log(self) -> None:
        """Put the error log there, if the server could not write to it there."""
        if self.error_log == self.kept_log:
            return
        with suppress(OSError), Directory(self.logs) as logs:
            with open_regular(self.error_log) as log:
                content = read_at_most(log, _LARGEST_LOG)
            logs.remove(ERROR_LOG)
            logs.write(ERROR_LOG, content)

    def make_log(self, directory: Directory, name: str) -> None:
        """Make an empty log that the server may write to, whose path it can reach."""
        _, group = self.account.ids
        directory.remove(name)
        directory.write(name, b"", 0o600 if group == -1 else 0o620, group=group)

    def write(self, directory: Path) -> Path:
        """Write ``httpd.conf`` to ``directory``, and where the server can read it; return the
        latter path."""
        path = super().write(directory)
        content = path.read_bytes()
        user, group = self.account.ids
        with Directory(self.run_directory) as run:
            if _RUNTIME not in run.names():
                run.make(_RUNTIME, owner=user, group=group).close()
            if group == -1:
                return path
            run.remove(HTTPD_CONF)
            run.write(HTTPD_CONF, content, 0o640, group=group)
        return self.run_directory / HTTPD_CONF
