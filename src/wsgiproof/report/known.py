"""What is known and accepted: where it was found, whose bug it is, and what is gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wsgiproof.judge.explain.catalog import SYMPTOMS
from wsgiproof.judge.finding import count
from wsgiproof.records.judgement import Finding
from wsgiproof.records.known import Known, KnownInRun, KnownState
from wsgiproof.records.run import CellRecord, known_in

_REMOVE = "remove it from wsgiproof.toml"


def accepted(finding: Finding) -> str:
    """Return why a finding is accepted, whose bug it is, and where that is; empty if it is not."""
    table = finding.known
    if table is None:
        return ""
    whose = dict.fromkeys(
        one.whose for one in finding.explained if one.whose and one.id not in SYMPTOMS
    )
    bugs = (bug for name in whose if (bug := f"a bug of {name}") not in table.reason)
    return ", ".join(filter(None, [table.reason, *bugs, table.link]))


def found(cells: Sequence[CellRecord]) -> Iterator[str]:
    """Yield a line for each thing that is known and was found, with the number of its cells."""
    hits: dict[tuple[str, str], set[str]] = {}
    for cell in cells:
        for finding in cell.findings:
            if finding.known:
                key = finding.known.name, accepted(finding)
                hits.setdefault(key, set()).add(cell.cell.id)
    for (name, why), where in hits.items():
        yield f"Known: {name}, in {count(len(where), 'cell')}: {why}"


def unseen(cells: Sequence[CellRecord]) -> Iterator[tuple[KnownInRun, str]]:
    """Yield what is known and was found in no cell, with a line that says whether it is gone."""
    for one in known_in(cells):
        if one.state is KnownState.GONE:
            yield one, f"Known: {_what(one, 'no longer appears')}: {_REMOVE}"
        elif one.state is KnownState.UNDECIDED:
            yield one, f"Known: {_what(one, 'not seen')}, but too few trials to tell"


def _what(one: KnownInRun, became: str) -> str:
    return f"{one.table.name} {became} in {count(len(one.applies_to), 'cell')}"


def name_of(table: Known) -> str:
    """Return a name for a test about what is known."""
    return f"known: {table.name}"
