"""Requests on their way, each over a connection of its own, and what has come of them.

All sockets are in one epoll(7), which each enters once and leaves by its close. That takes half the
system calls of an event loop with a transport for each connection. And what is done for one request
is done for all that are ready: all connect, all send, all read, all close. Each wakes a thread of
the server, which may take our processor; to be taken from it amid one thing after the other, for
one request after the other, costs a quarter more.
"""

from __future__ import annotations

import math
import select
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager

from wsgiproof.errors import CannotRun, describe
from wsgiproof.load.connection import Connection
from wsgiproof.load.interrupts import Interrupts
from wsgiproof.load.response import Response
from wsgiproof.load.target import Target

_READABLE = select.EPOLLIN
_EITHER = select.EPOLLIN | select.EPOLLOUT


class ConnectionPool:
    """Requests that were begun, ``timeout`` seconds for each; :meth:`wait` returns what ended.

    Connections are kept for the next request if the target says so, and never more of them than
    requests were in flight at a time. A request that meets the server's close of one is sent again
    once, as RFC 9112, 9.3.1 allows for a GET, over a new one and with a deadline of its own.
    """

    def __init__(self, timeout: float, interrupts: Interrupts) -> None:
        self._timeout = timeout
        self._interrupts = interrupts
        try:
            self._epoll = select.epoll()
        except OSError as error:
            raise CannotRun(f"no requests can be made: {describe(error)}") from None
        self._open: dict[int, Connection] = {}  # by descriptor
        self._idle: deque[Connection] = deque()
        self._begun: list[Connection] = []  # to be written to
        self._over: list[Connection] = []  # to be accounted for
        self._keeps = True
        self._next_look = math.inf  # no deadline is before this
        self.in_flight = 0
        """How many requests were begun and not yet returned."""

    def begin(self, target: Target, since: float = math.inf) -> None:
        """Begin a request, whose time counts from now, or from ``since`` if that is earlier.

        Raises CannotRun when this machine is out of descriptors, socket memory or local ports, and
        so does :meth:`wait`. Neither raises for anything that the server or the network does.
        """
        self._begin(self._kept(target) or self._anew(target), target, since)
        self.in_flight += 1

    def wait(self, until: float = math.inf) -> list[Response]:
        """Send what was begun, and wait for requests to end, but not beyond ``until``.

        That is in CLOCK_MONOTONIC seconds. Returns those that ended; none if something else has
        happened.
        """
        self._send()
        now = time.monotonic()
        seconds = 0.0 if self._over else max(min(until, self._next_look) - now, 0.0)
        for descriptor, _ in self._interrupts.during(
            self._epoll.poll, -1 if seconds == math.inf else seconds, len(self._open) + 1
        ):
            connection = self._open.get(descriptor)
            if connection is not None:  # None: closed, see _close
                self._advance(connection)
        if now >= self._next_look:
            self._expire(now)
        ended = self._account()
        self.in_flight -= len(ended)
        return ended

    def no_more(self) -> None:
        """None will be begun any more, so that connections are not kept, either.

        A server that has all the connections it wants would leave those in flight waiting.
        """
        self._keeps = False
        while self._idle:
            self._close(self._idle.popleft())

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

    def _anew(self, target: Target) -> Connection:
        connection = Connection(target)
        self._open[connection.descriptor] = connection
        return connection

    def _begin(
        self, connection: Connection, target: Target, since: float, *, resent: bool = False
    ) -> None:
        connection.begin(target, self._timeout, since, resent=resent)
        self._begun.append(connection)
        if connection.due < self._next_look:
            self._next_look = connection.due

    def _send(self) -> None:
        begun, self._begun = self._begun, []
        for connection in begun:
            if not connection.over:
                connection.write()
        for connection in begun:
            if connection.over:
                self._over.append(connection)
            elif connection.fresh:
                wanted = _EITHER if connection.unsent else _READABLE
                self._epoll.register(connection.descriptor, wanted)
            elif connection.unsent:
                self._epoll.modify(connection.descriptor, _EITHER)

    def _advance(self, connection: Connection) -> None:
        """Its socket is ready."""
        if connection.ended:  # as its request was sent
            return
        was_idle = connection.over
        if connection.unsent:
            connection.write()
            if not connection.unsent:
                self._epoll.modify(connection.descriptor, _READABLE)
        connection.read()
        if was_idle:
            self._look_after(connection)
        elif connection.over:
            self._over.append(connection)

    def _look_after(self, connection: Connection) -> None:
        """The server did something that nobody asked for on a connection without a request."""
        if connection.ended:
            self._close(connection)
            if not connection.spoilt:
                self._idle.remove(connection)

    def _expire(self, now: float) -> None:
        """End what had to be over by ``now``; what arrived until then was read.

        It is looked for when the first deadline there was is past. By then its request has long
        been answered, as a rule, so that deadlines cost a request next to nothing.
        """
        for connection in self._open.values():
            if connection.due <= now:
                connection.expire()
                self._over.append(connection)
        self._next_look = min((one.due for one in self._open.values()), default=math.inf)

    def _account(self) -> list[Response]:
        """What came of those that are over, which leave their connections."""
        over, self._over = self._over, []
        ended: list[Response] = []
        stale: list[Connection] = []
        for connection in over:
            if connection.stale:
                stale.append(connection)
            else:
                ended.append(connection.response())
        for connection in over:
            if self._keeps and not connection.ended:
                self._idle.append(connection)
            else:
                self._close(connection)
        for connection in stale:
            target = connection.target
            self._begin(self._anew(target), target, connection.since, resent=True)
        return ended

    def _close(self, connection: Connection) -> None:
        """Its descriptor leaves the epoll by that.

        At once, unless another thread is just starting a process: that has all our descriptors
        until its exec(2), and so long the epoll tells of the socket (Q6 in epoll(7)).
        """
        if self._open.get(connection.descriptor) is connection:
            del self._open[connection.descriptor]
            connection.close()


@contextmanager
def connection_pool(timeout: float) -> Iterator[ConnectionPool]:
    """Connections that are closed at the end of the context; Ctrl-C ends it amid :meth:`wait`."""
    with Interrupts() as interrupts, closing(ConnectionPool(timeout, interrupts)) as these:
        yield these
