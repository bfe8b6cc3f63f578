"""What a run of the harness came to: kinds by what they were accused of."""

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
    """A Markdown table: a row for each kind, and one for all; a fault that missed is no injection.

    An injection counts once in a column, however often it was accused of that.
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
        column for one in outcomes for column in {each.column for each in one.accusations}
    )
    return [name, str(len(outcomes)), *(str(counts[column]) for column in COLUMNS)]


def accused(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Those that came to something that is not right."""
    return [one for one in outcomes if one.accusations or one.broken]


def told(outcome: Outcome) -> str:
    """One injection with all that it is accused of."""
    lines = [
        f"{outcome.injection.text} ({outcome.seconds:.0f} s, {outcome.cpu:.0f} s of processor time)"
    ]
    if outcome.broken:
        lines.append(f"  a defect of the harness:\n{outcome.broken}")
    lines += [f"  {one.column}: {one.text}" for one in outcome.accusations]
    return "\n".join(lines)
