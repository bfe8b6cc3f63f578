"""What runs in a worker of Dask: it starts a process of wsgiproof, and passes its messages on.

That process is this host's own (:mod:`wsgiproof.run.executors.host`). It is interrupted as soon as
nobody waits for its result: the client has cancelled it or is gone, or this worker has lost its
scheduler. If this worker is killed, it dies too, and its guards end what it has started.
"""

from __future__ import annotations

import pickle
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from wsgiproof.errors import CannotRun
from wsgiproof.run.executors.child import Child
from wsgiproof.run.executors.host import serve_host

_LOOK_EVERY = 0.25
"""Seconds between two looks whether the result is still wanted."""
_STOP_DEADLINE = 12.0
"""Seconds for an interrupted process to stop its servers; it needs one or two."""
_SLOT = threading.Lock()
"""Held while something runs: a worker with several threads does one thing at a time, too."""
_ENDING = frozenset({"closing", "closed", "failed", "init"})
"""States of a worker that will deliver no result."""
_RUNNING = frozenset({"executing", "long-running"})
"""States of a task whose result somebody waits for; a cancelled one has another."""


class Sealed:
    """A value whose content appears nowhere: Dask shows the arguments of tasks on its dashboard and
    in logs, and a URI may hold a password."""

    def __init__(self, value: object) -> None:
        self._content = pickle.dumps(value)

    def value(self) -> Any:
        """Return the value."""
        return pickle.loads(self._content)

    def __repr__(self) -> str:
        return "<sealed>"


def ask(kind: str, request: Sealed, topic: str) -> tuple[str, Any]:
    """Have a process answer a request; the arguments are those of :func:`serve_host`.

    Returns ``done`` with the answer, ``failed`` or ``lost`` with a reason, or ``stopped``. Never
    raises, since Dask would log it. Messages about the progress go to ``topic``.
    """
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return worker.status.name not in _ENDING and task is not None and task.state in _RUNNING

    def tell(event: str, content: Sequence[object]) -> None:
        message = {"key": str(key), "event": event, "content": list(content)}
        with suppress(Exception):  # this worker is closing
            worker.log_event(topic, message)

    try:
        with _slot(kind, wanted):
            return _answer(kind, request, wanted, tell)
    except CannotRun as error:
        return "failed", str(error)
    finally:
        tell("ended", ())


@contextmanager
def _slot(kind: str, wanted: Callable[[], bool]) -> Iterator[None]:
    """Wait until nothing else runs in this worker, as long as somebody waits for this."""
    if kind in ("survey", "store"):  # they are short
        yield
        return
    while not _SLOT.acquire(timeout=_LOOK_EVERY):
        if not wanted():
            raise CannotRun(f"nobody waits for this {kind} any more")
    try:
        yield
    finally:
        _SLOT.release()


def _answer(
    kind: str,
    request: Sealed,
    wanted: Callable[[], bool],
    tell: Callable[[str, Sequence[object]], None],
) -> tuple[str, Any]:
    child = Child()
    answered = False
    try:
        child.start(serve_host)
        child.send((kind, request.value()))
        poller = select.poll()
        poller.register(child.descriptor, select.POLLIN)
        while wanted():
            poller.poll(_LOOK_EVERY * 1000)
            try:
                messages = child.receive()
            except (EOFError, OSError):
                child.kill()
                return "lost", f"the process that ran it ended with {child.returncode}"
            if not messages and (why := child.why_lost()):
                return "lost", f"the process that ran it {why}"
            for event, content in messages:
                if event in ("done", "failed"):
                    answered = True
                    return event, content
                if event != "alive":
                    tell(event, content)
        return "stopped", ""
    finally:
        _end(child, answered=answered)


def _end(child: Child, *, answered: bool) -> None:
    """End the process within a bounded time; one that has answered ends by itself."""
    if not answered:
        child.interrupt()
    if not child.wait(time.monotonic() + _STOP_DEADLINE):
        child.kill()
    child.disconnect()
