"""The page of an audit: the answer, a table, and below it the evidence to which each cell leads.

It is one file without any script. All text is escaped by its template.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import msgspec
from markupsafe import Markup

from wsgiproof.files import write_output
from wsgiproof.judge.audited import ended_badly
from wsgiproof.judge.finding import count
from wsgiproof.records.audit import FAILURES, Attempt, Audit, Environment, Outcome, Result, Tier
from wsgiproof.report.audited import (
    NOTHING,
    cautions,
    columns_of,
    heading,
    lines_of,
    rows_of,
    title_of,
    tried_by,
)
from wsgiproof.report.html.template import page_style, policy, rendered
from wsgiproof.report.text import excerpt, visible

NAME = "audit.html"
"""The name of the page in the directory of its audit."""
_LINES = (20, 20)
"""Lines of an output that are shown, from its beginning and from its end."""
_LONGEST = 2000
"""Characters of an error."""
_MOST_FAILURES = 20
_MARKS = {Outcome.WORKS: ("pass", "\N{CHECK MARK}"), Outcome.UNKNOWN: ("inconclusive", "?")}
_NOT_INSTALLED = ("skipped", "\N{EN DASH}")
_FAILED = ("fail", "\N{BALLOT X}")


class _Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A result: a cell of the table, and the evidence that it leads to."""

    anchor: str
    title: str
    kind: str
    outcome: str
    style: str
    mark: str
    cause: str
    lines: list[str]
    ends: str
    tried: str
    attempts: list[_Process]


class _Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a result."""

    order: str
    end: str
    seconds: str
    failures: list[str]
    output: str


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: str
    tried: str
    cells: list[_Cell | None]


class _Section(msgspec.Struct, frozen=True, kw_only=True):
    """One environment."""

    anchor: str
    python: str
    path: str
    facts: list[str]
    advice: list[str]
    cautions: list[str]
    nothing: str
    kinds: list[str]
    rows: list[_Row]
    evidence: list[_Cell]


def audit_page(audit: Audit) -> bytes:
    """Return the page of an audit."""
    style = page_style()
    started = datetime.fromtimestamp(audit.started, UTC)
    sections = [_section(one, number) for number, one in enumerate(audit.environments)]
    return rendered(
        "audit.html.j2",
        policy=policy((), style),
        style=Markup(style),
        heading=_first_upper(heading(audit)),
        wsgiproof=visible(audit.wsgiproof),
        command=_shown(audit.command),
        notes=[*map(_shown, audit.notes)],
        started=f"{started:%Y-%m-%d %H:%M} UTC",
        took=f"{audit.seconds:,.0f} s",
        tries=count(audit.trials, "process", "processes"),
        sections=sections,
    )


def leave_audit_page(audit: Audit, directory: Path) -> Path:
    """Write the page into the directory of its audit, and return its path.

    Raises :class:`wsgiproof.errors.CannotRun` if it can't be written.
    """
    write_output(audit_page(audit), directory / NAME)
    return directory / NAME


def _section(environment: Environment, number: int) -> _Section:
    columns = columns_of(environment)
    rows = []
    for at, ((name, version), results) in enumerate(rows_of(environment).items()):
        cells = [
            _cell(found, f"e{number}-{at}-{column}") if (found := results.get(key)) else None
            for column, key in enumerate(columns)
        ]
        tried = tried_by(results.values())
        rows.append(_Row(name=_shown(name), version=_shown(version), tried=tried, cells=cells))
    rows.sort(key=lambda row: not any(one and one.style == _FAILED[0] for one in row.cells))
    return _Section(
        anchor=f"e{number}",
        python=_shown(environment.python),
        path=_shown(environment.path),
        facts=[*_facts(environment)],
        advice=[*map(_shown, environment.advice)],
        cautions=[*map(_shown, cautions(environment))],
        nothing="" if rows else NOTHING,
        kinds=[title_of(*column) for column in columns],
        rows=rows,
        evidence=[cell for row in rows for cell in row.cells if cell],
    )


def _facts(environment: Environment) -> Iterator[str]:
    results = (*environment.results, *environment.deep)
    tiers = [Tier.FAST, *([Tier.DEEP] if environment.deep else [])]
    for kind, tier in product(environment.kinds, tiers):
        outcomes = Counter(one.outcome for one in results if (one.kind, one.tier) == (kind, tier))
        told = ", ".join(f"{outcomes[one]} {one}" for one in Outcome if outcomes[one])
        yield f"{title_of(kind, tier)}: {told or 'nothing was tried'}"


def _cell(one: Result, anchor: str) -> _Cell:
    style, mark = _mark(one.outcome)
    installed = one.outcome is not Outcome.NOT_INSTALLABLE
    return _Cell(
        anchor=anchor,
        title=_shown(f"{one.name} {one.version}".strip()),
        kind=title_of(one.kind, one.tier),
        outcome=one.outcome,
        style=style,
        mark=mark,
        cause=_shown(one.cause),
        lines=[*map(_shown, lines_of(one))],
        ends=_first_upper(_shown(one.ends)),
        tried=_tried(one) if installed else "",
        attempts=[_process(attempt) for attempt in one.attempts],
    )


def _mark(outcome: Outcome) -> tuple[str, str]:
    """The class of an outcome in the style of pages, and its sign."""
    return _FAILED if outcome in FAILURES else _MARKS.get(outcome, _NOT_INSTALLED)


def _tried(one: Result) -> str:
    if one.tier is Tier.DEEP and one.cell:
        return f"It ran in real Apache; its cell is {_shown(one.cell)}."
    if not one.attempts:
        return "No process was started for it."
    how = "imported, and used by its exercise" if one.exercised else "imported, and not used"
    return f"It was {how}, in {count(len(one.attempts), 'process', 'processes')}."


def _process(attempt: Attempt) -> _Process:
    bad = ended_badly(attempt)
    ended = f"{bad} {attempt.doing}".strip() if bad else "ended well"
    if attempt.lost:
        ended = f"nothing is known of it: {attempt.lost}"
    return _Process(
        order="reversed" if attempt.swapped else "forward",
        end=_shown(ended),
        seconds=f"{attempt.seconds:.1f}",
        failures=_failures(attempt),
        output=visible(excerpt(attempt.output, *_LINES)),
    )


def _failures(attempt: Attempt) -> list[str]:
    told = [
        f"{'main' if one.interpreter == 0 else f'sub interpreter {one.interpreter}'}, "
        f"{one.stage} {one.module}: {one.error}"
        for one in attempt.failures[:_MOST_FAILURES]
    ]
    if len(attempt.failures) > _MOST_FAILURES:
        told.append(f"and {len(attempt.failures) - _MOST_FAILURES} more")
    return [*map(_shown, told)]


def _shown(text: str) -> str:
    return " ".join(visible(text[:_LONGEST]).split())


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]
