"""The catalog of known lines, stacks and responses: read from its files, and searched."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import msgspec
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from wsgiproof.records.cell import Cell, InterpreterKind

CRASH_TRACES = frozenset(
    {
        "child-died",
        "daemon-died-in-request",
        "daemon-reset-connection",
        "fatal-python-error",
        "heap-corrupt",
        "killed-by-signal",
        "response-cut-off",
    }
)
"""Entries of the catalog for what a crashed process leaves in the error log and in answers."""
EXCEPTION_TRACES = frozenset({"exception-logged", "script-failed"})
"""Entries for what an exception of the application leaves there."""
SYMPTOMS = (CRASH_TRACES - {"heap-corrupt"}) | EXCEPTION_TRACES
"""Entries that say that something broke, and not why. No card leads with one."""
STACKS = "stacks"
"""How the place of a text in a stack is named, before its phase."""


class Place(StrEnum):
    """Where a text comes from."""

    LOG = "log"
    """A line of the error log, without the prefix that Apache and mod_wsgi write."""
    STACK = "stack"
    """The fatal trace or the stacks of one process, as a whole."""
    BODY = "body"
    """The body of a failed answer, or the load client's error."""


class Conditions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What has to be true of a cell besides the text; an empty condition always holds."""

    python: tuple[str, ...] = ()
    """Version specifiers, such as ``>=3.12,<3.13``, one of which has to hold."""
    mod_wsgi: tuple[str, ...] = ()
    versions: dict[str, tuple[str, ...]] = {}
    """The same for axes of the subject, by name. They hold in no cell without the axis."""
    interpreter: tuple[InterpreterKind, ...] = ()
    beside: str = ""
    """A regular expression that the text, or other evidence of the same finding, has to match."""

    def hold(self, cell: Cell | None, texts: Iterable[str] | None) -> bool:
        """Return whether they hold in this cell; without a cell, whether ``beside`` does.

        Without ``texts`` there is nothing in which ``beside`` could be found.
        """
        if self.beside and texts is not None and not any(map(_compiled(self.beside).search, texts)):
            return False
        return cell is None or (
            _one_of(self.python, cell.python)
            and _one_of(self.mod_wsgi, cell.mod_wsgi)
            and all(
                axis in cell.axes and _one_of(wanted, str(cell.axes[axis]))
                for axis, wanted in self.versions.items()
            )
            and (not self.interpreter or cell.interpreter in self.interpreter)
        )


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the catalog. The head of ``entries.toml`` describes the fields."""

    id: str
    pattern: str
    where: tuple[Place, ...]
    phases: tuple[str, ...] = ()
    at_end: bool | None = None
    only: Conditions = Conditions()
    fails: bool = False
    time_limit: bool = False
    explains: tuple[str, ...] = ()
    meaning: str
    versions: str
    action: str
    source: str
    whose: str = ""
    examples: tuple[str, ...]

    def at(self, phase: str, at_end: bool | None) -> bool:
        """Return whether it is for texts of this phase, and of processes that were to end or not.

        The phase says less than ``at_end``, if that is known: a process may end in any of them.
        """
        if at_end is None or self.at_end is None:
            return not self.phases or phase in self.phases
        return at_end is self.at_end


class Code(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A code of mod_wsgi 6: the level at which it is logged (or ``retired``), and its meaning."""

    level: str
    meaning: str


CODE = re.compile(r"WSGI\d{4}(?=: )")
"""The code with which mod_wsgi 6 begins its messages of level ``warning`` and above."""
_REFERENCE = "https://modwsgi.readthedocs.io/en/latest/error-reference.html"
_SERIOUS = {"alert", "crit"}
"""At these levels a process, or its Python, can't continue, so the line is a failure."""


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """Entries, in the order in which they are searched, and the codes of mod_wsgi 6 by name."""

    entries: tuple[Entry, ...]
    codes: dict[str, Code]

    def find(
        self,
        text: str,
        place: Place,
        phase: str = "",
        *,
        at_end: bool | None = None,
        cell: Cell | None = None,
        beside: Sequence[str] = (),
    ) -> Entry | None:
        """Return the first entry that matches a text of this phase; None if none does.

        ``at_end`` says whether the process was to end when it left a stack; None if nobody knows.
        The conditions of an entry have to hold in ``cell``, if that is known; ``beside`` is the
        other evidence of the same finding, and a line of a log has none. A code of mod_wsgi without
        an entry gets one from its meaning, or else from its place in mod_wsgi's error reference.
        """
        texts = None if place is Place.LOG else (text, *beside)
        for entry in self.entries:
            if (
                place in entry.where
                and entry.at(phase, at_end)
                and _compiled(entry.pattern).search(text)
                and entry.only.hold(cell, texts)
            ):
                return entry
        code = CODE.match(text) if place is Place.LOG else None
        return _of_code(code[0], self.codes.get(code[0])) if code else None

    def after(self, entries: Sequence[Entry]) -> Catalog:
        """Return a catalog in which these entries are searched first."""
        return msgspec.structs.replace(self, entries=(*entries, *self.entries))


@cache
def common_catalog() -> Catalog:
    """Return what concerns Apache, mod_wsgi, CPython and packages, whatever the subject is."""
    here = files(__package__)
    return Catalog(
        entries=read_entries(here.joinpath("entries.toml")),
        codes=msgspec.convert(_read(here.joinpath("codes.toml")), dict[str, Code]),
    )


def read_entries(file: Traversable) -> tuple[Entry, ...]:
    """Return the entries of a file, in the form that the head of ``entries.toml`` describes."""
    return msgspec.convert(_read(file)["entry"], tuple[Entry, ...])


def reference(code: str) -> str:
    """Return the URL of a code in mod_wsgi's error reference, which has an anchor for each."""
    return f"{_REFERENCE}#{code.lower()}"


def _one_of(specifiers: Iterable[str], version: str) -> bool:
    """Return whether one of them holds. Nothing is excluded by text that is not a version."""
    wanted = [*specifiers]
    try:
        number = Version(version)
    except InvalidVersion:
        return True
    return not wanted or any(_specifier(one).contains(number) for one in wanted)


@cache
def _specifier(text: str) -> SpecifierSet:
    return SpecifierSet(text, prereleases=True)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


@cache
def _of_code(name: str, code: Code | None) -> Entry:
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


def _read(file: Traversable) -> dict[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8"))
