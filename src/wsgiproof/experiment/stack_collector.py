"""The stacks of a server's processes: of those that hang, while they do, and of those that died."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Literal

from wsgiproof.observe.cores import crashed_thread, take_core, why_no_core
from wsgiproof.observe.evidence import Evidence
from wsgiproof.observe.in_flight import read_unfinished
from wsgiproof.observe.stacks import Reading, read_core, read_ending, read_process
from wsgiproof.records import Event, Role, Stack, Unfinished
from wsgiproof.services.apache import Server

_MOST_HUNG = 4
"""Processes that are read of those that hang: embedded mode has as many."""
_MOST_CORES = 10
_LEAVES_CORE = {
    signal.SIGSEGV,
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSYS,
    signal.SIGTRAP,
}
"""Signals of something wrong in the process, whose default is to leave a core file, signal(7)."""


class StackCollector:
    """What became of the processes of one server.

    ``evidence`` is the directory in which each worker has one of its own to leave its core in.
    """

    def __init__(self, server: Server, evidence: Evidence) -> None:
        self._server = server
        self._evidence = evidence
        self._hung: list[Stack] = []
        self._taking: threading.Thread | None = None

    def take_soon(self, phase: str) -> None:
        """A request hangs: take the stacks of the workers at once, while others go on.

        Once: where one request hangs, the next ones mostly do so for the same reason.
        """
        if self._taking is None:
            self._begin(phase, read_process)

    def take_staying(self, phase: str, pids: Collection[int]) -> None:
        """These processes were to be replaced, and are slow to go: take their stacks at once, while
        requests go on."""
        self.settle()
        self._begin(phase, read_ending, pids)

    def _begin(self, *what: object) -> None:
        """:meth:`_take` in a thread of its own."""
        self._taking = threading.Thread(target=self._take, args=what, daemon=True)
        self._taking.start()

    def unfinished(self, pids: Collection[int]) -> tuple[Unfinished, ...]:
        """The requests that these processes are at now, or were when they ended."""
        return read_unfinished(self._evidence, pids)

    def settle(self) -> None:
        """Wait until what was to be taken is: two can't look at a process at the same time."""
        if self._taking is not None:
            self._taking.join()

    def take_ending(self, phase: str) -> None:
        """Take the stacks of the processes that are still there although they are to end."""
        self._take(phase, read_ending)

    def _take(
        self,
        phase: str,
        read: Callable[[int], Reading],
        wanted: Collection[int] | None = None,
    ) -> None:
        living = sorted(
            self._server.living().items(), key=lambda one: (one[1] is not Role.WORKER, one[0])
        )
        workers = [pid for pid, role in living if role is Role.WORKER]
        pids = workers or [pid for pid, _ in living]
        if wanted is not None:
            pids = [pid for pid in workers if pid in wanted]
        for pid in pids[:_MOST_HUNG]:
            seen = read(pid)
            if not seen.threads and pid not in self._server.living():
                continue  # it went of its own accord meanwhile
            self._hung.append(_stack(pid, self._server.role(pid), phase, "hang", seen))

    def stacks(self, events: Sequence[Event]) -> tuple[Stack, ...]:
        """All that there are, when the server is gone; the core files are removed."""
        self.settle()
        return (*self._hung, *self._crashed(events))

    def _crashed(self, events: Sequence[Event]) -> list[Stack]:
        deaths = [event for event in events if _is_crash(event)]
        return [self._of_core(death, number < _MOST_CORES) for number, death in enumerate(deaths)]

    def _of_core(self, death: Event, wanted: bool) -> Stack:
        core = take_core(self._evidence, death.pid)
        if core is None:
            seen, thread = Reading(note=why_no_core() or "it left no core file"), 0
        elif not wanted:
            seen, thread = Reading(note=f"only the first {_MOST_CORES} core files are read"), 0
        else:
            thread = crashed_thread(core)
            seen = read_core(core, self._server.executable, thread)
        if core is not None:
            core.unlink(missing_ok=True)
        return _stack(death.pid, death.role, death.phase, "crash", seen, death.signal, thread)


def _stack(
    pid: int,
    role: Role,
    phase: str,
    why: Literal["crash", "hang"],
    seen: Reading,
    number: int | None = None,
    thread: int = 0,
) -> Stack:
    return Stack(
        pid=pid,
        role=role,
        phase=phase,
        why=why,
        signal=number,
        thread=thread,
        tool=seen.tool,
        threads=seen.threads,
        note=seen.note,
    )


def _is_crash(event: Event) -> bool:
    return event.kind == "died" and event.role is not Role.HELPER and event.signal in _LEAVES_CORE
