"""Running one process of a mongod.

Every mongod that wsgiproof starts requires authentication. It has a key from the start
(``--keyFile``), and the localhost exception for the first user is switched off, so there is no
moment in which another local user could create one. A client with the key is ``__system``, the user
as which the members of a replica set authenticate to one another (MongoDB manual,
"Internal/Membership Authentication").
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError, ServerSelectionTimeoutError

from wsgiproof.errors import (
    PortTaken,
    PrerequisiteMissing,
    ServiceFailed,
    WsgiproofError,
)
from wsgiproof.files import Directory
from wsgiproof.process.account import Account
from wsgiproof.process.service import Service, how_it_ended
from wsgiproof.server.ports import LOOPBACK, free_port
from wsgiproof.subjects.pymongo.certificates import Certificates, make_certificates
from wsgiproof.subjects.pymongo.ended_sessions import LOG_ENDED_SESSIONS, LOG_SIZE, EndedSessions
from wsgiproof.subjects.pymongo.mongod_binary import Mongod, environment
from wsgiproof.subjects.pymongo.uri import with_options, with_user

OBSERVER = "wsgiproof-observer"
"""The appName of wsgiproof's own connections, so that they never count as the subject's."""

_START_DEADLINE = 30.0
_ANSWER_TIMEOUT = 2.0
"""Seconds to wait for an answer before checking that mongod is still alive: another program may
have its port and stay silent."""
_ATTEMPTS = 5
_FEWEST_ITERATIONS = 5000
"""SCRAM iterations, the fewest that mongod accepts. More make passwords harder to guess; these are
random anyway."""


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """The directory, the account and the key of the mongods of one deployment."""

    directory: Path
    """Belongs to this user. The account may enter it, and write only to what it owns in it."""
    account: Account
    key: str
    certificates: Certificates | None = None
    """None: it has no TLS."""

    @property
    def keyfile(self) -> Path:
        """The file with the key, which the account may read."""
        return self.directory / "keyfile"

    def admin_uri(self, uri: str) -> str:
        """Return a URI of the deployment with the credentials of a user who may do everything."""
        return with_user(
            self.trusted_uri(uri),
            "__system",
            self.key,
            authSource="local",
            authMechanism="SCRAM-SHA-256",
            appName=OBSERVER,
        )

    def trusted_uri(self, uri: str) -> str:
        """Return a URI of the deployment that trusts its authority by the file that only this user
        can change."""
        if self.certificates is None:
            return uri
        return with_options(uri, tls="true", tlsCAFile=str(self.certificates.authority))


def make_home(directory: Path, account: Account, shared: Path | None = None) -> Home:
    """Let ``account`` enter the empty ``directory``, and put a new key into it.

    ``shared`` is an empty directory of Apache's user for certificates; None: there is no TLS.
    Raises :class:`PrerequisiteMissing` if that user can't reach the directory.
    """
    home = Home(directory=directory, account=account, key=secrets.token_hex(48))
    user, group = account.ids
    with Directory(directory) as opened:
        if account.dropped:
            os.fchown(opened.fd, -1, group)
            os.fchmod(opened.fd, 0o710)
        key = home.key.encode()
        opened.write(home.keyfile.name, key, 0o400, owner=user, group=group)
    blocked = account.cannot_reach(home.keyfile)
    if blocked:
        raise PrerequisiteMissing(
            f"mongod's user '{account.name}' can't enter {blocked}: point TMPDIR at a directory "
            "that it can enter, such as /tmp"
        )
    if shared is None:
        return home
    return msgspec.structs.replace(home, certificates=make_certificates(directory, account, shared))


class Member:
    """One running mongod with its own data, on a free loopback port.

    Once it is up, it may be killed, started again on the same port and data, paused and resumed.
    With ``scripting`` it runs JavaScript, which is mongod's default.
    """

    def __init__(
        self,
        mongod: Mongod,
        name: str,
        home: Home,
        logs: Path,
        choose_port: Callable[[], int] = free_port,
        *,
        scripting: bool = False,
    ) -> None:
        self._mongod = mongod
        self.name = name
        self._home = home
        self._logs = logs
        self._choose_port = choose_port
        self._scripting = scripting
        self.port = 0
        self.paused = False
        self._down = False
        """Whether :meth:`kill` has ended it, and it has not been started again."""
        self._service: Service | None = None
        self._data = home.directory
        self._replica_set: str | None = None
        self._starts = 0
        self._log_offset = 0
        """The size of its log in bytes before the latest start."""
        self._stopped = False
        self._ending = threading.Lock()
        self._ended_sessions: EndedSessions | None = None

    def start(self, replica_set: str | None) -> None:
        """Start it, and wait until it answers. Raises :class:`ServiceFailed` with mongod's
        reason."""
        self._replica_set = replica_set
        for attempt in range(1, _ATTEMPTS + 1):
            if self._stopped:
                return
            self.port = self._choose_port()
            self._data = self._home.directory / f"{self.name}-{attempt}"
            user, group = self._home.account.ids
            with Directory(self._home.directory) as home:
                home.make(self._data.name, owner=user, group=group).close()
            try:
                self._start_once()
                return
            except PortTaken:
                if attempt == _ATTEMPTS:
                    raise

    def _start_once(self) -> None:
        self._starts += 1
        log = self._log
        self._log_offset = log.stat().st_size if log.exists() else 0
        account = self._home.account
        self._service = Service(
            [str(self._mongod.path), *self._options()],
            name=self.name,
            log=log,
            events=self._home.directory / f"{self.name}-{self._starts}.events",
            env=environment(),
            cwd=self._home.directory,
            remove=[self._home.directory],
            core=0,  # it would have hundreds of MB, and is not used
            user=(account.uid, account.gid) if account.dropped else None,
        )
        try:
            self._service.__enter__()
        except ServiceFailed as error:
            if account.dropped and "Permission denied" in str(error):
                raise ServiceFailed(
                    f"{error}: mongod runs as '{account.name}', who may not execute that file: "
                    "'chmod a+rx' it, or name another mongod with --mongodb PATH"
                ) from error
            raise
        if self._stopped:  # by another thread, before there was a process to end
            self._end()
            return
        self._await_answer(log)

    @property
    def pids(self) -> tuple[int, ...]:
        """Its process; none while it is down."""
        return (self._service.pid,) if self.alive() and self._service is not None else ()

    def alive(self) -> bool:
        """Whether its process exists; it may be paused."""
        return self._service is not None and self._service.alive()

    def trouble(self) -> str:
        """Return what another process did to it (killed or paused it), or that it ended by itself.
        Empty if nothing happened, and while it is down because :meth:`kill` was called."""
        if self._service is None or self._down or self._stopped:
            return ""
        trouble = self._service.trouble()
        return trouble and f"{self.name} (pid {self._service.pid}) {trouble} (log: {self._log})"

    def client(self, timeout: float = 30.0) -> MongoClient[dict[str, Any]]:
        """Return a client of this member alone, with all rights. Each operation waits up to
        ``timeout`` seconds for the member."""
        return MongoClient(
            self._home.admin_uri(f"mongodb://{LOOPBACK}:{self.port}/"),
            directConnection=True,
            serverSelectionTimeoutMS=int(timeout * 1000),
        )

    def connect(self, timeout: float) -> socket.socket:
        """Return a new connection to it, encrypted if it has TLS; ``timeout`` is in seconds. Raises
        OSError."""
        connection = socket.create_connection((LOOPBACK, self.port), timeout)
        if self._tls is None:
            return connection
        try:
            return self._tls.wrap_socket(connection, server_hostname=LOOPBACK)
        except BaseException:
            connection.close()
            raise

    @cached_property
    def _tls(self) -> ssl.SSLContext | None:
        certificates = self._home.certificates
        if certificates is None:
            return None
        return ssl.create_default_context(cafile=str(certificates.authority))

    def ended_sessions(self) -> frozenset[UUID] | None:
        """Return the ids of the sessions that clients have ended; None if it does not log them.

        Raises OSError if its log can't be read.
        """
        return None if self._ended_sessions is None else self._ended_sessions.read()

    @property
    def _log(self) -> Path:
        return self._logs / f"{self.name}.log"

    def kill(self) -> None:
        """Send SIGKILL, which looks like a crash. The data is kept for :meth:`start_again`.

        Raises :class:`ServiceFailed` if that fails, or if another process has killed or paused it
        before.
        """
        self._raise_trouble()
        self.paused = False
        self._down = True
        self._end()

    def start_again(self) -> None:
        """Start it on the same port with the same data, after :meth:`kill`, and wait for an answer.

        Raises :class:`ServiceFailed` with the reason, for example that its port is taken.
        """
        if self._stopped:
            return
        try:
            self._start_once()
        except ServiceFailed as error:
            raise ServiceFailed(f"{self.name} could not be started again: {error}") from error
        self._down = False

    def pause(self) -> None:
        """Pause it with SIGSTOP: its connections stay open, but nothing is answered on them.

        Raises :class:`ServiceFailed` if another process has killed or paused it before.
        """
        self._raise_trouble()
        self._signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """Resume it with SIGCONT."""
        self._signal(signal.SIGCONT)
        self.paused = False

    def _raise_trouble(self) -> None:
        if trouble := self.trouble():
            raise ServiceFailed(trouble)

    def _signal(self, number: signal.Signals) -> None:
        if self._service is not None:
            self._service.signal(number)

    def _options(self) -> list[str]:
        options = ["--dbpath", str(self._data), "--port", str(self.port), "--bind_ip", LOOPBACK]
        # A small cache and no background work, since it shares the machine with the subject.
        options += ["--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"]
        options += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        options += ["--setParameter", "ttlMonitorEnabled=false"]
        options += ["--setParameter", f"maxLogSizeKB={LOG_SIZE}"]
        # Only a client with the key, or a user that wsgiproof creates, may do anything.
        options += ["--keyFile", str(self._home.keyfile)]
        options += ["--setParameter", "enableLocalhostAuthBypass=false"]
        for mechanism in ("scram", "scramSHA256"):
            options += ["--setParameter", f"{mechanism}IterationCount={_FEWEST_ITERATIONS}"]
        if certificates := self._home.certificates:
            options += ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(certificates.key)]
            options += ["--tlsCAFile", str(certificates.authority)]
            options += ["--tlsAllowConnectionsWithoutCertificates"]
        if not self._scripting:
            options += ["--noscripting"]
        if self._replica_set:
            options += ["--replSet", self._replica_set, "--oplogSize", "64"]
        return options

    def _await_answer(self, log: Path) -> None:
        assert self._service is not None
        if not self._accepts_in_time():
            raise self._not_started(log)
        # Only now: a client whose first attempt fails waits half a second before the next.
        with self.client(_ANSWER_TIMEOUT) as client:
            if self._pid_on_port(client) != self._service.pid:
                raise self._not_started(log)
            self._log_ended_sessions(client)

    def _log_ended_sessions(self, client: MongoClient[dict[str, Any]]) -> None:
        try:
            client.admin.command(LOG_ENDED_SESSIONS)
        except OperationFailure:  # before MongoDB 4.4.2
            return
        if self._ended_sessions is None:
            self._ended_sessions = EndedSessions(self._log)

    def _pid_on_port(self, client: MongoClient[dict[str, Any]]) -> object:
        """Return the pid of the mongod that answers on the port; None if nothing answers, or if
        this mongod has ended."""
        assert self._service is not None
        limit = time.monotonic() + _START_DEADLINE
        while self._service.alive() and time.monotonic() < limit:
            try:
                return client.admin.command("serverStatus").get("pid")
            except ServerSelectionTimeoutError:
                continue
            except PyMongoError:
                return None
        return None

    def _accepts_in_time(self) -> bool:
        assert self._service is not None
        limit = time.monotonic() + _START_DEADLINE
        while self._service.alive() and time.monotonic() < limit:
            if _accepts(self.port):
                return True
            time.sleep(0.01)
        return False

    def _not_started(self, log: Path) -> ServiceFailed:
        ended = self._how_it_ended()
        self._end()
        content = log.read_bytes()[self._log_offset :] if log.exists() else b""
        text = content.decode(errors="replace")
        if "Address already in use" in text:
            return PortTaken(f"port {self.port} was taken before mongod could bind it")
        # Only errors: a healthy start also logs failures, at the level of information.
        severe = "\n".join(re.findall(r'^\{.*"s":"[EF]".*', text, re.MULTILINE))
        reasons = re.findall(r'"(?:error|reason|errmsg)":"([^"]+)"', severe)
        plain = [line for line in text.splitlines() if line.strip() and not line.startswith("{")]
        reason = (reasons or plain or ["it gave no reason"])[-1]
        return ServiceFailed(f"{self._mongod.path} did not start: {reason} ({ended}; log: {log})")

    def _how_it_ended(self) -> str:
        """Say how it ended, or that it is still running."""
        assert self._service is not None
        if self._service.alive():
            return "it is running, but did not answer"
        return f"it {how_it_ended(self._service.ended())}"

    def stop(self) -> None:
        """End it at once and for good; its data is not needed any more.

        Never raises, since it is called while another exception propagates, such as that of Ctrl-C,
        which an error of a mongod must not replace.
        """
        self._stopped = True
        with suppress(WsgiproofError):
            self._end()

    def _end(self) -> None:
        with self._ending:  # the starting and the stopping thread may both get here
            if self._service is not None:
                try:
                    self._service.stop(5.0, signal.SIGKILL)
                finally:  # stop() raises if the guard was killed
                    self._service.__exit__(None, None, None)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((LOOPBACK, port)) == 0
