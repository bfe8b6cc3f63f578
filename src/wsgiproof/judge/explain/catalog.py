"""The catalog of what is known, as read from its files, and the search in it."""

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
    """A line of the error log, without what Apache and mod_wsgi put before it."""
    STACK = "stack"
    """The last words or the stacks of one process, as a whole."""
    BODY = "body"
    """A failed answer, or what the client said of it."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that is known. The head of ``entries.toml`` describes the fields."""

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
    """A code of mod_wsgi 6: the level that it is written at (or ``retired``), and its meaning."""

    level: str
    meaning: str


CODE = re.compile(r"WSGI\d{4}(?=: )")
"""What mod_wsgi 6 begins its messages of level ``warning`` and above with."""
_REFERENCE = "https://modwsgi.readthedocs.io/en/latest/error-reference.html"
_SERIOUS = {"alert", "crit"}
"""Levels at which a process, or all of the Python in it, can't go on: so these fail."""


@cache
def entries() -> tuple[Entry, ...]:
    """All entries, in the order in which they are searched."""
    return msgspec.convert(_read("entries.toml")["entry"], tuple[Entry, ...])


@cache
def codes() -> dict[str, Code]:
    """The codes of mod_wsgi 6, by name."""
    return msgspec.convert(_read("codes.toml"), dict[str, Code])


def find(text: str, place: Place, phase: str = "") -> Entry | None:
    """What is known of a text that was seen in this phase: the first entry that matches it.

    A code of mod_wsgi that has no entry of its own is known at least by its meaning, or by where
    its error reference will have it.
    """
    for entry in entries():
        here = place in entry.where and (not entry.phases or phase in entry.phases)
        if here and _compiled(entry.pattern).search(text):
            return entry
    code = CODE.match(text) if place is Place.LOG else None
    return _of_code(code[0]) if code else None


def reference(code: str) -> str:
    """Where mod_wsgi's error reference has a code: each has an anchor of its name."""
    return f"{_REFERENCE}#{code.lower()}"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


@cache
def _of_code(name: str) -> Entry:
    code = codes().get(name)
    level = code.level if code else "of a level that wsgiproof does not know"
    return Entry(
        id=name,
        pattern=f"{name}: ",
        where=(Place.LOG,),
        fails=level in _SERIOUS,
        explains=("responses",) if level in {"err", *_SERIOUS} else (),
        meaning=code.meaning if code else "a code that wsgiproof does not know yet",
        versions=f"mod_wsgi 6, {level}",
        action="read what the error reference of mod_wsgi says of this code",
        source=reference(name),
        examples=(),
    )


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath(name).read_text(encoding="utf-8"))
