"""How long processes wait for a processor, and whether they do anything."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

import psutil

from wsgiproof.records.observed import Role

_STEP = 0.1
"""Seconds between two looks."""
_STANDS_STILL = 0.1
"""The share of its time for which a process may run, or wait to run, that stands still: a thread
that hangs in a loop with a short sleep does."""


def processor_waits(pid: int) -> dict[str, float]:
    """Return the seconds that each thread of a process has waited for a processor, by its id.

    A thread that waits for a lock or sleeps needs no processor and does not count (the kernel's
    Documentation/scheduler/sched-stats). Return nothing if the process is gone, or if the kernel
    does not count this.
    """
    return {thread: waited for thread, (_, waited) in _schedule(pid).items()}


def waits_since(pid: int, before: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds that each thread has waited since :func:`processor_waits` was ``before``.

    A thread that did not exist then counts from its start; one that has ended is left out.
    """
    return _since(processor_waits(pid), before)


def _since(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {thread: seconds - before.get(thread, 0.0) for thread, seconds in now.items()}


def _schedule(pid: int) -> dict[str, tuple[float, float]]:
    """Return the seconds that each thread has run, and those that it has waited to run."""
    schedule = {}
    tasks = f"/proc/{pid}/task"
    try:
        threads = os.listdir(tasks)
    except OSError:
        return {}
    for thread in threads:
        with (
            suppress(OSError, ValueError, IndexError),
            open(f"{tasks}/{thread}/schedstat", "rb", buffering=0) as file,
        ):
            ran, waited = map(int, file.read().split()[:2])
            schedule[thread] = ran / 1e9, waited / 1e9
    return schedule


def _is_runnable(pid: int) -> bool:
    """Return whether the main thread runs, or waits to run: a wait counts only once it is over."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_RUNNING)
    except psutil.Error:
        return False


class ProcessorWaits:
    """Follows how long processes wait for a processor, in a thread, while a context lasts.

    ``seconds`` has the latest figure of each process, counted from the start of the context. It is
    the sum over its threads, which wait for each other while a process ends. It includes threads
    that have ended since.
    """

    def __init__(self, pids: Collection[int]) -> None:
        self._before = {pid: processor_waits(pid) for pid in pids}
        self._waited: dict[int, dict[str, float]] = {pid: {} for pid in pids}
        self.seconds = dict.fromkeys(self._before, 0.0)
        self._active: dict[int, float] = {}
        self._looked = time.monotonic()
        self._moved = dict.fromkeys(self._before, self._looked)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> ProcessorWaits:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def noticeable(self) -> dict[int, float]:
        """Return the processes that have waited, with the seconds."""
        return {pid: round(waited, 3) for pid, waited in self.seconds.items() if waited >= 0.001}

    def still(self, pid: int) -> float:
        """Return the seconds for which a process has stood still: it neither ran nor wanted to.

        They end with the latest look. 0 for a process that has started since.
        """
        return self._looked - self._moved.get(pid, self._looked)

    def _follow(self) -> None:
        while not self._over.wait(_STEP):
            now = time.monotonic()
            took = now - self._looked
            for pid, before in self._before.items():
                schedule = _schedule(pid)
                waited = self._waited[pid]
                waited |= _since({thread: one for thread, (_, one) in schedule.items()}, before)
                self.seconds[pid] = sum(waited.values())
                active = sum(ran + waiting for ran, waiting in schedule.values())
                # It becomes less where a thread has ended, which is to do something, too.
                changed = abs(active - self._active.get(pid, 0.0)) > _STANDS_STILL * took
                if changed or _is_runnable(pid):
                    self._moved[pid] = now
                self._active[pid] = active
            self._looked = now


class EndingWatch:
    """Says when to look at processes that should end, once: when a worker stands still.

    A worker that is busy may be about to end, and to read its stacks takes seconds. But Apache
    kills its daemon processes 3 seconds into a stop, so after twice the ``patience`` (seconds) it
    is looked at, too. The other processes of a server, which wait for its workers, count only
    without any. ``role_of`` returns the role of a process.
    """

    def __init__(
        self, waits: ProcessorWaits, patience: float, role_of: Callable[[int], Role]
    ) -> None:
        self._waits = waits
        self._patience = patience
        self._role_of = role_of
        self._looked = False

    def is_due(self, waited: float, left: Collection[int]) -> bool:
        """Return true once, ``waited`` seconds after the processes ``left`` were to end."""
        if self._looked or waited < self._patience or not left:
            return False
        workers = [pid for pid in left if self._role_of(pid) is Role.WORKER]
        stillest = max(map(self._waits.still, workers or left))
        self._looked = waited > 2 * self._patience or stillest > self._patience / 2
        return self._looked
