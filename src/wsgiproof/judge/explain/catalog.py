"""Reads the catalog from its files, and searches it."""

from __future__ import annotations

import re
import tomllib
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec


class Place(StrEnum):
    """Where a text comes from."""

    LOG = "log"
    """A line of the error log, without the prefix that Apache and mod_wsgi write."""
    STACK = "stack"
    """The fatal trace or the stacks of one process, as a whole."""
    BODY = "body"
    """The body of a failed answer, or the load client's error."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the catalog. The head of ``entries.toml`` describes the fields."""

    id: str
    pattern: str
    where: tuple[Place, ...]
    phases: tuple[str, ...] = ()
    fails: bool = False
    explains: tuple[str, ...] = ()
    meaning: str
    versions: str
    action: str
    source: str
    examples: tuple[str, ...]


class Code(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A code of mod_wsgi 6: the level at which it is logged (or ``retired``), and its meaning."""

    level: str
    meaning: str


CODE = re.compile(r"WSGI\d{4}(?=: )")
"""The code with which mod_wsgi 6 begins its messages of level ``warning`` and above."""
_REFERENCE = "https://modwsgi.readthedocs.io/en/latest/error-reference.html"
_SERIOUS = {"alert", "crit"}
"""At these levels a process, or its Python, can't continue, so the line is a failure."""


@cache
def entries() -> tuple[Entry, ...]:
    """Return all entries, in the order in which they are searched."""
    return msgspec.convert(_read("entries.toml")["entry"], tuple[Entry, ...])


@cache
def codes() -> dict[str, Code]:
    """Return the codes of mod_wsgi 6, by name."""
    return msgspec.convert(_read("codes.toml"), dict[str, Code])


def find(text: str, place: Place, phase: str = "") -> Entry | None:
    """Return the first entry that matches a text of this phase; None if none does.

    A code of mod_wsgi without an entry gets one from its meaning, or else from its place in
    mod_wsgi's error reference.
    """
    for entry in entries():
        here = place in entry.where and (not entry.phases or phase in entry.phases)
        if here and _compiled(entry.pattern).search(text):
            return entry
    code = CODE.match(text) if place is Place.LOG else None
    return _of_code(code[0]) if code else None


def reference(code: str) -> str:
    """Return the URL of a code in mod_wsgi's error reference, which has an anchor for each."""
    return f"{_REFERENCE}#{code.lower()}"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


@cache
def _of_code(name: str) -> Entry:
    code = codes().get(name)
    level = code.level if code else "at a level that wsgiproof does not know"
    return Entry(
        id=name,
        pattern=f"{name}: ",
        where=(Place.LOG,),
        fails=level in _SERIOUS,
        explains=("responses",) if level in {"err", *_SERIOUS} else (),
        meaning=code.meaning if code else "a code that wsgiproof does not know yet",
        versions=f"mod_wsgi 6, {level}",
        action="look this code up in the error reference of mod_wsgi",
        source=reference(name),
        examples=(),
    )


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath(name).read_text(encoding="utf-8"))
