"""Parse responses as their bytes arrive. Nothing here judges, waits or sends."""

from __future__ import annotations

import time
import zlib
from contextlib import suppress

import httptools

MAX_HEAD = 64 * 1024
"""Bytes of status line and headers accepted, including those of preceding 1xx responses."""

MAX_BODY = 1024 * 1024
"""Bytes of the body that are kept; it may be larger."""

MAX_REST = 8 * 1024 * 1024
"""Bytes of chunk extensions and trailers accepted."""


class ResponseParser:
    """Parses the responses that arrive over one connection, one after the other.

    ``fault`` says in one line why the current response is malformed; nothing that follows it on the
    connection can be parsed.
    """

    # Slots, since each request makes a parser unless connections are kept.
    __slots__ = (
        "_body",
        "_head",
        "_parser",
        "body_digest",
        "body_size",
        "complete",
        "fault",
        "finished",
        "head_done",
        "received",
        "status",
        "stays_open",
    )

    def __init__(self) -> None:
        # The two refer to each other: only close() frees them without the garbage collector.
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.fault = ""
        self.begin()

    def begin(self) -> None:
        """Treat what arrives from now on as the next response."""
        self._head = b""  # what has arrived, at least up to the end of the headers
        self._body: list[bytes] = []
        self.body_size = 0
        self.body_digest = 0  # a CRC-32, also of what is not kept
        self.received = 0
        self.status: int | None = None
        self.head_done = False
        self.complete = False
        self.stays_open = False  # once complete: the server means to keep the connection
        self.finished = 0.0  # CLOCK_MONOTONIC, once complete

    @property
    def head(self) -> bytes:
        """The status line and the headers, those of preceding 1xx responses included."""
        return self._head

    @property
    def body(self) -> bytes:
        """The part of the body that has arrived, at most MAX_BODY bytes."""
        return b"".join(self._body)

    def close(self) -> None:
        """Free the parser; nothing more will be fed."""
        self._parser = None

    def feed(self, data: bytes) -> None:
        """Parse bytes that have arrived."""
        self.received += len(data)
        if self.received > MAX_HEAD:
            self._feed_much(data)
        else:
            self._parse(data)

    def feed_eof(self) -> None:
        """Take note that the server has closed the connection in good order."""
        # A close ends the body only where the headers do not say its length.
        if self.head_done and not self.complete and not _Headers(self._head).framed:
            self._completed()

    def _feed_much(self, data: bytes) -> None:
        """Parse no more than the bounds allow, first of the headers if they have not ended."""
        if not self.head_done:
            room = MAX_HEAD - (self.received - len(data))
            self._parse(data[:room])
            if not self.head_done:
                self.fault = self.fault or f"headers of more than {MAX_HEAD} bytes"
            data = data[room:]
        self._parse(data)
        if self.received - self.body_size > MAX_HEAD + MAX_REST:
            self.fault = self.fault or f"more than {MAX_REST} bytes beside the body"

    def _parse(self, data: bytes) -> None:
        if self.fault or self._parser is None:
            return
        if self.complete:
            # The C parser skips an empty line after a message; so does this, however it is split.
            if data.strip(b"\r\n"):
                self._extra()
            return
        if not self.head_done:
            self._head += data
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self._broken(exc)

    # Called by the parser, from within _parse()

    def on_message_begin(self) -> None:
        if self.complete:
            self._extra()

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser is None or self.fault or self.complete:
            return
        status = parser.get_status_code()
        if parser.get_http_version() not in ("1.1", "1.0"):
            self.fault = f"HTTP/{parser.get_http_version()}, but HTTP/1.1 was requested"
        elif status < 100 or status == 101:
            self.fault = f"a GET can't be answered with status {status}"
        elif status >= 200:
            self.status = status
            self.head_done = True
            if b"transfer-encoding" in self._head.lower():
                coding = _Headers(self._head).coding
                if coding != b"chunked":
                    self.fault = f"a transfer coding that was not requested: {coding[:80]!r}"
            if status in (204, 304):
                self._completed()

    def on_body(self, data: bytes) -> None:
        if self.fault:
            return
        if self.complete:
            self._extra()
            return
        room = MAX_BODY - self.body_size
        if room > 0:
            self._body.append(data[:room])
        self.body_size += len(data)
        self.body_digest = zlib.crc32(data, self.body_digest)

    def on_message_complete(self) -> None:
        if self.head_done:
            self._completed()

    # Shared by the callbacks

    def _completed(self) -> None:
        if not self.complete:
            self.complete = True
            self.finished = time.monotonic()
            if self._parser is not None:
                self.stays_open = self._parser.should_keep_alive()

    def _broken(self, exc: Exception) -> None:
        if self.complete:
            self._extra()
        else:
            self.fault = self.fault or f"not valid HTTP: {exc}"

    def _extra(self) -> None:
        self.fault = self.fault or "bytes after the end of the response"


class _Headers:
    """How the headers of a response say where its body ends. ``head`` may hold more than headers.

    The headers are parsed a second time for that, only where it matters: a callback for each header
    of each response would cost more than all other work for it.
    """

    def __init__(self, head: bytes) -> None:
        self.framed = False  # they give the length of the body, so a close does not end it
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
