"""One GET after the other, each over a new connection or all over one that is kept.

:func:`fetch` and :class:`KeptAlive` always return a :class:`Response`. What the server or the
network does wrong is an :class:`Outcome`; what this machine cannot do (no descriptor or no local
port left) is not the server's fault, and raises :class:`~wsgiproof.errors.CannotRun`.

Requests of :func:`fetch` say ``Connection: close``, and each lasts until the server has closed.
Three things follow: bytes sent after the end of an answer are seen, however they are split; no
server thread is still finishing a request that we count as done; and TIME_WAIT stays on the
server's side, so that a long run doesn't use up the local ports. A server whose answer says that
it keeps the connection open is not waited for.

A connection that is kept may be closed by the server between two answers (RFC 9112, 9.5), even
while a request is on its way. That request is sent again once, as 9.3.1 allows for a GET, and its
:class:`Response` says so. Bytes that nobody asked for fail the request that is next on it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import cast
from urllib.parse import urlsplit

import httptools
import msgspec

from wsgiproof.errors import CannotRun, UsageError

MAX_HEAD = 64 * 1024
"""Bytes of status line and headers accepted, those of 1xx answers before it included."""

MAX_BODY = 1024 * 1024
"""Bytes of body accepted, and the most that is kept of it."""

MAX_WIRE = MAX_HEAD + 8 * MAX_BODY
"""Bytes accepted in all; bounds what is not body either: chunk extensions and trailers."""

LAST_LOOK = 0.001
"""Seconds after the deadline in which we still read what has arrived by then.

A loop runs its timers before it reads. If this process was held up, the answer may be waiting in
the socket when the deadline fires, and the delay is ours. It is read before anyone is blamed.
"""

# Nothing here says anything about the server.
_LOCAL_TROUBLE = {
    errno.EMFILE: "this process has no descriptor left; raise `ulimit -n` or use fewer connections",
    errno.ENFILE: "this machine has no descriptor left (fs.file-max)",
    errno.ENOBUFS: "this machine has no memory left for sockets",
    errno.ENOMEM: "this machine has no memory left for sockets",
    errno.EADDRNOTAVAIL: (
        "no local port is left for a new connection (look for TIME_WAIT in `ss -tan`, and lower "
        "the rate or widen net.ipv4.ip_local_port_range), or IPv6 is off on this machine"
    ),
}

_VISIBLE = re.compile(r"[!-~]*", re.ASCII)


class Outcome(StrEnum):
    """How one request ended."""

    OK = "ok"
    REFUSED = "refused"  # no connection: nobody listens, or no route
    RESET = "reset"  # the connection was reset before the answer was complete
    TIMEOUT = "timeout"  # the answer was not complete at the deadline
    TRUNCATED = "truncated"  # closed in good order, but before the answer was complete
    MALFORMED = "malformed"  # not HTTP/1, bad framing, over a bound, or bytes after the end
    STATUS = "status"  # complete, but not 200


class Response(msgspec.Struct, frozen=True):
    """What came back for one request.

    ``body`` is what arrived of it, at most :data:`MAX_BODY` bytes, on failure too. ``status`` is
    None until the headers were complete. ``error`` is one line for a person, and empty for an
    answer in good order. ``started`` is CLOCK_MONOTONIC seconds; ``seconds`` run from there to the
    answer's last byte, or to its failure. ``resent``: the connection that was kept for it was
    closed before a byte of an answer came, and it went over a new one.
    """

    url: str
    outcome: Outcome
    status: int | None
    body: bytes
    error: str
    started: float
    seconds: float
    resent: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes, with its bytes made ready; :meth:`parse` makes one."""

    url: str
    host: str
    port: int
    address: str  # numeric, so that no request pays for a name look-up
    request: bytes = field(repr=False)
    keeps: bool  # it doesn't ask the server to close
    _base: str = field(repr=False)
    _start: bytes = field(repr=False)
    _rest: bytes = field(repr=False)

    @classmethod
    def parse(cls, url: str, *, keeps: bool = False) -> Target:
        """A target for an ``http`` URL; a host name is looked up here, once, IPv4 preferred.

        With ``keeps`` the connection may be kept, as :class:`KeptAlive` does.

        Raises UsageError for a URL that is not one of http, CannotRun for a name that doesn't
        resolve.
        """
        host, port, path, query = _split(url)
        address = _resolve(host, port)
        name = f"[{host}]" if ":" in host else host
        authority = name if port == 80 else f"{name}:{port}"
        base = f"http://{authority}{path}"
        start = f"GET {path}".encode("ascii")
        rest = (
            f" HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: wsgiproof\r\nAccept: */*\r\n"
            + ("" if keeps else "Connection: close\r\n")
            + "\r\n"
        ).encode("ascii")
        plain = cls(base, host, port, address, start + rest, keeps, base, start, rest)
        return plain.with_query(query) if query else plain

    def with_query(self, query: str) -> Target:
        """The same target with another query string (already percent-encoded, without its ``?``).

        Raises UsageError for a space, a control character or a character outside ASCII.
        """
        if not _VISIBLE.fullmatch(query) or "#" in query:
            raise UsageError(f"the query {query!r} has to be percent-encoded")
        return Target(
            f"{self._base}?{query}",
            self.host,
            self.port,
            self.address,
            b"%b?%b%b" % (self._start, query.encode("ascii"), self._rest),
            self.keeps,
            self._base,
            self._start,
            self._rest,
        )


def _split(url: str) -> tuple[str, int, str, str]:
    """Host, port, path and query of an http URL; raises UsageError for anything else."""
    # Checked first because urlsplit drops some control characters without a word.
    if not _VISIBLE.fullmatch(url):
        raise UsageError(f"the URL {url!r} has to be percent-encoded")
    try:
        parts = urlsplit(url)
        port = 80 if parts.port is None else parts.port
    except ValueError as exc:
        raise UsageError(f"{url!r} is not a URL: {exc}") from None
    if parts.scheme != "http" or not parts.hostname:
        raise UsageError(f"{url!r} is not an http URL; give one like http://127.0.0.1:8000/")
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"{url!r} holds a user name or a password, which are not supported")
    if port == 0:
        raise UsageError(f"{url!r}: port 0 can't be connected to")
    return parts.hostname, port, parts.path or "/", parts.query


def _resolve(host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise CannotRun(f"the host name {host!r} does not resolve: {exc}") from None
    found.sort(key=lambda info: info[0] != socket.AF_INET)
    return str(found[0][4][0])


async def fetch(target: Target, timeout: float) -> Response:
    """GET ``target`` over a new connection; over within ``timeout`` seconds (+ LAST_LOOK).

    Never raises for anything that the server or the network does. Raises CannotRun when this
    machine is out of descriptors, socket memory or local ports.
    """
    connection = _Connection(timeout)
    try:
        return await connection.get(target)
    finally:
        connection.close()


class KeptAlive:
    """Requests one after the other, over one connection for as long as the server keeps it.

    Its targets were made with ``keeps``. What is true of :func:`fetch` is true of :meth:`get`; only
    that a request that has to be sent again has a deadline of its own for that.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._connection: _Connection | None = None

    async def get(self, target: Target) -> Response:
        """GET ``target``."""
        kept = self._connection
        if kept is None or not kept.can_carry(target):
            return await self._get_anew(target)
        response = await kept.get(target)
        if kept.was_stale():
            again = await self._get_anew(target)
            seconds = again.started + again.seconds - response.started
            return msgspec.structs.replace(
                again, started=response.started, seconds=seconds, resent=True
            )
        self._keep(kept)
        return response

    async def _get_anew(self, target: Target) -> Response:
        self.close()
        self._connection = _Connection(self._timeout)
        response = await self._connection.get(target)
        self._keep(self._connection)
        return response

    def _keep(self, connection: _Connection) -> None:
        if connection.fault or not connection.stays_open:
            self.close()

    def close(self) -> None:
        """Give the connection up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Connection(asyncio.Protocol):
    """One connection with one exchange, or several in turn: reads, and notes what was seen.

    The methods come in three groups, by who calls them: the deadline's timer, the transport, and
    the HTTP parser. None of them judges; :meth:`response` does, when an exchange is over.
    """

    # One of these is made per request where the connection isn't kept.
    __slots__ = (
        "body",
        "cancelled_task",
        "carried",
        "complete",
        "due",
        "expired",
        "fault",
        "finished",
        "head",
        "head_done",
        "loop",
        "lost",
        "over",
        "parser",
        "received",
        "started",
        "status",
        "stays_open",
        "target",
        "task",
        "timeout",
        "timer",
        "transport",
    )

    target: Target
    task: asyncio.Task[object]
    over: asyncio.Future[None]
    """Done when the exchange is."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.loop = asyncio.get_running_loop()
        self.timer: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None
        self.parser: httptools.HttpResponseParser | None = None
        self.carried = 0
        self.lost: Exception | None = None
        self.fault = ""  # what makes the answer malformed

    async def get(self, target: Target) -> Response:
        """The next exchange. Cancelled or not, what is left of it is :meth:`close`'s to end."""
        self.begin(target)
        try:
            if self.transport is None:
                self.task = cast("asyncio.Task[object]", asyncio.current_task())
                await self.loop.create_connection(lambda: self, target.address, target.port)
            elif self.fault:  # since the last answer
                self.over.set_result(None)
            else:
                self.transport.write(target.request)
            await self.over
        except OSError as exc:
            # Its traceback refers to this frame, and so to the connection: a cycle.
            self.lost = exc.with_traceback(None)
        except asyncio.CancelledError:
            # As in asyncio.timeout: swallowed only if it is ours and nobody else cancelled us too.
            if not self.cancelled_task or self.task.uncancel() > 0:
                raise
        self.carried += 1
        return self.response()

    def begin(self, target: Target) -> None:
        self.target = target
        self.over = self.loop.create_future()
        self.received = 0
        self.body = bytearray()
        self.status: int | None = None
        self.head = b""  # what has come, up to its end at least
        self.head_done = False
        self.complete = False
        self.stays_open = False
        self.expired = False
        self.cancelled_task = False
        self.finished = 0.0
        self.started = time.monotonic()
        self.due = self.started + self.timeout
        if self.timer is None:
            self.timer = self.loop.call_later(self.timeout, self.deadline)

    def can_carry(self, target: Target) -> bool:
        """Whether one more request can go over it, as far as we know."""
        own = self.target
        # With bytes on it that nobody asked for it is used once more, so that a request fails.
        usable = self.parser is not None or bool(self.fault)
        return usable and target.port == own.port and target.address == own.address

    def was_stale(self) -> bool:
        """Whether the server closed it, after an answer, before it had seen the request."""
        gone = self.parser is None and not self.received
        return self.carried > 1 and gone and not (self.fault or self.expired)

    def close(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.transport is not None:
            self.transport.abort()

    # Called by the timer

    def deadline(self) -> None:
        self.timer = None
        if self.over.done():
            return  # the next exchange begins another one
        left = self.due - time.monotonic()
        if left > LAST_LOOK:  # it was an earlier exchange's
            self.timer = self.loop.call_later(left, self.deadline)
        elif self.transport is None:
            # Still connecting: the task waits inside create_connection.
            self.expired = self.cancelled_task = True
            self.task.cancel()
        else:
            self.timer = self.loop.call_later(LAST_LOOK, self.expire)

    def expire(self) -> None:
        self.timer = None
        if self.over.done():
            return
        self.expired = True
        if self.transport is not None:
            self.transport.abort()

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.expired:
            self.transport.abort()
            return
        # Made here and dropped in connection_lost, because it and we refer to each other: without
        # that cut, only the garbage collector would free either.
        self.parser = httptools.HttpResponseParser(self)
        self.transport.write(self.target.request)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self.received > MAX_HEAD and not self.head_done:
            data = self.feed_head(data)
        self.feed(data)
        if self.received > MAX_WIRE:
            self.fault = self.fault or f"an answer of more than {MAX_WIRE} bytes"
        if self.fault or self.stays_open:
            self.settle()

    def feed_head(self, data: bytes) -> bytes:
        """Feed as much as there is room for in the head, which has to end there; the rest of it."""
        room = MAX_HEAD - (self.received - len(data))
        self.feed(data[:room])
        if not self.head_done:
            self.fault = self.fault or f"headers of more than {MAX_HEAD} bytes"
        return data[room:]

    def settle(self) -> None:
        """Nothing more is awaited from this connection, or nothing but the next request."""
        if self.target.keeps and not self.fault:
            if not self.over.done():
                self.over.set_result(None)
        elif self.transport is not None:
            self.transport.abort()

    def feed(self, data: bytes) -> None:
        if self.fault or self.parser is None:
            return
        if self.complete:
            # The parser skips an empty line after a message; so do we, wherever the segments end.
            if data.strip(b"\r\n"):
                self.extra()
            return
        if not self.head_done:
            self.head += data
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self.broken(exc)

    def eof_received(self) -> None:
        # What tells its length has not ended by a close.
        if self.head_done and not self.complete and not _Headers(self.head).framed:
            self.completed()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc
        self.parser = None
        if not self.over.done():
            self.over.set_result(None)

    # Called by the parser, from within feed()

    def on_message_begin(self) -> None:
        if self.complete:
            self.extra()

    def on_headers_complete(self) -> None:
        parser = self.parser
        if parser is None or self.fault or self.complete:
            return
        status = parser.get_status_code()
        if parser.get_http_version() not in ("1.1", "1.0"):
            self.fault = self.fault or f"HTTP/{parser.get_http_version()} is not what was asked for"
        elif status < 100 or status == 101:
            self.fault = self.fault or f"a GET can't be answered with status {status}"
        elif status >= 200:
            self.status = status
            self.head_done = True
            if b"transfer-encoding" in self.head.lower():
                coding = _Headers(self.head).coding
                if coding != b"chunked":
                    self.fault = f"a transfer coding nobody asked for: {coding[:80]!r}"
            if status in (204, 304):
                self.completed()

    def on_body(self, data: bytes) -> None:
        if self.fault:
            return
        if self.complete:
            self.extra()
            return
        room = MAX_BODY - len(self.body)
        if len(data) > room:
            self.fault = self.fault or f"a body of more than {MAX_BODY} bytes"
            data = data[:room]
        self.body += data

    def on_message_complete(self) -> None:
        if self.head_done:
            self.completed()

    # What the above have in common, and the end

    def completed(self) -> None:
        if not self.complete:
            self.complete = True
            self.finished = time.monotonic()
            if self.parser is not None:
                self.stays_open = self.parser.should_keep_alive()

    def broken(self, exc: Exception) -> None:
        if self.complete:
            self.extra()
        else:
            self.fault = self.fault or f"not valid HTTP: {exc}"

    def extra(self) -> None:
        self.fault = self.fault or "bytes after the end of the answer"

    def response(self) -> Response:
        """The account of this exchange; raises CannotRun if what it lacked is on our side."""
        outcome, error = self.judge()
        finished = self.finished if self.complete else time.monotonic()
        return Response(
            self.target.url,
            outcome,
            self.status,
            bytes(self.body),
            error,
            self.started,
            finished - self.started,
        )

    def judge(self) -> tuple[Outcome, str]:
        if self.status == 200 and self.complete and not (self.fault or self.expired):
            return Outcome.OK, ""
        if self.fault:
            return Outcome.MALFORMED, self.fault
        if self.complete:
            if self.status != 200:
                return Outcome.STATUS, f"answered {self.status}, not 200"
            if self.expired:
                return (
                    Outcome.OK,
                    f"complete, but not closed by the server within {self.timeout:g} s",
                )
            return Outcome.OK, ""
        if self.lost is not None:
            return self.judge_loss(self.lost)
        if self.expired:
            return Outcome.TIMEOUT, f"not complete within {self.timeout:g} s: {self.progress()}"
        return Outcome.TRUNCATED, f"closed by the server too early: {self.progress()}"

    def judge_loss(self, exc: Exception) -> tuple[Outcome, str]:
        code = exc.errno if isinstance(exc, OSError) and exc.errno else 0
        where = f"{self.target.address}:{self.target.port}"
        if code in _LOCAL_TROUBLE:
            raise CannotRun(f"cannot connect to {where}: {_LOCAL_TROUBLE[code]}")
        reason = os.strerror(code) if code else str(exc) or type(exc).__name__
        error = f"{reason}: {self.progress()}"
        if code == errno.ETIMEDOUT:
            return Outcome.TIMEOUT, error
        if self.transport is not None or code == errno.ECONNRESET:
            return Outcome.RESET, error
        return Outcome.REFUSED, f"{reason}: {where}"

    def progress(self) -> str:
        """How far the exchange had come."""
        if self.transport is None:
            return "no connection yet"
        if not self.received:
            return "connected, but not a byte of an answer"
        if not self.head_done:
            return f"amid the headers, after {self.received} bytes"
        return f"amid the body, after {len(self.body)} bytes of it"


class _Headers:
    """How the headers of an answer say that its body ends; what follows them may be in ``head``.

    They are read a second time for that, where it matters: to be called back for each header of
    each answer would cost more than all else that is done for one.
    """

    def __init__(self, head: bytes) -> None:
        self.framed = False  # they tell the body's length, so a close does not end it
        self.coding = b"chunked"
        self._done = False
        self._parser = httptools.HttpResponseParser(self)
        with suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._parser.feed_data(head)
        del self._parser

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if self._done:
            return
        if name == b"content-length":
            self.framed = True
        elif name == b"transfer-encoding":
            self.framed = True
            self.coding = value.strip().lower()

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._done = True  # a chunked body may have trailers
        else:
            self.framed = False
