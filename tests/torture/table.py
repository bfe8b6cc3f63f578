"""The results of a run of the harness: kinds of faults by kinds of violations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tests.torture.outcome import COLUMNS, Column, Outcome

_HEADS: dict[Column, str] = {
    "orphans": "orphans",
    "directories": "left behind",
    "lost": "lost records",
    "hangs": "hangs",
    "tracebacks": "tracebacks",
    "codes": "wrong exit codes",
    "blamed": "subject blamed",
    "passed": "passed in spite",
    "resumes": "wrong resumes",
    "harm": "harm to others",
}


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a Markdown table with a row for each kind, and one for all; a missed fault does not
    count.

    An injection counts once in a column, however many violations of that kind it has.
    """
    struck = [one for one in outcomes if not one.missed and not one.broken]
    heads = ["kind", "injections", *(_HEADS[column] for column in COLUMNS)]
    rows = [
        _row(kind, [one for one in struck if one.injection.kind == kind])
        for kind in sorted({one.injection.kind for one in struck})
    ]
    rows.append(_row("**all**", struck))
    rule = ["---", *("---:" for _ in heads[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *rows)) + "\n"


def _row(name: str, outcomes: Sequence[Outcome]) -> list[str]:
    counts = Counter(
        column for one in outcomes for column in {each.column for each in one.violations}
    )
    return [name, str(len(outcomes)), *(str(counts[column]) for column in COLUMNS)]


def with_violations(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return the outcomes with a violation or a defect of the harness."""
    return [one for one in outcomes if one.violations or one.broken]


def describe(outcome: Outcome) -> str:
    """Describe one injection with all its violations."""
    lines = [
        f"{outcome.injection.text} ({outcome.seconds:.0f} s, {outcome.cpu:.0f} s of processor time)"
    ]
    if outcome.broken:
        lines.append(f"  a defect of the harness:\n{outcome.broken}")
    lines += [f"  {one.column}: {one.text}" for one in outcome.violations]
    return "\n".join(lines)
