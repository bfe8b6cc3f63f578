"""A child process with its guard, seen from wsgiproof, which owns both.

The guard (:mod:`wsgiproof.process.guard`) ends the child and all its descendants when wsgiproof
ends, however that happens, and records how each of them died. A killed or paused guard is an error
of the run, never of the subject; :mod:`wsgiproof.process.leftovers` ends the processes that were
below it. All times are CLOCK_MONOTONIC seconds, as from :func:`time.monotonic`.

Nothing here is process-wide (no signal handlers, no ``waitpid(-1)``), so several threads can run
several children.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from wsgiproof import limits
from wsgiproof.errors import CannotRun
from wsgiproof.process.cgroups import end_group
from wsgiproof.process.guard.proc import read_stat
from wsgiproof.process.guard.settings import Settings
from wsgiproof.process.leftovers import current_run, end_service
from wsgiproof.process.signals import interrupts_deferred
from wsgiproof.process.spawn import MARKER, run_name, spawn

GUARD = Path(__file__).with_name("guard") / "__main__.py"

START_DEADLINE = 30.0
"""Seconds for a guard to start its command; it takes 0.03 on an idle machine."""

KILL_DEADLINE = 10.0
"""Seconds for killed processes to end; only one in state D (proc(5)) can need them."""

LOOK_EVERY = 0.5
"""Seconds between two checks whether a guard is paused, while waiting for it."""


@dataclass(frozen=True)
class ProcessEvent:
    """The birth or the death of one process.

    For a death, ``exit`` is the exit code or ``signal`` the signal, and ``core`` says whether the
    kernel dumped core. Both are None if the status could not be read, which is rare (before Linux
    6.15, if a parent reaps its child within microseconds) and is not a clean exit. ``name`` is the
    comm of proc(5), at most 15 characters.
    """

    time: float
    kind: Literal["born", "died"]
    pid: int
    ppid: int | None
    name: str
    exit: int | None = None
    signal: int | None = None
    core: bool = False


@dataclass(frozen=True)
class Confinement:
    """What is taken from a command that runs code nobody has looked at.

    It can write only in ``directory``, which has to exist and becomes a small file system of its
    own, and it has no network. ``limits`` are by the names in
    :data:`wsgiproof.process.guard.settings.LIMITS`.
    """

    directory: Path
    limits: Mapping[str, int]


@dataclass(frozen=True)
class PrivatePlaces:
    """What a command that root starts does not share with the rest of the machine.

    It has ``directories`` in place of others, by their paths, and a set of System V objects of its
    own. ``visible`` are directories below these places that it sees nevertheless: an empty
    directory of that name has to be in the one that takes the place.
    """

    directories: Mapping[Path, Path]
    visible: Sequence[Path] = ()


class Events:
    """The events file of a guard, read as it grows."""

    def __init__(self, path: Path) -> None:
        # Emptied before the guard starts, so that an old file is not read as a new one.
        path.write_bytes(b"")
        self._file: BinaryIO = path.open("rb")
        self._partial = b""
        self._lock = threading.Lock()
        self._known: list[ProcessEvent] = []
        self._alive: dict[int, str] = {}
        self.failure: str | None = None
        self.ended = False
        self.paused = False
        self.confined: dict[str, str] | None = None
        self.private = False

    def close(self) -> None:
        self._read()
        self._file.close()

    def known(self) -> list[ProcessEvent]:
        """Return all births and deaths so far."""
        self._read()
        with self._lock:
            return list(self._known)

    def alive(self) -> dict[int, str]:
        """Return pid → name of the living processes."""
        self._read()
        with self._lock:
            return dict(self._alive)

    def has(self, pid: int) -> bool:
        """Return whether process ``pid`` lives; each response of a load asks for it."""
        self._read()
        with self._lock:
            return pid in self._alive

    def first(self) -> ProcessEvent | None:
        """Return the birth of the command; None if it has not started."""
        known = self.known()
        return known[0] if known else None

    def death(self, pid: int) -> ProcessEvent | None:
        """Return the death of process ``pid``; None if it has not died."""
        return next((e for e in self.known() if e.kind == "died" and e.pid == pid), None)

    def _read(self) -> None:
        with self._lock:
            if self._file.closed:
                return
            *lines, self._partial = (self._partial + self._file.read()).split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        if line["event"] == "born":
            self._known.append(
                ProcessEvent(line["t"], "born", line["pid"], line["ppid"], line["name"])
            )
            self._alive[line["pid"]] = line["name"]
        elif line["event"] == "died":
            how = (line["exit"], line["signal"], line["core"])
            self._known.append(
                ProcessEvent(line["t"], "died", line["pid"], None, line["name"], *how)
            )
            self._alive.pop(line["pid"], None)
        elif line["event"] == "paused":
            self.paused = True
        elif line["event"] == "confined":
            self.confined = {what: line[what] for what in ("network", "files")}
        elif line["event"] == "private":
            self.private = not line["error"]
        elif line["event"] == "failed":
            self.failure = line["error"]
        elif line["event"] == "end":
            self.ended = True


class Guarded:
    """A command with its guard, and this end of the guard's control pipe.

    Creating and starting it are two steps, so that the caller can always :meth:`finish` it,
    whenever an exception (KeyboardInterrupt) comes. ``events`` is a file for the guard, and the
    rest is as for :class:`wsgiproof.process.service.Service`.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        events: Path,
        env: Mapping[str, str],
        cwd: Path | None = None,
        remove: Sequence[Path] = (),
        core: int | None = None,
        core_directory: Path | None = None,
        user: tuple[int, int] | None = None,
        confinement: Confinement | None = None,
        limits: Mapping[str, int] | None = None,
        private: PrivatePlaces | None = None,
    ) -> None:
        self.pid = 0
        self._run = current_run()
        self._marker, self._group = self._run.new_service()
        # These options make it start fast, and independent of settings.
        guard = (sys.executable, "-I", "-S", "-X", "utf8", GUARD, events.absolute())
        self._command = [*map(str, guard), *argv]
        self._settings = Settings(
            environment={**env, MARKER: self._marker},
            cwd=_path(cwd),
            remove=[str(directory.absolute()) for directory in remove],
            core=core,
            core_directory=_path(core_directory),
            cgroup=_path(self._group),
            lock=self._run.lock,
            user=user,
            limits={**(confinement.limits if confinement else {}), **(limits or {})},
            confine=_path(confinement.directory.absolute() if confinement else None),
            private={str(place): str(own) for place, own in private.directories.items()}
            if private
            else {},
            visible=[str(directory) for directory in private.visible] if private else [],
        )
        try:
            self.events = Events(events)
        except OSError as error:
            raise _start_error(argv, error) from error
        self._lock = threading.Lock()
        self._control: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, output: BinaryIO) -> None:
        """Start the command with its output to ``output``. Raises CannotRun if it can't be
        executed."""
        self._write(self._spawn(output))
        self._await_birth()

    def _spawn(self, output: BinaryIO) -> bytes:
        """Start the guard, and return what it has to be told and is not yet in its pipe."""
        told = self._settings.encode()
        try:
            # os.pipe() is close-on-exec, so no other child keeps this end open after wsgiproof
            # ends.
            guard_end, self._control = os.pipe()
        except OSError as error:
            raise _start_error(self._command, error) from error
        # A paused guard reads nothing.
        os.set_blocking(self._control, False)
        lock = self._run.lock
        try:
            # First, so that it knows what to remove even if wsgiproof is killed right now.
            told = told[os.write(self._control, told) :]
            # In its own session it does not get Ctrl-C. It does not get the command's environment,
            # whose LD_LIBRARY_PATH may be for another Python.
            self._process = spawn(
                self._command,
                env={**_guard_environment(), MARKER: run_name()},
                stdin=guard_end,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=() if lock is None else (lock,),
            )
        except OSError as error:
            raise _start_error(self._command, error) from error
        finally:
            os.close(guard_end)
        return told

    def _await_birth(self) -> None:
        """Wait until the command runs. Raises CannotRun with its error if it can't."""
        until = time.monotonic() + START_DEADLINE
        gone = False
        while not gone and time.monotonic() < until:
            gone = self.wait(0.002)
            born = self.events.first()
            if born is not None:
                self.pid = born.pid
                return
        if self.events.failure is not None:
            raise CannotRun(f"cannot start {self.events.failure}")
        if self.paused():
            raise CannotRun("the guard of a command has been paused (SIGSTOP)")
        raise CannotRun(f"the guard did not start its command within {START_DEADLINE:g} s")

    def send(self, line: str) -> None:
        """Send a line to the guard; do nothing if it has ended or is paused."""
        self._write(line.encode() + b"\n")

    def _write(self, data: bytes) -> None:
        until = time.monotonic() + START_DEADLINE
        with self._lock:
            while data and self._control is not None and time.monotonic() < until:
                try:
                    data = data[os.write(self._control, data) :]
                except BrokenPipeError:
                    return
                except BlockingIOError:
                    if self.paused():
                        return
                    poller = select.poll()
                    poller.register(self._control, select.POLLOUT)
                    poller.poll(100)

    def wait(self, seconds: float) -> bool:
        """Wait until the guard has ended, which it does when all processes below it have."""
        if self._process is None or self._process.poll() is not None:
            return True
        # Popen.wait with a timeout sleeps up to 50 ms too long.
        try:
            await_end(self._process.pid, seconds)
        except ProcessLookupError:  # another thread has reaped it
            return True
        except OSError:  # no descriptor is left
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(max(0.0, seconds))
        return self._process.poll() is not None

    def wait_watching(self, seconds: float) -> bool:
        """Do the same, but return early if the guard is paused, since that may never end."""
        until = time.monotonic() + seconds
        while not self.wait(min(LOOK_EVERY, max(0.0, until - time.monotonic()))):
            if time.monotonic() >= until or self.paused():
                return False
        return True

    def broken(self) -> str:
        """Return what keeps the guard from its work: it is gone (killed, or a defect), or paused;
        empty if nothing does."""
        if not self.wait(0):
            return "has been paused (SIGSTOP)" if self.paused() else ""
        self.events.known()
        return "" if self.events.ended or self.events.failure is not None else "is gone"

    def paused(self) -> bool:
        """Whether another process has stopped the guard with a signal."""
        if self._process is None or self._process.returncode is not None:
            return False
        stat = read_stat(self._process.pid)
        return stat is not None and stat.state == "T"

    def finish(self) -> None:
        """End all remaining processes and the guard at once. Ctrl-C is deferred meanwhile."""
        with interrupts_deferred():
            try:
                if self._process is not None and self.paused():
                    self._process.send_signal(signal.SIGCONT)
                self.send("kill")
                if not self.wait_watching(KILL_DEADLINE) and self._process is not None:
                    # Not by closing the pipe, since the guard would then remove directories.
                    self._process.kill()
                    self._process.wait()
                if self._process is None or self.broken():
                    end_service(self._marker, self._group, KILL_DEADLINE)
            finally:
                with self._lock:
                    if self._control is not None:
                        os.close(self._control)
                        self._control = None
                self.events.close()
                if self._group is not None:
                    end_group(self._group, LOOK_EVERY)


def await_end(pid: int, seconds: float) -> None:
    """Wait up to ``seconds`` for the end of a child, without reaping it. Raises OSError."""
    pidfd = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        poller.poll(max(0, round(seconds * 1000)))
    finally:
        os.close(pidfd)


def _guard_environment() -> dict[str, str]:
    """Return the variables that this interpreter may need to start."""
    found = os.environ.get("LD_LIBRARY_PATH")
    return {"LD_LIBRARY_PATH": found} if found else {}


def _start_error(argv: Sequence[str], error: OSError) -> CannotRun:
    reason = limits.explain(error) or error.strerror or str(error)
    return CannotRun(f"cannot start {argv[0]}: {reason}")


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)
