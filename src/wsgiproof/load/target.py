"""The targets of requests, with the bytes to send prepared in advance."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from wsgiproof.errors import CannotRun, UsageError

_VISIBLE = re.compile(r"[!-~]*", re.ASCII)
_VALUE = re.compile(r"[ -~]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """The destination of a request, with the bytes to send; create one with :meth:`parse`."""

    url: str
    host: str
    port: int
    address: str  # numeric, so that no request needs a name look-up
    request: bytes = field(repr=False)
    keeps: bool  # the request does not ask the server to close the connection
    _base: str = field(repr=False)
    _start: bytes = field(repr=False)
    _rest: bytes = field(repr=False)
    label: str = ""
    """The sender's name for its requests; their responses carry it as well."""

    @classmethod
    def parse(cls, url: str, *, keeps: bool = False, address: str = "") -> Target:
        """Return a target for an ``http`` URL.

        A host name is resolved here, once; IPv4 is preferred. It is only the name of a virtual host
        if ``address`` says where the server is. With ``keeps`` the connection may be
        kept for the next request.

        Raises UsageError if the URL is not an http URL, and CannotRun if the host name does not
        resolve.
        """
        host, port, path, query = _split(url)
        address = address or _resolve(host, port)
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
        """Return the same target with another query string (percent-encoded, without the ``?``).

        Raises UsageError for a space, a control character or a character outside ASCII.
        """
        if not _VISIBLE.fullmatch(query) or "#" in query:
            raise UsageError(f"the query {query!r} has to be percent-encoded")
        return replace(
            self,
            url=f"{self._base}?{query}",
            request=b"%b?%b%b" % (self._start, query.encode("ascii"), self._rest),
        )

    def with_header(self, name: str, value: str, *, label: str = "") -> Target:
        """Return the same target with one more header, and with ``label``.

        Raises UsageError for a control character or a character outside ASCII in the value.
        """
        if not _VALUE.fullmatch(value):
            raise UsageError(
                f"the value of the header {name} has a control or a non-ASCII character: remove it"
            )
        line = f"{name}: {value}\r\n\r\n".encode("ascii")
        return replace(
            self,
            request=self.request[:-2] + line,
            _rest=self._rest[:-2] + line,
            label=label,
        )


def _split(url: str) -> tuple[str, int, str, str]:
    """Return host, port, path and query of an http URL; raise UsageError for anything else."""
    # Checked first because urlsplit silently drops some control characters.
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
        raise UsageError(
            f"{url!r} has a user name or a password, which is not supported: remove it"
        )
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
