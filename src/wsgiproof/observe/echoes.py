"""Notices answers that belong to another request.

An application may repeat what tells its request from all others: the header X-Request-ID, or the
port of the client. If each answer to a request that was alone repeats its own, and one of several
requests at once repeats that of another, the application has mixed up requests. A page from a cache
does not look like that: it names the request that made it, also to one that is alone.
"""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from wsgiproof.load.response import Response
from wsgiproof.records.observed import Echo

_ALONE = 20
"""Requests that have to be alone before it is known what their answers repeat."""
_KEPT = 100
"""Answers without their own mark that are kept for each URL."""
_SIZE = 4096
"""Bytes that are kept of the headers, and of the body, of each."""
_LONGEST_LINE = 200
_NUMBER = re.compile(rb"\b\d{1,5}\b")


class RequestIds:
    """Makes the values of X-Request-ID: UUIDs of version 4, without hyphens, that count up."""

    def __init__(self) -> None:
        self._start = uuid.uuid4().hex[:20]  # the version and the variant are in this part
        self._made = 0
        self.find = re.compile(rb"%b[0-9a-f]{12}" % self._start.encode()).findall
        """Returns all values that are in a text."""

    def next(self) -> str:
        """Return a new value."""
        self._made += 1
        return f"{self._start}{self._made:012x}"


class _Marks:
    """One kind of mark: ``what`` it is, and ``find``, which returns all marks in an answer."""

    def __init__(self, what: str, find: Callable[[bytes], Iterable[bytes]]) -> None:
        self.what = what
        self._find = find
        self._by_url: defaultdict[str, _Repeated] = defaultdict(_Repeated)

    def add(self, url: str, mark: bytes, texts: Sequence[bytes], *, alone: bool) -> None:
        """Take note of one answer."""
        repeated = self._by_url[url]
        if not repeated.silent:
            repeated.add(mark, texts, alone=alone)

    def echoes(self) -> Iterator[Echo]:
        """Yield what is repeated in the answers to each URL."""
        for url, repeated in self._by_url.items():
            if repeated.silent or repeated.alone < _ALONE:
                continue
            mixed = [
                (mark, other, text)
                for mark, text in repeated.without
                if (other := self._other(mark, text)) is not None
            ]
            mark, other, text = mixed[0] if mixed else (b"", b"", b"")
            yield Echo(
                what=self.what,
                url=url,
                alone=repeated.alone,
                together=repeated.together,
                others=len(mixed),
                more=len(repeated.without) == _KEPT,
                own=mark.decode(),
                other=other.decode(),
                line=_line_with(other, text),
            )

    def _other(self, mark: bytes, text: bytes) -> bytes | None:
        return next((one for one in self._find(text) if one != mark), None)


class _Repeated:
    """Whether the answers to one URL repeat the mark of their request."""

    def __init__(self) -> None:
        self.alone = 0
        self.together = 0
        self.silent = False
        """Whether the answer to a request that was alone did not."""
        self.without: list[tuple[bytes, bytes]] = []
        """Of requests that were not alone, the marks of the first whose answers did not repeat
        them, and those answers."""

    def add(self, mark: bytes, texts: Sequence[bytes], *, alone: bool) -> None:
        own = any(mark in text for text in texts)
        if alone:
            self.alone += 1
            self.silent = not own
        else:
            self.together += 1
            if not own and len(self.without) < _KEPT:
                self.without.append((mark, b"\n".join(text[:_SIZE] for text in texts)))


class Echoes:
    """What the right answers of one cell repeat of their requests."""

    def __init__(self, ids: RequestIds) -> None:
        self._ids = _Marks("X-Request-ID", ids.find)
        self._ports = _Marks("client port", self._find_ports)
        self._used: set[bytes] = set()
        """The ports of all requests."""

    def add(self, response: Response, *, alone: bool) -> None:
        """Take note of an answer; its label is the X-Request-ID of its request.

        ``alone`` says that no other request was in flight.
        """
        texts = (response.head, response.body)
        self._ids.add(response.url, response.label.encode(), texts, alone=alone)
        # Headers have other numbers, which may be the port of some request by chance.
        port = b"%d" % response.client_port
        self._used.add(port)
        self._ports.add(response.url, port, (response.body,), alone=alone)

    def found(self) -> tuple[Echo, ...]:
        """Return what answers repeat of their requests, for each URL where they do."""
        return (*self._ids.echoes(), *self._ports.echoes())

    def _find_ports(self, text: bytes) -> Iterable[bytes]:
        return (one for one in _NUMBER.findall(text) if one in self._used)


def _line_with(mark: bytes, text: bytes) -> str:
    """Return the line of an answer that has this mark."""
    line = next((line for line in text.splitlines() if mark in line), b"")
    return line[:_LONGEST_LINE].decode("utf-8", "replace").strip()
