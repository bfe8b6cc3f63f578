"""A connection that carries one GET, or several in turn, and judges each when it is over.

An error of the server or of the network is an :class:`~wsgiproof.records.traffic.Outcome`. An error
of this machine (no descriptor or no local port is left) is not the server's fault, and raises
:class:`~wsgiproof.errors.CannotRun`.

A request whose connection is not kept sends ``Connection: close`` and lasts until the server has
closed the connection. This has three advantages: bytes after the end of a response are seen,
however they are split; no server thread is still finishing a request that counts as done; and
TIME_WAIT stays on the server's side, so a long run does not use up the local ports. If the response
says that the server keeps the connection open, the client does not wait for the close.

A server may close a kept connection between two responses (RFC 9112, 9.5), even while a request is
on its way. Unsolicited bytes fail the next request on the connection.
"""

from __future__ import annotations

import errno
import math
import os
import socket
import time

from wsgiproof import limits
from wsgiproof.errors import CannotRun
from wsgiproof.load.response import Response
from wsgiproof.load.response_parser import ResponseParser
from wsgiproof.load.target import Target
from wsgiproof.records.traffic import Outcome

_LOCAL_ERRORS = {
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.EADDRNOTAVAIL,
}
"""Errors that say nothing about the server."""

_STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
_READ_SIZE = 16 * 1024


class Connection:
    """A non-blocking socket. Its owner calls :meth:`write` and :meth:`read` when it is ready.

    Once an exchange is ``over``, :meth:`response` returns its result. If the connection has not
    ``ended`` with it, the next exchange can begin.
    """

    # Slots, since each request makes a connection unless connections are kept.
    __slots__ = (
        "_carried",
        "_connected",
        "_expired",
        "_lost",
        "_parser",
        "_resent",
        "_sock",
        "_timeout",
        "descriptor",
        "due",
        "ended",
        "over",
        "since",
        "target",
        "unsent",
    )

    def __init__(self, target: Target) -> None:
        self.target = target
        self._parser = ResponseParser()
        self._carried = 0
        self._connected = False
        self._lost: OSError | None = None
        self.over = True
        self.ended = False
        self.due = math.inf
        """The deadline in CLOCK_MONOTONIC seconds; infinite once the exchange is over."""
        family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
        try:
            # The C type: the class in socket.py costs twice as much.
            self._sock = socket.SocketType(family, _STREAM, 0)
        except OSError as exc:
            raise self._cannot_run(exc.errno or 0) from None
        self.descriptor = self._sock.fileno()

    def begin(
        self, target: Target, timeout: float, since: float = math.inf, *, resent: bool = False
    ) -> None:
        """Begin the next exchange, which :meth:`write` sends; it has ``timeout`` seconds from now.

        Its time also counts from now, or from ``since`` if that is earlier.
        """
        self.target = target
        self._timeout = timeout
        self._resent = resent
        self._expired = False
        self.unsent = target.request
        if self._carried:
            self._parser.begin()
        now = time.monotonic()
        self.since = since if since < now else now
        self.due = now + timeout
        self.over = False
        self._carried += 1
        if self._carried == 1:
            code = self._sock.connect_ex((target.address, target.port))
            if code != errno.EINPROGRESS and code:
                self._lose(OSError(code, os.strerror(code)))
        elif self._parser.fault:  # bytes arrived after the last response
            self._end()

    @property
    def fresh(self) -> bool:
        """Whether this exchange is the first on this connection."""
        return self._carried == 1

    def write(self) -> None:
        """Send as much of the request as the socket takes; the rest is ``unsent``."""
        try:
            sent = self._sock.send(self.unsent)
        except BlockingIOError:
            return
        except OSError as exc:
            self._lose(exc)
            return
        self._connected = True
        self.unsent = self.unsent[sent:]

    def read(self) -> None:
        """Read everything that has arrived, also between two exchanges."""
        parser = self._parser
        while not self.ended:
            try:
                data = self._sock.recv(_READ_SIZE)
            except BlockingIOError:
                return
            except OSError as exc:
                self._lose(exc)
                return
            if not data:
                parser.feed_eof()
                self._end()
                return
            parser.feed(data)
            if parser.fault:
                self._end()
            elif parser.stays_open:
                self._settle()
                return

    def _settle(self) -> None:
        """Finish the exchange; keep the connection for the next one if the target allows it."""
        if self.target.keeps:
            self.over = True
            self.due = math.inf
        else:
            self._end()

    def expire(self) -> None:
        """End an exchange whose deadline has passed, after reading what arrived in time."""
        self.read()
        if not self.over:
            self._expired = True
            self._end()

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()
        self._parser.close()

    def can_carry(self, target: Target) -> bool:
        """Whether one more request can go over this connection, as far as is known."""
        # A connection with unsolicited bytes is used once more, so that a request fails.
        if not target.keeps or (self.ended and not self.corrupt):
            return False
        own = self.target
        return target is own or (target.address == own.address and target.port == own.port)

    @property
    def corrupt(self) -> bool:
        """Whether bytes arrived that can't be parsed."""
        return bool(self._parser.fault)

    @property
    def stale(self) -> bool:
        """Whether the server closed the connection after a response, before it saw the request."""
        if not self.ended or self._carried == 1:
            return False
        return not (self._parser.received or self._parser.fault or self._expired)

    def _lose(self, exc: OSError) -> None:
        # Its traceback refers to a frame, and so to this object: a cycle.
        self._lost = exc.with_traceback(None)
        self._end()

    def _end(self) -> None:
        self.over = self.ended = True
        self.unsent = b""
        self.due = math.inf

    # The result

    def response(self) -> Response:
        """Return the result of the exchange. Raises CannotRun for an error of this machine."""
        outcome, error = self._judge()
        parser = self._parser
        finished = parser.finished if parser.complete else time.monotonic()
        return Response(
            self.target.url,
            outcome,
            parser.status,
            parser.body,
            error,
            self.since,
            finished - self.since,
            self._resent,
            self.target.label,
            parser.head,
            parser.body_size,
            parser.body_digest,
            # One more system call, which only those who name their requests have a use for.
            self._sock.getsockname()[1] if self.target.label else 0,
        )

    def _judge(self) -> tuple[Outcome, str]:
        parser = self._parser
        if parser.fault:
            return Outcome.MALFORMED, parser.fault
        if parser.complete:
            if parser.status is None or not 200 <= parser.status < 300:
                return Outcome.STATUS, f"answered {parser.status}"
            if self._expired:
                return (
                    Outcome.OK,
                    f"complete, but not closed by the server within {self._timeout:g} s",
                )
            return Outcome.OK, ""
        if self._lost is not None:
            return self._judge_loss(self._lost.errno or 0)
        if self._expired:
            return Outcome.TIMEOUT, f"not complete within {self._timeout:g} s: {self._progress()}"
        return Outcome.TRUNCATED, f"closed by the server too early: {self._progress()}"

    def _judge_loss(self, code: int) -> tuple[Outcome, str]:
        if code in _LOCAL_ERRORS:
            raise self._cannot_run(code)
        reason = os.strerror(code)
        if code == errno.ETIMEDOUT:
            return Outcome.TIMEOUT, f"{reason}: {self._progress()}"
        if self._connected or code == errno.ECONNRESET:
            return Outcome.RESET, f"{reason}: {self._progress()}"
        return Outcome.REFUSED, f"{reason}: {self.target.address}:{self.target.port}"

    def _cannot_run(self, code: int) -> CannotRun:
        where = f"{self.target.address}:{self.target.port}"
        reason = limits.explain_errno(code) or os.strerror(code)
        if code == errno.EADDRNOTAVAIL and ":" in self.target.address:
            reason += "; or IPv6 is off on this machine"
        return CannotRun(f"cannot connect to {where}: {reason}")

    def _progress(self) -> str:
        """Say how far the exchange had come."""
        parser = self._parser
        if not self._connected:
            return "no connection yet"
        if not parser.received:
            return "connected, but no byte of a response"
        if not parser.head_done:
            return f"in the headers, after {parser.received} bytes"
        return f"in the body, after {parser.body_size} bytes of it"
