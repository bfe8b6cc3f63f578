"""Run and supervise child processes with deadlines, so that none outlives wsgiproof.

Each child runs under its own guard (:mod:`wsgiproof.process.guard`). The guard ends the child and
all its descendants when wsgiproof ends, however that happens, and records how each of them died. A
killed or paused guard is an error of the run, never of the subject;
:mod:`wsgiproof.process.leftovers` ends the processes that were below it. Only
:func:`run_unguarded` works without a guard. All times are CLOCK_MONOTONIC seconds, as from
:func:`time.monotonic`.

Every wait has a deadline. If the machine has no process, descriptor or memory left,
:class:`CannotRun` names the limit.

Nothing here is process-wide (no signal handlers, no ``waitpid(-1)``), so several threads can run
several services.
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Signals
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

from wsgiproof import limits
from wsgiproof.errors import CannotRun, DeadlineExceeded, ServiceFailed
from wsgiproof.process.cgroups import end_group
from wsgiproof.process.guard import read_stat
from wsgiproof.process.leftovers import current_run, end_service, temporary_directory
from wsgiproof.process.signals import check_interrupted, interrupts_deferred
from wsgiproof.process.spawn import MARKER, run_name, spawn

GUARD = Path(__file__).with_name("guard.py")

START_DEADLINE = 30.0
"""Seconds for a guard to start its command; it takes 0.03 on an idle machine."""

KILL_DEADLINE = 10.0
"""Seconds for killed processes to end; only one in state D (proc(5)) can need them."""

LOOK_EVERY = 0.5
"""Seconds between two checks whether a guard is paused, while waiting for it."""

_FOLLOW_STEP = 0.1
"""Seconds between two looks at a service that is to stop."""
_DEATH_REPORT_DEADLINE = 5.0
"""Seconds for the guard to report a death that the kernel knows of."""

MOST_OUTPUT = 64 << 20
"""Bytes that are read of what a finite command has printed."""

STRAGGLER_GRACE = 0.5
"""Seconds that the children of a finite command may outlive the command."""


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
class Stopped:
    """The result of a stop: the seconds until all processes had ended, and the pids alive at the
    deadline."""

    seconds: float
    leftover: tuple[int, ...]


@dataclass(frozen=True)
class Completed:
    """The result of a finite command.

    ``returncode`` is the exit code, or minus the signal; ``output`` is stdout and stderr, mixed.
    """

    returncode: int
    output: str
    seconds: float


@dataclass(frozen=True)
class Confinement:
    """What is taken from a command that runs code nobody has looked at.

    It can write only in ``directory``, which has to exist and becomes a small file system of its
    own, and it has no network. ``limits`` are those of :data:`wsgiproof.process.guard.LIMITS`, by
    name.
    """

    directory: Path
    limits: Mapping[str, int]


class _Events:
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
        elif line["event"] == "failed":
            self.failure = line["error"]
        elif line["event"] == "end":
            self.ended = True


class _Guard:
    """A guard, and this end of its control pipe.

    Creating and starting it are two steps, so that the caller can always :meth:`finish` it,
    whenever an exception (KeyboardInterrupt) comes.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        events: Path,
        env: Mapping[str, str],
        cwd: Path | None,
        remove: Sequence[Path],
        core: int | None = None,
        core_directory: Path | None = None,
        user: tuple[int, int] | None = None,
        confinement: Confinement | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        self.pid = 0
        self._run = current_run()
        self._marker, self._group = self._run.new_service()
        self._command = _guard_command(
            argv,
            events,
            cwd,
            remove,
            core,
            core_directory,
            self._group,
            self._run.lock,
            user,
            confinement,
            {**(confinement.limits if confinement else {}), **(limits or {})},
        )
        self._env = {**env, MARKER: self._marker}
        try:
            self.events = _Events(events)
        except OSError as error:
            raise _start_error(argv, error) from error
        self._lock = threading.Lock()
        self._control: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, output: BinaryIO) -> None:
        """Start the command with its output to ``output``. Raises CannotRun if it can't be
        executed."""
        self._spawn(output)
        self.send(json.dumps(self._env))
        self._await_birth()

    def _spawn(self, output: BinaryIO) -> None:
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
        data = line.encode() + b"\n"
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
            pidfd = os.pidfd_open(self._process.pid)
        except ProcessLookupError:  # another thread has reaped it
            return True
        except OSError:  # no descriptor is left
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(max(0.0, seconds))
            return self._process.poll() is not None
        try:
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            poller.poll(max(0, round(seconds * 1000)))
        finally:
            os.close(pidfd)
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


def _guard_command(
    argv: Sequence[str],
    events: Path,
    cwd: Path | None,
    remove: Sequence[Path],
    core: int | None,
    core_directory: Path | None,
    group: Path | None,
    lock: int | None,
    user: tuple[int, int] | None,
    confinement: Confinement | None,
    limits: Mapping[str, int],
) -> list[str]:
    """Return the command line of a guard; -I -S -X utf8 make it start fast and independent of
    settings."""
    command = [sys.executable, "-I", "-S", "-X", "utf8", str(GUARD), str(events.absolute())]
    if cwd is not None:
        command += ["--cwd", str(cwd)]
    for directory in remove:
        command += ["--remove", str(directory.absolute())]
    if core is not None:
        command += ["--core", str(core)]
    if core_directory is not None:
        command += ["--core-directory", str(core_directory)]
    if group is not None:
        command += ["--cgroup", str(group)]
    if lock is not None:
        command += ["--lock", str(lock)]
    if user is not None:
        command += ["--user", f"{user[0]}:{user[1]}"]
    if confinement is not None:
        command += ["--confine", str(confinement.directory.absolute())]
    for name, most in limits.items():
        command += ["--limit", f"{name}={most}"]
    return [*command, "--", *argv]


def _guard_environment() -> dict[str, str]:
    """Return the variables that this interpreter may need to start."""
    found = os.environ.get("LD_LIBRARY_PATH")
    return {"LD_LIBRARY_PATH": found} if found else {}


def _start_error(argv: Sequence[str], error: OSError) -> CannotRun:
    reason = limits.explain(error) or error.strerror or str(error)
    return CannotRun(f"cannot start {argv[0]}: {reason}")


class Service:
    """A program that runs until it is stopped, as a context manager.

    stdout and stderr are appended to ``log``; ``events`` is a file for the guard. ``env`` is the
    whole environment, except for the marker of the run. The directories in ``remove`` are scratch
    space: they are removed if wsgiproof dies while this service runs; otherwise the caller removes
    them. ``core`` is the largest core file that its processes may leave, in bytes; None keeps the
    current limit. ``core_directory`` is a directory that the program gets open, as descriptor
    :data:`wsgiproof.process.guard.CORE_DESCRIPTOR`. ``user`` is the uid and gid to run as, which
    requires root; the program is then given by its path, and must be executable for that user, but
    need not be reachable. ``confinement`` is what is taken from the program.

    Entering returns when the program has been executed, and raises ServiceFailed with the reason if
    it can't be. Leaving KILLs all processes that are still alive: call :meth:`stop` first.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        name: str,
        log: Path,
        events: Path,
        env: Mapping[str, str],
        cwd: Path | None = None,
        remove: Sequence[Path] = (),
        core: int | None = None,
        core_directory: Path | None = None,
        user: tuple[int, int] | None = None,
        confinement: Confinement | None = None,
    ) -> None:
        self.argv = tuple(argv)
        self.name = name
        self.log = log
        self._events_path = events
        self._env = env
        self._cwd = cwd
        self._remove = tuple(remove)
        self._core = core
        self._core_directory = core_directory
        self._user = user
        self._confinement = confinement
        self._paused = False
        self._stop_began: float | None = None
        self._guard: _Guard | None = None
        self._stopped: Stopped | None = None

    def __enter__(self) -> Self:
        try:
            self._guard = _Guard(
                self.argv,
                events=self._events_path,
                env=self._env,
                cwd=self._cwd,
                remove=self._remove,
                core=self._core,
                core_directory=self._core_directory,
                user=self._user,
                confinement=self._confinement,
            )
            with self.log.open("ab") as output:
                self._guard.start(output)
        except BaseException as error:
            if self._guard is not None:
                self._guard.finish()
            if isinstance(error, CannotRun):
                raise ServiceFailed(f"{self.name}: {error}") from None
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._stop_began is None:
            self._stop_began = time.monotonic()
        if self._guard is not None:
            self._guard.finish()

    @property
    def pid(self) -> int:
        """The process id of the service, which leads its own session and process group."""
        return self._running.pid

    @property
    def _running(self) -> _Guard:
        if self._guard is None:
            raise RuntimeError(f"{self.name} has not been entered")
        return self._guard

    def events(self) -> list[ProcessEvent]:
        """Return all births and deaths of the service and its descendants so far, in order.

        The first is the birth of the service. A process that lives less than about 50 ms may be
        missing, unless its parent ends before it.
        """
        return self._running.events.known()

    def living(self) -> dict[int, str]:
        """Return pid → name of the living processes: the service and its descendants."""
        return self._running.events.alive()

    def alive(self) -> bool:
        """Whether the service itself is alive."""
        return self._running.events.has(self.pid) and not self._running.broken()

    def signal(self, number: int) -> None:
        """Send a signal to the service itself; do nothing if it has ended.

        The guard sends it through a pidfd, so it can't hit another process that reuses the pid.
        """
        if number in (SIGSTOP, SIGCONT):
            self._paused = number == SIGSTOP
        self._running.send(f"signal {int(number)}")

    def ended(self) -> ProcessEvent | None:
        """Return the death of the service itself, if it ended before it was stopped; else None."""
        death = self._running.events.death(self.pid)
        if death is None or (self._stop_began is not None and death.time >= self._stop_began):
            return None
        return death

    def paused_by_others(self) -> bool:
        """Whether another process has ever paused (SIGSTOP) or continued the service."""
        self._running.events.known()
        return self._running.events.paused

    def not_confined(self) -> dict[str, str]:
        """Return what of a :class:`Confinement` the kernel did not allow (``network``, ``files``),
        each with its error."""
        self._running.events.known()
        return {what: why for what, why in (self._running.events.confined or {}).items() if why}

    def trouble(self) -> str:
        """Return what others did to the service, such as "died of SIGKILL"; empty if nothing.

        Not for a service that has been asked to stop. Since the guard may take a moment to report
        an event, the kernel is asked as well.
        """
        if self._running.broken():
            return "was ended because its guard was killed"
        stat = read_stat(self.pid)
        if self.pid in self.living() and stat is not None and stat.state not in "ZX":
            if self.paused_by_others():
                return "was paused for a while"
            return "is paused" if stat.state in "Tt" and not self._paused else ""
        limit = time.monotonic() + _DEATH_REPORT_DEADLINE
        while (death := self.ended()) is None and time.monotonic() < limit:
            time.sleep(0.01)
        return how_it_ended(death)

    def wait(self, deadline: float) -> bool:
        """Wait up to ``deadline`` seconds; return whether all processes of the service have ended.

        Raises ServiceFailed if the guard was killed or paused, since it is then unknown how they
        ended.
        """
        gone = self._running.wait_watching(deadline)
        broken = self._running.broken()
        if broken:
            raise ServiceFailed(f"{self.name}: its guard {broken}, see the end of {self.log}")
        return gone

    def stop(
        self,
        deadline: float,
        sig: int = SIGTERM,
        *,
        follow: Callable[[float], None] | None = None,
    ) -> Stopped:
        """Send ``sig`` to the service, and KILL what is left after ``deadline`` seconds.

        While any is left, ``follow`` is called about ten times a second, with the seconds since the
        signal. A second call returns the result of the first. Raises as :meth:`wait`, after all
        processes have ended, and ServiceFailed if a process can't be killed.
        """
        if self._stopped is None:
            try:
                self._stopped = self._stop(deadline, sig, follow)
            except ServiceFailed:
                self._running.finish()
                raise
        return self._stopped

    def _stop(self, deadline: float, sig: int, follow: Callable[[float], None] | None) -> Stopped:
        began = time.monotonic()
        self._stop_began = self._stop_began or began
        self.signal(sig)
        leftover: tuple[int, ...] = ()
        end = began + deadline
        if follow is not None:
            while (now := time.monotonic()) < end and not self.wait(min(_FOLLOW_STEP, end - now)):
                follow(time.monotonic() - began)
        if not self.wait(max(0.0, end - time.monotonic())):
            leftover = tuple(self.living())
            self._running.send("kill")
            if not self.wait(KILL_DEADLINE):
                pids = ", ".join(map(str, self.living()))
                raise ServiceFailed(f"{self.name}: cannot be killed, still running: {pids}")
        return Stopped(time.monotonic() - began, leftover)


def how_it_ended(death: ProcessEvent | None) -> str:
    """Describe a death: ``died of SIGKILL``, or ``ended with exit code 3``."""
    if death is not None and death.signal is not None:
        return f"died of {_signal_name(death.signal)}"
    if death is not None and death.exit is not None:
        return f"ended with exit code {death.exit}"
    return "ended with an unknown status"


def _signal_name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:  # only the first and the last real-time signal have names
        return f"signal {number}"


def run(
    argv: Sequence[str],
    *,
    deadline: float,
    env: Mapping[str, str],
    cwd: Path | None = None,
    log: Path | None = None,
    remove: Sequence[Path] = (),
    heartbeat: Callable[[], None] = lambda: None,
    user: tuple[int, int] | None = None,
    limits: Mapping[str, int] | None = None,
) -> Completed:
    """Run a finite command for at most ``deadline`` seconds, and return its result.

    ``env`` is the whole environment, except for the marker of the run and TMPDIR, which is a
    directory of the command that is removed after it. The output is also appended to ``log``; the
    result has the end of it, at most :data:`MOST_OUTPUT` bytes. ``user`` and ``limits`` are as for
    :class:`Service` and :class:`Confinement`.
    Processes that the command leaves running are killed soon after its end. ``remove`` is as for
    :class:`Service`. ``heartbeat`` is called about twenty times a second while the command runs.

    Raises CannotRun if the command can't be executed, and DeadlineExceeded if it was too slow. A
    non-zero exit code is returned.
    """
    began = time.monotonic()
    with temporary_directory() as scratch:
        tmpdir = scratch / "tmp"
        tmpdir.mkdir(mode=0o700)
        if user is not None:
            scratch.chmod(0o711)
            os.chown(tmpdir, *user)
        output_path = scratch / "output" if log is None else log
        guard = _Guard(
            argv,
            events=scratch / "events",
            env={**env, "TMPDIR": str(tmpdir)},
            cwd=cwd,
            remove=(scratch, *remove),
            user=user,
            limits=limits,
        )
        try:
            with output_path.open("ab") as output:
                start = output.tell()
                guard.start(output)
            death = _await_command(guard, began + deadline, heartbeat)
        finally:
            guard.finish()
        seconds = time.monotonic() - began
        with output_path.open("rb") as written:
            written.seek(max(start, written.seek(0, os.SEEK_END) - MOST_OUTPUT))
            text = written.read().decode(errors="replace")
    if death is None:
        raise DeadlineExceeded(_timeout_message(argv, deadline, text, log))
    return Completed(_returncode(death), text, seconds)


def _await_command(
    guard: _Guard, until: float, heartbeat: Callable[[], None]
) -> ProcessEvent | None:
    """Wait for the end of the command, and a little for its children; return None if it is too
    slow."""
    death = None
    while death is None:
        check_interrupted()
        left = until - time.monotonic()
        gone = guard.wait(min(0.05, max(0.0, left)))
        heartbeat()
        death = guard.events.death(guard.pid)
        if death is None and gone:
            raise CannotRun("the guard of a command was killed, and the command with it")
        if death is None and guard.paused():
            raise CannotRun("the guard of a command has been paused (SIGSTOP)")
        if death is None and left <= 0:
            return None
    guard.wait(max(0.0, min(STRAGGLER_GRACE, until - time.monotonic())))
    return death


def _returncode(death: ProcessEvent) -> int:
    if death.exit is not None:
        return death.exit
    if death.signal is not None:
        return -death.signal
    raise CannotRun(f"the exit status of {death.name} (pid {death.pid}) could not be read")


def _timeout_message(argv: Sequence[str], deadline: float, output: str, log: Path | None) -> str:
    """Describe in one line what was too slow, with the last line of its output."""
    message = f"{' '.join(argv)[:200]} was still running after {deadline:g} s and has been killed"
    lines = output.split("\n") if log is None else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if log is not None:
        return f"{message}; see {log}"
    return f"{message}; its last line: {last[:200]}" if last else message


def run_unguarded(
    argv: Sequence[str | Path],
    *,
    deadline: float,
    env: Mapping[str, str],
    largest: int = 1 << 20,
    **options: Any,
) -> Completed:
    """Run a short command without a guard, which would take as long to start as the command.

    At most ``largest`` bytes of its output are read. After that, or at the deadline, it and its
    process group are killed. Processes that have left the group, or that are left if wsgiproof is
    killed meanwhile, have the marker of the run and are ended with it. ``options`` are those of
    Popen.

    Raises OSError if it can't be executed, DeadlineExceeded if it was too slow, and CannotRun if a
    limit of the machine is reached.
    """
    began = time.monotonic()
    current_run()
    process = spawn(
        argv,
        env=env,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options},
        start_new_session=True,
    )
    output = b""
    try:
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        poller = select.poll()
        poller.register(pipe, select.POLLIN)
        while len(output) < largest:
            left = began + deadline - time.monotonic()
            if left <= 0 or not poller.poll(round(left * 1000) + 1):
                raise DeadlineExceeded(_timeout_message(list(map(str, argv)), deadline, "", None))
            part = os.read(pipe, min(65536, largest - len(output)))
            if not part:
                break
            output += part
        _await_end(process.pid, min(STRAGGLER_GRACE, began + deadline - time.monotonic()))
    finally:
        with interrupts_deferred():
            # It has not been reaped yet, so its pid and its process group can't have been reused.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
    return Completed(process.returncode, output.decode(errors="replace"), time.monotonic() - began)


def _await_end(pid: int, seconds: float) -> None:
    """Wait for the end of a child, without reaping it."""
    with contextlib.suppress(OSError):
        pidfd = os.pidfd_open(pid)
        try:
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            poller.poll(max(0, round(seconds * 1000)))
        finally:
            os.close(pidfd)
