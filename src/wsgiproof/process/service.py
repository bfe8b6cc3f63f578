"""A program that runs until it is stopped, with its guard."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM, Signals
from types import TracebackType
from typing import Self

from wsgiproof.errors import CannotRun, ServiceFailed
from wsgiproof.process.guard.proc import read_stat
from wsgiproof.process.guarded import (
    KILL_DEADLINE,
    Confinement,
    Guarded,
    PrivatePlaces,
    ProcessEvent,
)

_FOLLOW_STEP = 0.1
"""Seconds between two looks at a service that is to stop."""

_DEATH_REPORT_DEADLINE = 5.0
"""Seconds for the guard to report a death that the kernel knows of."""


@dataclass(frozen=True)
class Stopped:
    """The result of a stop: the seconds until all processes had ended, and the pids alive at the
    deadline."""

    seconds: float
    leftover: tuple[int, ...]


class Service:
    """A program that runs until it is stopped, as a context manager.

    stdout and stderr are appended to ``log``; ``events`` is a file for the guard. ``env`` is the
    whole environment, except for the marker of the run. The directories in ``remove`` are scratch
    space: they are removed if wsgiproof dies while this service runs; otherwise the caller removes
    them. ``core`` is the largest core file that its processes may leave, in bytes; None keeps the
    current limit. ``core_directory`` is a directory that the program gets open, as descriptor
    :data:`wsgiproof.process.guard.settings.CORE_DESCRIPTOR`. ``user`` is the uid and gid to run as,
    which requires root; the program is then given by its path, and must be executable for that
    user, but need not be reachable. ``confinement`` is what is taken from the program, and
    ``private`` what it has to itself where the kernel allows that, see :meth:`private`.

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
        private: PrivatePlaces | None = None,
    ) -> None:
        self.argv = tuple(argv)
        self.name = name
        self.log = log
        self._private = private
        self._make_guard = partial(
            Guarded,
            self.argv,
            events=events,
            env=env,
            cwd=cwd,
            remove=tuple(remove),
            core=core,
            core_directory=core_directory,
            user=user,
            confinement=confinement,
            private=private,
        )
        self._paused = False
        self._stop_began: float | None = None
        self._guard: Guarded | None = None
        self._stopped: Stopped | None = None

    def __enter__(self) -> Self:
        try:
            self._guard = self._make_guard()
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
    def _running(self) -> Guarded:
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

    def private(self) -> Mapping[Path, Path]:
        """Return the directories of its :class:`PrivatePlaces`; none if the kernel did not allow
        all of them."""
        self._running.events.known()
        given = self._private is not None and self._running.events.private
        return self._private.directories if self._private and given else {}

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
