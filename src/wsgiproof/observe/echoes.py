"""Notices answers that belong to another request.

An application may repeat what tells its request from all others: the header X-Request-ID, or the
port of the client. If answers to requests that were alone repeat their own, and one of several
requests at once gets that of another, the application has mixed up requests. A page from a cache
does not look like that: it names the request that made it, also to one that is alone.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator

from wsgiproof.load.response import Response
from wsgiproof.records.observed import Echo

REQUEST_ID = "X-Request-ID"
"""The header that every request has, each with another value."""
_ALONE = 20
"""Answers to requests that were alone that have to repeat their own."""
_AROUND = 80
"""Bytes that are shown before and after what an answer repeats of another request."""
_BODIES = 200
"""Bodies that are kept of those that lack their own port, for each URL."""
_BODY_SIZE = 4096
"""Bytes of a body in which a port is looked for."""
_BEFORE_PORT = 12
"""Bytes that have to stand before a port: the same as before the own port of one that was alone."""
_NUMBER = re.compile(rb"\b[0-9]{4,5}\b")


class RequestIds:
    """Makes the values of X-Request-ID: UUIDs of version 4, without hyphens, that count up."""

    def __init__(self) -> None:
        self._start = uuid.uuid4().hex[:20]  # the version and the variant are in this part
        self._made = 0
        self._value = re.compile(rb"%b[0-9a-f]{12}" % self._start.encode())

    def next(self) -> str:
        """Return a new value."""
        self._made += 1
        return f"{self._start}{self._made:012x}"

    def find(self, text: bytes) -> list[bytes]:
        """Return all values that are in a text."""
        return self._value.findall(text)


class _Ids:
    """What the answers to one URL have of ids, in one place: their headers or their body."""

    def __init__(self, ids: RequestIds) -> None:
        self._ids = ids
        self._alone: Counter[str] = Counter()
        self._together: Counter[str] = Counter()
        self._first = ("", "", "")

    def add(self, own: bytes, text: bytes, *, alone: bool) -> None:
        """Take note of one answer."""
        found = self._ids.find(text)
        if own in found:
            whose = "own"
        else:
            whose = "other" if found else "nobody's"
        if alone:
            self._alone[whose] += 1
            return
        self._together[whose] += 1
        if whose == "other" and not self._first[0]:
            self._first = (own.decode(), found[0].decode(), _around(found[0], text))

    def echo(self, where: str, url: str) -> Echo | None:
        """Return what the answers repeat; None if they do not."""
        if self._alone["own"] < _ALONE or self._alone["other"]:
            return None
        own, other, text = self._first
        return Echo(
            what=REQUEST_ID,
            where=where,
            url=url,
            alone=self._alone["own"],
            together=self._together.total(),
            others=self._together["other"],
            own=own,
            other=other,
            text=text,
        )


class _Ports:
    """What the bodies of one URL have of ports.

    Other numbers look like ports. So only those count that stand where the own port stands in
    answers to requests that were alone, and that some request had.
    """

    def __init__(self) -> None:
        self._alone = 0
        self._together = 0
        self._silent = False
        """Whether an answer to a request that was alone lacked its own port."""
        self._before = b""
        """What stands before the own port in the latest answer to a request that was alone."""
        self._without: list[tuple[bytes, bytes]] = []

    def add(self, own: bytes, body: bytes, *, alone: bool) -> None:
        """Take note of one answer."""
        if self._silent:
            return
        body = body[:_BODY_SIZE]
        found = None
        if own in body:
            found = next((one for one in _NUMBER.finditer(body) if one[0] == own), None)
        if alone:
            self._alone += 1
            self._silent = found is None
            if found is not None:
                self._before = body[max(0, found.start() - _BEFORE_PORT) : found.start()]
            return
        self._together += 1
        if found is None and len(self._without) < _BODIES and _NUMBER.search(body):
            self._without.append((own, body))

    def echo(self, url: str, used: set[bytes]) -> Echo | None:
        """Return what the answers repeat; None if they do not. ``used`` are the ports of all
        requests."""
        if self._silent or self._alone < _ALONE:
            return None
        place = re.compile(re.escape(self._before) + rb"\b([0-9]{4,5})\b")
        mixed = [
            (own, found[1], body)
            for own, body in self._without
            if (found := place.search(body)) and found[1] in used
        ]
        own, other, body = mixed[0] if mixed else (b"", b"", b"")
        return Echo(
            what="client port",
            where="body",
            url=url,
            alone=self._alone,
            together=self._together,
            others=len(mixed),
            own=own.decode(),
            other=other.decode(),
            text=_around(other, body),
        )


class Echoes:
    """What the right answers of one cell repeat of their requests."""

    def __init__(self, ids: RequestIds) -> None:
        self._in_headers: defaultdict[str, _Ids] = defaultdict(lambda: _Ids(ids))
        self._in_bodies: defaultdict[str, _Ids] = defaultdict(lambda: _Ids(ids))
        self._ports: defaultdict[str, _Ports] = defaultdict(_Ports)
        self._used: set[bytes] = set()
        """The ports of all requests."""

    def add(self, response: Response, *, alone: bool) -> None:
        """Take note of an answer; its label is the X-Request-ID of its request.

        ``alone`` says that no other request was in flight.
        """
        own, port = response.label.encode(), b"%d" % response.client_port
        self._used.add(port)
        self._in_headers[response.url].add(own, response.head, alone=alone)
        self._in_bodies[response.url].add(own, response.body, alone=alone)
        self._ports[response.url].add(port, response.body, alone=alone)

    def found(self) -> tuple[Echo, ...]:
        """Return what answers repeat of their requests, for each URL where they do."""
        return tuple(one for one in self._found() if one is not None)

    def _found(self) -> Iterator[Echo | None]:
        for url, ids in self._in_headers.items():
            yield ids.echo("headers", url)
        for url, ids in self._in_bodies.items():
            yield ids.echo("body", url)
        for url, ports in self._ports.items():
            yield ports.echo(url, self._used)


def _around(found: bytes, text: bytes) -> str:
    """Return what stands around something in an answer, in one line."""
    at = text.find(found)
    part = text[max(0, at - _AROUND) : at + len(found) + _AROUND]
    return " ".join(part.decode("utf-8", "replace").split())
