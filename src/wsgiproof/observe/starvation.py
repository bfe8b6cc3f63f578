"""Measures how long the processes that a request needs have waited for a processor."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from wsgiproof.observe.processor_waits import processor_waits, waits_since


class Starvation:
    """The share of the time for which a process has waited for a processor.

    ``pids`` returns the processes to look at: those of the server, of the deployment, and our own.
    """

    def __init__(self, pids: Callable[[], Collection[int]]) -> None:
        self._pids = pids
        self._waits: dict[int, dict[str, float]] = {}
        self._since = time.monotonic()

    def begin(self) -> None:
        """Measure from now on."""
        self._waits = {pid: processor_waits(pid) for pid in self._pids()}
        self._since = time.monotonic()

    def share(self) -> float:
        """Return the largest share of all processes since :meth:`begin`, from 0.

        The waits of a process's threads add up, so it can be above 1.
        """
        seconds = time.monotonic() - self._since
        waits = [sum(waits_since(pid, self._waits.get(pid, {})).values()) for pid in self._pids()]
        return max(waits, default=0.0) / seconds if seconds > 0 else 0.0
