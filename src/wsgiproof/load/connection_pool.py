"""A pool of connections: requests in flight, each over a connection of its own, and their results.

All sockets are in one epoll(7). A socket is registered once and leaves the epoll when it is closed.
That takes half the system calls of an event loop with a transport for each connection. Each step is
done for all ready requests together: all connect, all send, all read, all close. Every system call
wakes a thread of the server, which may take over this processor; handling one request after the
other costs a quarter more time.
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
    """The requests in flight, with ``timeout`` seconds each; :meth:`wait` returns those that ended.

    Connections are kept for the next request if the target allows it, and never more of them than
    there were requests in flight at a time. If the server closes a kept connection as a request is
    sent, the request is sent again once over a new connection, with a new deadline. RFC 9112, 9.3.1
    allows that for a GET.
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
        self._next_look = math.inf  # no deadline is earlier than this
        self.in_flight = 0
        """The number of requests that were begun and not yet returned."""

    def begin(self, target: Target, since: float = math.inf) -> None:
        """Begin a request. Its time counts from now, or from ``since`` if that is earlier.

        Like :meth:`wait`, raises CannotRun if this machine is out of descriptors, socket memory or
        local ports. Neither raises for anything that the server or the network does.
        """
        self._begin(self._take_idle(target) or self._connect(target), target, since)
        self.in_flight += 1

    def wait(self, until: float = math.inf) -> list[Response]:
        """Send the requests that were begun, and wait for some to end, but not beyond ``until``.

        ``until`` is in CLOCK_MONOTONIC seconds. Returns the responses of the requests that ended;
        the list is empty if something else happened first.
        """
        self._send()
        now = time.monotonic()
        seconds = 0.0 if self._over else max(min(until, self._next_look) - now, 0.0)
        for descriptor, _ in self._interrupts.during(
            self._epoll.poll, -1 if seconds == math.inf else seconds, len(self._open) + 1
        ):
            connection = self._open.get(descriptor)
            if connection is not None:  # None: it was closed, see _close
                self._advance(connection)
        if now >= self._next_look:
            self._expire(now)
        ended = self._account()
        self.in_flight -= len(ended)
        return ended

    def no_more(self) -> None:
        """Stop keeping connections, since no further request will be begun.

        Idle connections could occupy a server so that requests in flight have to wait.
        """
        self._keeps = False
        while self._idle:
            self._close(self._idle.popleft())

    def close(self) -> None:
        """Drop the requests in flight."""
        for connection in self._open.values():
            connection.close()
        self._epoll.close()

    def _take_idle(self, target: Target) -> Connection | None:
        if not self._idle:
            return None
        connection = self._idle.popleft()
        if connection.can_carry(target):
            return connection
        self._close(connection)
        return None

    def _connect(self, target: Target) -> Connection:
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
                events = _EITHER if connection.unsent else _READABLE
                self._epoll.register(connection.descriptor, events)
            elif connection.unsent:
                self._epoll.modify(connection.descriptor, _EITHER)

    def _advance(self, connection: Connection) -> None:
        """Send and read on a connection whose socket is ready."""
        if connection.ended:  # while its request was sent
            return
        was_idle = connection.over
        if connection.unsent:
            connection.write()
            if not connection.unsent:
                self._epoll.modify(connection.descriptor, _READABLE)
        connection.read()
        if was_idle:
            self._handle_idle_event(connection)
        elif connection.over:
            self._over.append(connection)

    def _handle_idle_event(self, connection: Connection) -> None:
        """Handle what the server did on a connection without a request, such as closing it."""
        if connection.ended:
            self._close(connection)
            if not connection.corrupt:
                self._idle.remove(connection)

    def _expire(self, now: float) -> None:
        """End the requests whose deadline has passed by ``now``; what arrived until then was read.

        Called only once the earliest known deadline has passed. By then that request has usually
        been answered long ago, so deadlines cost next to nothing per request.
        """
        for connection in self._open.values():
            if connection.due <= now:
                connection.expire()
                self._over.append(connection)
        self._next_look = min((one.due for one in self._open.values()), default=math.inf)

    def _account(self) -> list[Response]:
        """Return the responses of requests that are over, and keep or close their connections."""
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
            self._begin(self._connect(target), target, connection.since, resent=True)
        return ended

    def _close(self, connection: Connection) -> None:
        """Close a connection, which also removes its descriptor from the epoll.

        It is removed at once, unless another thread is just starting a process: the child has all
        descriptors until its exec(2), and until then the epoll still reports the socket (Q6 in
        epoll(7)).
        """
        if self._open.get(connection.descriptor) is connection:
            del self._open[connection.descriptor]
            connection.close()


@contextmanager
def connection_pool(timeout: float) -> Iterator[ConnectionPool]:
    """Yield a pool, closed at the end of the context. Ctrl-C is raised from its ``wait``."""
    with Interrupts() as interrupts, closing(ConnectionPool(timeout, interrupts)) as pool:
        yield pool
