"""Requests on their way, each over a connection of its own, and what has come of them.

All sockets are in one epoll(7), which a request enters once and leaves by the close of its socket.
That takes half the system calls of an event loop with a transport for each connection, and system
calls are most of what a request costs.
"""

from __future__ import annotations

import math
import select
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager

from wsgiproof.load.connection import Connection
from wsgiproof.load.interrupts import Interrupts
from wsgiproof.load.response import Response
from wsgiproof.load.target import Target

_READABLE = select.EPOLLIN
_EITHER = select.EPOLLIN | select.EPOLLOUT


class Exchanges:
    """Requests that were begun, ``timeout`` seconds for each; :meth:`wait` returns what ended.

    Connections are kept for the next request if the target says so, and never more of them than
    requests were in flight at a time. A request that meets the server's close of one is sent again
    once, as RFC 9112, 9.3.1 allows for a GET, over a new one and with a deadline of its own.
    """

    def __init__(self, timeout: float, interrupts: Interrupts) -> None:
        self._timeout = timeout
        self._interrupts = interrupts
        self._epoll = select.epoll()
        self._open: dict[int, Connection] = {}  # by descriptor
        self._idle: deque[Connection] = deque()
        self._ended: list[Response] = []
        self._next_look = math.inf  # no deadline is before this
        self.in_flight = 0
        """How many requests were begun and not yet returned."""

    def begin(self, target: Target, since: float = math.inf) -> None:
        """Send a request, whose time counts from now, or from ``since`` if that is earlier.

        Raises CannotRun when this machine is out of descriptors, socket memory or local ports, and
        so does :meth:`wait`. Neither raises for anything that the server or the network does.
        """
        connection = self._kept(target)
        if connection is None:
            self._begin_anew(target, since)
        else:
            connection.begin(target, self._timeout, since)
            if connection.sending:
                self._epoll.modify(connection.fileno(), _EITHER)
            self._begun(connection)
        self.in_flight += 1

    def wait(self, until: float = math.inf) -> list[Response]:
        """Wait for requests to end, but not beyond ``until`` (CLOCK_MONOTONIC seconds).

        Returns those that did, or none if something else has happened.
        """
        now = time.monotonic()
        seconds = 0.0 if self._ended else max(min(until, self._next_look) - now, 0.0)
        at_most = len(self._open) + 1
        events = self._interrupts.during(
            self._epoll.poll, -1 if seconds == math.inf else seconds, at_most
        )
        for descriptor, _ in events:
            self._advance(self._open[descriptor])
        if now >= self._next_look:
            self._expire(now)
        ended, self._ended = self._ended, []
        self.in_flight -= len(ended)
        return ended

    def close(self) -> None:
        """Drop what is in flight."""
        for connection in self._open.values():
            connection.close()
        self._epoll.close()

    def _kept(self, target: Target) -> Connection | None:
        if not self._idle:
            return None
        connection = self._idle.popleft()
        if connection.carries(target):
            return connection
        self._close(connection)
        return None

    def _begin_anew(self, target: Target, since: float, *, resent: bool = False) -> None:
        connection = Connection(target)
        descriptor = connection.fileno()
        self._open[descriptor] = connection
        connection.begin(target, self._timeout, since, resent=resent)
        if not connection.over:
            self._epoll.register(descriptor, _EITHER if connection.sending else _READABLE)
        self._begun(connection)

    def _begun(self, connection: Connection) -> None:
        self._next_look = min(self._next_look, connection.due)
        if connection.over:
            self._finish(connection)

    def _advance(self, connection: Connection) -> None:
        """Its socket is ready."""
        was_idle = connection.over
        if connection.sending:
            connection.write()
            if not connection.sending:
                self._epoll.modify(connection.fileno(), _READABLE)
        connection.read()
        if was_idle:
            self._look_after(connection)
        elif connection.over:
            self._finish(connection)

    def _look_after(self, connection: Connection) -> None:
        """The server did something that nobody asked for on a connection without a request."""
        if connection.ended:
            self._close(connection)
            if not connection.spoilt:
                self._idle.remove(connection)

    def _finish(self, connection: Connection) -> None:
        if connection.stale:
            self._close(connection)
            self._begin_anew(connection.target, connection.since, resent=True)
            return
        self._ended.append(connection.response())
        if connection.ended:
            self._close(connection)
        else:
            self._idle.append(connection)

    def _expire(self, now: float) -> None:
        """End what had to be over by ``now``; what arrived until then was read.

        It is looked for when the first deadline there was is past. By then its request has long
        been answered, as a rule, so that deadlines cost a request next to nothing.
        """
        for connection in list(self._open.values()):
            if connection.due <= now:
                connection.expire()
                self._finish(connection)
        self._next_look = min((one.due for one in self._open.values()), default=math.inf)

    def _close(self, connection: Connection) -> None:
        """Its descriptor leaves the epoll by that."""
        self._open.pop(connection.fileno(), None)
        connection.close()


@contextmanager
def exchanges(timeout: float) -> Iterator[Exchanges]:
    """Exchanges that are dropped at the end of the context; Ctrl-C ends it amid :meth:`wait`."""
    with Interrupts() as interrupts, closing(Exchanges(timeout, interrupts)) as these:
        yield these
