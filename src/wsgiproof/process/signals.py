"""Handle Ctrl-C once, and never in the middle of a clean-up.

The first SIGINT, SIGTERM or SIGHUP raises KeyboardInterrupt in the main thread; within
:func:`interrupts_deferred`, at the end of that context. Later signals do nothing: the first has
started a clean-up, in which every wait has a deadline. Interrupting it would leave processes and
directories behind.
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


def install_handlers() -> None:
    """Handle these signals from now on. Call this in the main thread.

    An ignored SIGINT remains ignored, since a shell ignores it for a command started with ``&``; so
    does an ignored SIGHUP, since nohup(1) ignores it. SIGTERM, which a CI system sends to cancel a
    job, always interrupts.
    """
    _State.taken_over = True
    for number in INTERRUPTS:
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _arrived)


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Defer an interrupt of the main thread to the end of the context.

    Use it for code that ends processes and removes directories within a bounded time. It does
    nothing in other threads, which are never interrupted, and if :func:`install_handlers` was not
    called.
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


def ignore_interrupts() -> None:
    """Ignore interrupts until the process ends: the command has finished and only reports.

    An ignored signal stays ignored. One with a handler gets its default action back while Python
    shuts down, and a second Ctrl-C would then kill the process after it had reported the first.
    """
    _State.interrupted = True
    if _State.taken_over:
        for number in INTERRUPTS:
            signal.signal(number, signal.SIG_IGN)


_interrupted_by: ContextVar[threading.Event | None] = ContextVar("_interrupted_by", default=None)


@contextmanager
def interrupted_by(event: threading.Event) -> Iterator[None]:
    """Make waits of this thread raise KeyboardInterrupt once ``event`` is set.

    Ctrl-C itself reaches only the main thread.
    """
    token = _interrupted_by.set(event)
    try:
        yield
    finally:
        _interrupted_by.reset(token)


def check_interrupted() -> None:
    """Raise KeyboardInterrupt if the event of :func:`interrupted_by` is set. Call this in long
    waits."""
    event = _interrupted_by.get()
    if event is not None and event.is_set():
        raise KeyboardInterrupt


def _arrived(number: int, frame: FrameType | None) -> None:
    if _State.interrupted:
        return
    _State.interrupted = True
    if _State.depth:
        _State.pending = True
    else:
        raise KeyboardInterrupt
