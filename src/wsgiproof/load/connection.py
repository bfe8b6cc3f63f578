"""A connection with one GET, or several in turn; what came of each, judged when it is over.

What the server or the network does wrong is an :class:`~wsgiproof.load.response.Outcome`; what this
machine cannot do (no descriptor or no local port left) is not the server's fault, and raises
:class:`~wsgiproof.errors.CannotRun`.

Requests whose connection is not kept say ``Connection: close``, and each lasts until the server has
closed. Three things follow: bytes sent after the end of an answer are seen, however they are split;
no server thread is still finishing a request that we count as done; and TIME_WAIT stays on the
server's side, so that a long run doesn't use up the local ports. A server whose answer says that it
keeps the connection open is not waited for.

A connection that is kept may be closed by the server between two answers (RFC 9112, 9.5), even
while a request is on its way. Bytes that nobody asked for fail the request that is next on it.
"""

from __future__ import annotations

import errno
import math
import os
import socket
import time

from wsgiproof import limits
from wsgiproof.errors import CannotRun
from wsgiproof.load.response import Outcome, Response
from wsgiproof.load.response_parser import Answer
from wsgiproof.load.target import Target

_LOCAL_TROUBLE = {
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.EADDRNOTAVAIL,
}
"""Nothing of this says anything about the server."""

_STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
_READ_SIZE = 16 * 1024


class Connection:
    """A socket that never blocks. Who owns it calls :meth:`write` and :meth:`read` as it is ready.

    Once an exchange is ``over``, :meth:`response` says what came of it. If the connection has not
    ``ended`` with it, the next one can begin.
    """

    # One of these is made per request where the connection isn't kept.
    __slots__ = (
        "_answer",
        "_carried",
        "_connected",
        "_expired",
        "_lost",
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
        self._answer = Answer()
        self._carried = 0
        self._connected = False
        self._lost: OSError | None = None
        self.over = True
        self.ended = False
        self.due = math.inf
        """CLOCK_MONOTONIC of the deadline; infinite once it is over."""
        family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
        try:
            # The type in C: what socket.py makes of it costs twice as much.
            self._sock = socket.SocketType(family, _STREAM, 0)
        except OSError as exc:
            raise self._cannot_run(exc.errno or 0) from None
        self.descriptor = self._sock.fileno()

    def begin(
        self, target: Target, timeout: float, since: float = math.inf, *, resent: bool = False
    ) -> None:
        """The next exchange, to be sent by :meth:`write`; it has ``timeout`` seconds from now.

        Its time is counted from now as well, or from ``since`` if that is earlier.
        """
        self.target = target
        self._timeout = timeout
        self._resent = resent
        self._expired = False
        self.unsent = target.request
        if self._carried:
            self._answer.begin()
        now = time.monotonic()
        self.since = since if since < now else now
        self.due = now + timeout
        self.over = False
        self._carried += 1
        if self._carried == 1:
            code = self._sock.connect_ex((target.address, target.port))
            if code != errno.EINPROGRESS and code:
                self._lose(OSError(code, os.strerror(code)))
        elif self._answer.fault:  # since the last answer
            self._end()

    @property
    def fresh(self) -> bool:
        """Whether this exchange is its first."""
        return self._carried == 1

    def write(self) -> None:
        """Send as much of the request as there is room for; the rest is ``unsent``."""
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
        """Take all that has arrived, be it between two exchanges."""
        answer = self._answer
        while not self.ended:
            try:
                data = self._sock.recv(_READ_SIZE)
            except BlockingIOError:
                return
            except OSError as exc:
                self._lose(exc)
                return
            if not data:
                answer.feed_eof()
                self._end()
                return
            answer.feed(data)
            if answer.fault:
                self._end()
            elif answer.stays_open:
                self._settle()
                return

    def _settle(self) -> None:
        """Nothing more is awaited from it, or nothing but the next request."""
        if self.target.keeps:
            self.over = True
            self.due = math.inf
        else:
            self._end()

    def expire(self) -> None:
        """The deadline is past. What had arrived by then is read before anyone is blamed."""
        self.read()
        if not self.over:
            self._expired = True
            self._end()

    def close(self) -> None:
        """Give the socket back."""
        self._sock.close()
        self._answer.close()

    def carries(self, target: Target) -> bool:
        """Whether one more request can go over it, as far as we know."""
        # With bytes on it that nobody asked for it is used once more, so that a request fails.
        if not target.keeps or (self.ended and not self.spoilt):
            return False
        own = self.target
        return target is own or (target.address == own.address and target.port == own.port)

    @property
    def spoilt(self) -> bool:
        """Whether what came over it can't be understood."""
        return bool(self._answer.fault)

    @property
    def stale(self) -> bool:
        """Whether the server closed it, after an answer, before it had seen the request."""
        if not self.ended or self._carried == 1:
            return False
        return not (self._answer.received or self._answer.fault or self._expired)

    def _lose(self, exc: OSError) -> None:
        # Its traceback refers to a frame, and so to us: a cycle.
        self._lost = exc.with_traceback(None)
        self._end()

    def _end(self) -> None:
        self.over = self.ended = True
        self.unsent = b""
        self.due = math.inf

    # What it came to

    def response(self) -> Response:
        """The account of the exchange; raises CannotRun if what it lacked is on our side."""
        outcome, error = self._judge()
        answer = self._answer
        finished = answer.finished if answer.complete else time.monotonic()
        return Response(
            self.target.url,
            outcome,
            answer.status,
            answer.body,
            error,
            self.since,
            finished - self.since,
            self._resent,
            self.target.label,
        )

    def _judge(self) -> tuple[Outcome, str]:
        answer = self._answer
        if answer.fault:
            return Outcome.MALFORMED, answer.fault
        if answer.complete:
            if answer.status != 200:
                return Outcome.STATUS, f"answered {answer.status}, not 200"
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
        if code in _LOCAL_TROUBLE:
            raise self._cannot_run(code)
        reason = os.strerror(code)
        if code == errno.ETIMEDOUT:
            return Outcome.TIMEOUT, f"{reason}: {self._progress()}"
        if self._connected or code == errno.ECONNRESET:
            return Outcome.RESET, f"{reason}: {self._progress()}"
        return Outcome.REFUSED, f"{reason}: {self.target.address}:{self.target.port}"

    def _cannot_run(self, code: int) -> CannotRun:
        where = f"{self.target.address}:{self.target.port}"
        reason = limits.of_errno(code) or os.strerror(code)
        if code == errno.EADDRNOTAVAIL and ":" in self.target.address:
            reason += "; or IPv6 is off on this machine"
        return CannotRun(f"cannot connect to {where}: {reason}")

    def _progress(self) -> str:
        """How far the exchange had come."""
        answer = self._answer
        if not self._connected:
            return "no connection yet"
        if not answer.received:
            return "connected, but not a byte of an answer"
        if not answer.head_done:
            return f"amid the headers, after {answer.received} bytes"
        return f"amid the body, after {answer.body_size} bytes of it"
