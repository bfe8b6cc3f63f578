"""Ctrl-C: once, and never in the middle of a clean-up.

The first SIGINT, SIGTERM or SIGHUP raises KeyboardInterrupt in the main thread. One that comes
inside :func:`held` waits for the end of it. Each later one does nothing: the first has begun a
clean-up, whose every wait has a deadline, and to break it would leave behind what it ends.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType


class _State:
    taken_over = False
    interrupted = False
    pending = False
    depth = 0


INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def take_over() -> None:
    """Handle these signals so from now on; to be called in the main thread.

    A SIGINT that is ignored stays so, as a shell has it for what it starts with ``&``, and so does
    a SIGHUP, which nohup(1) ignores. SIGTERM, which a CI system sends to cancel a job, interrupts
    there as well.
    """
    _State.taken_over = True
    for number in INTERRUPTS:
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _arrived)


@contextmanager
def held() -> Iterator[None]:
    """Nothing interrupts the main thread inside; what came meanwhile does so at the end.

    For what ends processes and removes directories, within a bounded time. In other threads, which
    are never interrupted, and where :func:`take_over` was not called, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _State.depth += 1
    try:
        yield
    finally:
        _State.depth -= 1
        if _State.pending and not _State.depth:
            _State.pending = False
            raise KeyboardInterrupt


def let_finish() -> None:
    """Ignore these signals until the process ends: the command has finished and only reports.

    An ignored signal stays ignored. One with a handler gets its default action back while Python
    shuts down, and a second Ctrl-C would then kill the process after it had reported the first.
    """
    _State.interrupted = True
    if _State.taken_over:
        for number in INTERRUPTS:
            signal.signal(number, signal.SIG_IGN)


_ended_by: ContextVar[threading.Event | None] = ContextVar("_ended_by", default=None)


@contextmanager
def ended_by(event: threading.Event) -> Iterator[None]:
    """As soon as ``event`` is set, what this thread waits for raises KeyboardInterrupt inside.

    Ctrl-C itself only reaches the main thread.
    """
    token = _ended_by.set(event)
    try:
        yield
    finally:
        _ended_by.reset(token)


def check_interrupted() -> None:
    """Raise KeyboardInterrupt where :func:`ended_by` has come to its end: for other waits."""
    ended = _ended_by.get()
    if ended is not None and ended.is_set():
        raise KeyboardInterrupt


def _arrived(number: int, frame: FrameType | None) -> None:
    if _State.interrupted:
        return
    _State.interrupted = True
    if _State.depth:
        _State.pending = True
    else:
        raise KeyboardInterrupt
