"""An audit in Markdown, for a pull request or the summary of a CI job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from wsgiproof.judge.finding import count
from wsgiproof.records.audit import FAILURES, Audit, Environment, Outcome, Result
from wsgiproof.report.audited import (
    NOTHING,
    Column,
    cautions,
    columns_of,
    heading,
    lines_of,
    rows_of,
    title_of,
    tried_by,
    worth_words,
)
from wsgiproof.report.markdown import folded, in_table, prose, table

_MOST_ROWS = 100
_LONGEST_ADVICE = 4000
_LONGEST = 60_000
"""Characters. A comment on GitHub has 65,536."""
_Row = tuple[tuple[str, str], Mapping[Column, Result]]


def audit_to_markdown(audit: Audit) -> str:
    """Return an audit: the answer, then for each environment what breaks, and how."""
    first = [f"## wsgiproof audit: {heading(audit)}"]
    first += [f"{prose(note)}" for note in audit.notes]
    for environment in audit.environments:
        first += _answer(environment)
    details = [part for environment in audit.environments for part in _details(environment)]
    sizes = accumulate((len(part) + 2 for part in details), initial=sum(map(len, first)))
    kept = [part for part, size in zip(details, [*sizes][1:], strict=True) if size <= _LONGEST]
    parts = [*first, *kept]
    if len(kept) < len(details):
        left = count(len(details) - len(kept), "part")
        parts.append(f"{left} more did not fit; `audit.json` has all of them.")
    return "\n\n".join(parts) + "\n"


def _answer(environment: Environment) -> Iterator[str]:
    """The advice and the table of what does not work everywhere."""
    yield f"### {prose(environment.python)}"
    yield from (prose(advice, _LONGEST_ADVICE) for advice in environment.advice)
    rows = [*rows_of(environment).items()]
    if not rows:
        yield NOTHING
    bad = [row for row in rows if not _works(row)]
    if bad:
        yield _table(bad[:_MOST_ROWS], columns_of(environment))
    if len(bad) > _MOST_ROWS:
        yield f"{len(bad) - _MOST_ROWS} more are in `audit.json`."


def _details(environment: Environment) -> Iterator[str]:
    """What has room in a comment if there is not too much of it."""
    words = [*map(_told, worth_words(environment))]
    if words:
        yield folded(f"What happened on {_plain(environment.python)}", "\n".join(words))
    good = [row for row in rows_of(environment).items() if _works(row)]
    if good:
        verb = "works" if len(good) == 1 else "work"
        what = f"{count(len(good), 'package')} {verb} on {_plain(environment.python)}"
        yield folded(what, _table(good, columns_of(environment)))
    yield from (prose(line) for line in cautions(environment))


def _plain(python: str) -> str:
    """The name of a Python, for a place that must be trusted text."""
    return "".join(char for char in python if char.isalnum() or char in " .+-")[:60]


def _works(row: _Row) -> bool:
    return all(one.outcome is Outcome.WORKS for one in row[1].values())


def _table(rows: Sequence[_Row], columns: Sequence[Column]) -> str:
    return table(
        ["package", "version", *(title_of(*one) for one in columns), "tried by"],
        [
            [
                in_table(name),
                in_table(version),
                *(_mark(results.get(column)) for column in columns),
                tried_by(results.values()),
            ]
            for (name, version), results in rows
        ],
    )


def _mark(one: Result | None) -> str:
    if one is None:
        return "\N{EN DASH}"
    if one.outcome is Outcome.WORKS:
        return "\N{CHECK MARK} works"
    return f"\N{BALLOT X} **{one.outcome}**" if one.outcome in FAILURES else f"? {one.outcome}"


def _told(one: Result) -> str:
    cause = f", because of {prose(one.cause)}" if one.cause else ""
    words = "; ".join(map(prose, lines_of(one))) or "nothing more is known"
    name = prose(f"{one.name} {one.version}")
    return f"- {name} under {title_of(one.kind, one.tier)}: **{one.outcome}**{cause}. {words}"
