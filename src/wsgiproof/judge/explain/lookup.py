"""Looks up an identifier, a pasted text, or a whole error log in the catalog."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from wsgiproof.judge.explain.catalog import CODE, Catalog, Entry, Place, reference
from wsgiproof.judge.explain.findings import finding, finding_ids
from wsgiproof.judge.explain.lines import parse
from wsgiproof.judge.rules import Rules
from wsgiproof.judge.verdict import every_check
from wsgiproof.records.observed import LogLine

_MOST_UNKNOWN = 20
"""Different unknown lines that are returned."""
_MOST_DIFFERENT = 10_000
"""Different unknown lines that are counted one by one, so that no log can use all memory."""
_LONGEST_TEXT = 300
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+")


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """An identifier that is no entry of the catalog: a code, a finding, a check or a control."""

    id: str
    kind: str
    meaning: str
    """One line of plain text."""
    see: str


class FindingText(msgspec.Struct, frozen=True, kw_only=True):
    """The whole text of a finding, in Markdown."""

    id: str
    text: str


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the catalog, and the lines of a log that it explains."""

    entry: Entry
    lines: int
    first: int
    """The number of the first of them, from 1."""
    text: str
    """The first of them, without Apache's prefix."""


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that report an error, that no entry matches, and that differ only in numbers."""

    lines: int
    first: int
    text: str


class LogExplained(msgspec.Struct, frozen=True, kw_only=True):
    """A whole error log: the entries that match its lines, and the numbers of other lines."""

    lines: int
    known: tuple[Known, ...]
    """In the order of their first lines."""
    unknown: tuple[Unknown, ...]
    """The most frequent first; the others are only counted."""
    unknown_lines: int
    application_lines: int
    """Lines that the application wrote, tracebacks included, and that no entry matches."""


def by_id(name: str, catalog: Catalog) -> Entry | None:
    """Return the entry with this identifier, or of this code of mod_wsgi 6; None if unknown.

    Case does not matter.
    """
    for entry in catalog.entries:
        if entry.id.lower() == name.lower():
            return entry
    code = name.upper()
    return catalog.find(f"{code}: ", Place.LOG) if code in catalog.codes else None


def by_name(name: str, rules: Rules) -> Entry | FindingText | Topic | None:
    """Return what an identifier of any kind stands for; None if unknown. Case does not matter."""
    lower = name.lower()
    if text := finding(lower):
        return FindingText(id=lower, text=text)
    topic = next((one for one in _checks(rules) if one.id == lower), None)
    return by_id(name, rules.catalog) or topic


def topics(rules: Rules) -> tuple[Topic, ...]:
    """Return every identifier that is no entry: codes of mod_wsgi 6, findings, and checks."""
    of_codes = (
        Topic(id=name, kind="code", meaning=code.meaning, see=reference(name))
        for name, code in rules.catalog.codes.items()
    )
    of_findings = (
        Topic(id=name, kind="finding", meaning=_title(name), see=f"wsgiproof explain {name}")
        for name in finding_ids()
    )
    return (*of_codes, *of_findings, *_checks(rules))


def ids(rules: Rules) -> tuple[str, ...]:
    """Return every identifier: entries, codes of mod_wsgi 6, findings, and checks."""
    return (
        *(entry.id for entry in rules.catalog.entries),
        *(one.id for one in topics(rules)),
    )


def by_text(text: str, catalog: Catalog) -> Entry | None:
    """Return the entry that explains a pasted text: a log line, a stack, or part of an answer.

    Entries that apply in some phases of a cell only are left out, since the phase is unknown here.
    """
    lines = [line.text for line in parse(LogLine(phase="", text=one) for one in text.splitlines())]
    stack = catalog.find("\n".join(lines), Place.STACK)
    if stack is not None and len(lines) > 1:
        return stack
    found = (catalog.find(line, place) for place in (Place.LOG, Place.BODY) for line in lines)
    return next((entry for entry in found if entry is not None), stack)


def explain_log(texts: Iterable[str], catalog: Catalog) -> LogExplained:
    """Explain the lines of an error log, of a cell or of any other server.

    Memory grows with the number of different lines, not with the size of the log.
    """
    known: dict[str, Known] = {}
    unknown: dict[str, Unknown] = {}
    number = application = errors = 0
    for line in parse(LogLine(phase="", text=text) for text in texts):
        number += 1
        entry = catalog.find(line.text, Place.LOG)
        if entry is not None:
            before = known.get(entry.id)
            known[entry.id] = (
                msgspec.structs.replace(before, lines=before.lines + 1)
                if before
                else Known(entry=entry, lines=1, first=number, text=line.text[:_LONGEST_TEXT])
            )
        elif line.from_application or line.in_traceback:
            application += 1
        elif line.is_error and (line.level or CODE.match(line.text)):
            errors += 1
            _count(unknown, line.text[:_LONGEST_TEXT], number)
    ranked = sorted(unknown.values(), key=lambda one: (-one.lines, one.first))
    return LogExplained(
        lines=number,
        known=tuple(known.values()),
        unknown=tuple(ranked[:_MOST_UNKNOWN]),
        unknown_lines=errors,
        application_lines=application,
    )


def _count(unknown: dict[str, Unknown], text: str, number: int) -> None:
    """Count a line together with those that differ only in numbers."""
    key = _NUMBERS.sub("N", text)
    before = unknown.get(key)
    if before is not None:
        unknown[key] = msgspec.structs.replace(before, lines=before.lines + 1)
    elif len(unknown) < _MOST_DIFFERENT:
        unknown[key] = Unknown(lines=1, first=number, text=text)


def _checks(rules: Rules) -> tuple[Topic, ...]:
    """Return a topic for each check; the first line of its docstring is the meaning."""
    return tuple(
        Topic(
            id=name,
            kind="check",
            meaning=(check.__doc__ or "").partition("\n")[0].replace("`", ""),
            see="wsgiproof explain --list",
        )
        for name, check in every_check(rules).items()
    )


def _title(name: str) -> str:
    """Return the title of a finding without its number."""
    heading = (finding(name) or "").partition("\n")[0]
    return heading.partition(". ")[2].replace("`", "")
