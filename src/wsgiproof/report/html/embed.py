"""Data and scripts inside an HTML page, where nothing in them can end the element they are in."""

from __future__ import annotations

import base64
import gzip
import hashlib
from typing import Any

import msgspec

from wsgiproof.report.text import visible

_ESCAPED = {
    b"<": rb"\u003c",
    b">": rb"\u003e",
    b"&": rb"\u0026",
    "\u2028".encode(): rb"\u2028",
    "\u2029".encode(): rb"\u2029",
}
"""What could end a script element, or a line of JavaScript; all of it stands inside strings."""


def as_json(value: Any) -> str:
    """Return JSON for a ``<script type="application/json">``, without control characters."""
    content = _encoded(value)
    for char, escaped in _ESCAPED.items():
        content = content.replace(char, escaped)
    return content.decode()


def packed_json(value: Any) -> str:
    """Return JSON as gzip in base64, for what is read later, if at all.

    The same value always gives the same text.
    """
    return base64.b64encode(gzip.compress(_encoded(value), 6, mtime=0)).decode()


def digest(content: str) -> str:
    """Return the hash by which a Content-Security-Policy allows an element with this content."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _encoded(value: Any) -> bytes:
    return msgspec.json.encode(_visible(msgspec.to_builtins(value)))


def _visible(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(str(key)): _visible(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_visible(one) for one in value]
    return value
