"""One answer as it arrives: bytes in, and what they were. Nothing here judges, waits or sends."""

from __future__ import annotations

import time
from contextlib import suppress

import httptools

MAX_HEAD = 64 * 1024
"""Bytes of status line and headers accepted, those of 1xx answers before it included."""

MAX_BODY = 1024 * 1024
"""Bytes of body accepted, and the most that is kept of it."""

MAX_WIRE = MAX_HEAD + 8 * MAX_BODY
"""Bytes accepted in all; bounds what is not body either: chunk extensions and trailers."""


class Answer:
    """The answers that come over one connection, one after the other.

    ``fault`` is what makes the present one malformed, in one line; nothing that follows it on its
    connection can be understood.
    """

    # One of these is made per request where the connection isn't kept.
    __slots__ = (
        "_body",
        "_head",
        "_parser",
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
        # It refers to us as well: only close() frees either without the garbage collector.
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.fault = ""
        self.begin()

    def begin(self) -> None:
        """What arrives from now on is the next answer."""
        self._head = b""  # what has come, up to its end at least
        self._body: list[bytes] = []
        self.body_size = 0
        self.received = 0
        self.status: int | None = None
        self.head_done = False
        self.complete = False
        self.stays_open = False  # once complete: the server means to keep the connection
        self.finished = 0.0  # CLOCK_MONOTONIC, once complete

    @property
    def body(self) -> bytes:
        """What has arrived of it, at most MAX_BODY bytes."""
        return b"".join(self._body)

    def close(self) -> None:
        """No more will be fed."""
        self._parser = None

    def feed(self, data: bytes) -> None:
        """These have arrived."""
        self.received += len(data)
        if self.received > MAX_HEAD:
            self._feed_much(data)
        else:
            self._parse(data)

    def feed_eof(self) -> None:
        """The server has closed in good order."""
        # What tells its length has not ended by a close.
        if self.head_done and not self.complete and not _Headers(self._head).framed:
            self._completed()

    def _feed_much(self, data: bytes) -> None:
        """Feed no more than there is room for: of a head first, if it has not ended."""
        if not self.head_done:
            room = MAX_HEAD - (self.received - len(data))
            self._parse(data[:room])
            if not self.head_done:
                self.fault = self.fault or f"headers of more than {MAX_HEAD} bytes"
            data = data[room:]
        self._parse(data)
        if self.received > MAX_WIRE:
            self.fault = self.fault or f"an answer of more than {MAX_WIRE} bytes"

    def _parse(self, data: bytes) -> None:
        if self.fault or self._parser is None:
            return
        if self.complete:
            # The parser skips an empty line after a message; so do we, wherever the segments end.
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
            self.fault = f"HTTP/{parser.get_http_version()} is not what was asked for"
        elif status < 100 or status == 101:
            self.fault = f"a GET can't be answered with status {status}"
        elif status >= 200:
            self.status = status
            self.head_done = True
            if b"transfer-encoding" in self._head.lower():
                coding = _Headers(self._head).coding
                if coding != b"chunked":
                    self.fault = f"a transfer coding nobody asked for: {coding[:80]!r}"
            if status in (204, 304):
                self._completed()

    def on_body(self, data: bytes) -> None:
        if self.fault:
            return
        if self.complete:
            self._extra()
            return
        room = MAX_BODY - self.body_size
        if len(data) > room:
            self.fault = f"a body of more than {MAX_BODY} bytes"
            data = data[:room]
        self._body.append(data)
        self.body_size += len(data)

    def on_message_complete(self) -> None:
        if self.head_done:
            self._completed()

    # What the above have in common

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
        self.fault = self.fault or "bytes after the end of the answer"


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
