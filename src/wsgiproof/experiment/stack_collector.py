"""Collects the stacks of a server's processes, while they hang or after they have crashed."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Literal

from wsgiproof.observe.cores import crashed_thread, take_core, why_no_core
from wsgiproof.observe.evidence import Evidence
from wsgiproof.observe.in_flight import read_unfinished
from wsgiproof.observe.stacks import StackReading, read_core, read_ending, read_process
from wsgiproof.records.observed import Event, Role, Stack, Unfinished
from wsgiproof.records.plan import ENDING
from wsgiproof.server.apache import Server

_MOST_HUNG = 4
"""Hanging processes whose stacks are read; embedded mode has as many workers."""
_MOST_FRONTENDS = 2
"""Frontend processes whose stacks are read if no worker has a request."""
_MOST_CORES = 4
"""Core files that are read of each kind of crash, which takes seconds for each of them."""
_NO_CORE = "the process left no core file, as daemon processes that Apache starts at a restart"
_LEAVES_CORE = {
    signal.SIGSEGV,
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSYS,
    signal.SIGTRAP,
}
"""Signals of an error in the process, whose default action leaves a core file, signal(7)."""


class StackCollector:
    """Collects the stacks of the processes of one server.

    In ``evidence``, each worker has its own directory, in which it leaves its core file.
    """

    def __init__(self, server: Server, evidence: Evidence) -> None:
        self._server = server
        self._evidence = evidence
        self._hung: list[Stack] = []
        self._taking: threading.Thread | None = None

    def take_soon(self, phase: str) -> None:
        """Read the stacks of the workers in a thread, because a request hangs.

        Only the first call does so: the next requests mostly hang for the same reason.
        """
        if self._taking is None:
            self._begin(phase, read_process)

    def take_staying(self, phase: str, pids: Collection[int]) -> None:
        """Read the stacks of replaced processes that are slow to end, in a thread."""
        self.settle()
        self._begin(phase, read_ending, pids)

    def _begin(self, *args: object) -> None:
        """Call :meth:`_take` in a new thread."""
        self._taking = threading.Thread(target=self._take, args=args, daemon=True)
        self._taking.start()

    def unfinished(self, pids: Collection[int]) -> tuple[Unfinished, ...]:
        """Return the requests that these processes are serving, or were serving at their end."""
        return read_unfinished(self._evidence, pids)

    def settle(self) -> None:
        """Wait for the thread: a process can be inspected only once at a time."""
        if self._taking is not None:
            self._taking.join()

    def take_ending(self, phase: str) -> None:
        """Read the stacks of the processes that still run although they should end."""
        self._take(phase, read_ending)

    def _take(
        self,
        phase: str,
        read: Callable[[int], StackReading],
        only: Collection[int] | None = None,
    ) -> None:
        living = sorted(
            self._server.living().items(), key=lambda one: (one[1] is not Role.WORKER, one[0])
        )
        workers = [pid for pid, role in living if role is Role.WORKER]
        pids = (workers or [pid for pid, _ in living])[:_MOST_HUNG]
        if only is not None:
            pids = [pid for pid in workers if pid in only][:_MOST_HUNG]
        elif workers and not self.unfinished(workers):  # the requests did not get that far
            frontends = [pid for pid, role in living if role is Role.FRONTEND]
            pids += frontends[:_MOST_FRONTENDS]
        for pid in pids:
            reading = read(pid)
            if not reading.threads and pid not in self._server.living():
                continue  # it has ended by itself meanwhile
            self._hung.append(_stack(pid, self._server.role(pid), phase, "hang", reading))

    def stacks(self, events: Sequence[Event]) -> tuple[Stack, ...]:
        """Return all stacks, after the server has stopped; the core files are removed."""
        self.settle()
        return (*self._hung, *self._crashed(events))

    def _crashed(self, events: Sequence[Event]) -> list[Stack]:
        alike: Counter[tuple[int | None, bool]] = Counter()
        found = []
        for death in filter(_is_crash, events):
            kind = death.signal, death.phase in ENDING
            alike[kind] += 1
            found.append(self._of_core(death, alike[kind] <= _MOST_CORES))
        return found

    def _of_core(self, death: Event, read: bool) -> Stack:
        core = take_core(self._evidence, death.pid)
        if core is None:
            reading = StackReading(note=why_no_core() or _NO_CORE)
            thread = 0
        elif not read:
            reading = StackReading(
                note=f"only the first {_MOST_CORES} core files of a kind are read"
            )
            thread = 0
        else:
            thread = crashed_thread(core)
            reading = read_core(core, self._server.executable, thread)
        if core is not None:
            core.unlink(missing_ok=True)
        return _stack(death.pid, death.role, death.phase, "crash", reading, death.signal, thread)


def _stack(
    pid: int,
    role: Role,
    phase: str,
    why: Literal["crash", "hang"],
    reading: StackReading,
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
        tool=reading.tool,
        threads=reading.threads,
        note=reading.note,
        stopped=reading.stopped,
    )


def _is_crash(event: Event) -> bool:
    return event.kind == "died" and event.role is not Role.HELPER and event.signal in _LEAVES_CORE
