"""Handle Ctrl-C only at points where nothing is half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Self, TypeVar

from wsgiproof.process.signals import INTERRUPTS

T = TypeVar("T")

Handler = Callable[[int, FrameType | None], object]


class Interrupts:
    """A context in which an interrupting signal is handled only while :meth:`during` waits.

    Elsewhere the exception of a handler could arrive between the end of a request and its
    accounting, or inside a callback of the C parser, which would treat it as its own error. A
    second signal is handled at once even if the first is still pending, since the program may be
    stuck.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Handler] = {}
        self._put_off: list[int] = []
        self._waiting = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # only it can set handlers
            for number in INTERRUPTS:
                handler = signal.getsignal(number)
                if callable(handler):  # not ignored, nor left to the kernel
                    self._handlers[number] = handler
                    signal.signal(number, self._arrived)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for number in self._put_off:
            signal.raise_signal(number)

    def during(self, wait: Callable[..., T], *arguments: float) -> T:
        """Return what ``wait(*arguments)`` returns, or raise what a handler raises."""
        self._waiting = True
        try:
            while self._put_off:
                number = self._put_off.pop()
                self._handlers[number](number, None)
            return wait(*arguments)
        finally:
            self._waiting = False

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self._waiting or self._put_off:
            self._handlers[number](number, frame)
        else:
            self._put_off.append(number)
