"""The command line as it goes into records and reports."""

from __future__ import annotations

import re
import shlex
import sys


def command_line() -> str:
    """Return the command line for the record, without URIs: they may hold a password."""
    return shlex.join(["wsgiproof", *map(without_uris, sys.argv[1:])])


def without_uris(text: str) -> str:
    """Return ``text`` without a URI and what follows it, but for addresses of web pages and files,
    and of git repositories that name no user."""
    return re.sub(r"\b(?!https?:|file:|git\+https://[^@/]*/)[a-z][a-z0-9+.-]*://.*", "URI", text)
