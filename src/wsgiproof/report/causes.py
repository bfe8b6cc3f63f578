"""The findings of a cell by cause: what broke, what is known about it, and what followed from it.

A finding is folded under another one only where the record connects the two: the same entry of the
catalog explains both, both have the same traceback, every explanation of the one is a trace that
the other leaves, or one leak accounts for the other. All else is a cause by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from wsgiproof.judge.explain.catalog import CRASH_TRACES, EXCEPTION_TRACES, SYMPTOMS
from wsgiproof.judge.explain.lines import TRACEBACK
from wsgiproof.judge.fit import fits
from wsgiproof.judge.resources import Resources
from wsgiproof.judge.rules import Rules
from wsgiproof.records.judgement import Explanation, Finding
from wsgiproof.records.run import CellRecord
from wsgiproof.report.known import accepted

SEVERE = ("crash", "hang")
"""Checks whose findings come first: they explain most of the others."""
_LAST = ("error-log", "responses")
"""Checks that see the traces of other findings; a traceback explains a failed response."""

_Kind = tuple[bool, str, str, str]
"""Whether a finding is known, its check, its meaning, and its action."""


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that went wrong in a cell."""

    findings: tuple[Finding, ...]
    """Of one check, such as crashes in two phases; at least one."""
    known: Explanation | None = None
    """The entry of the catalog that says why; None if no entry does."""
    consequences: tuple[Finding, ...] = ()

    @property
    def check(self) -> str:
        """The check that found it."""
        return self.findings[0].check

    @property
    def sightings(self) -> tuple[str, ...]:
        """What was observed; other lines of one error log only repeat the first."""
        seen = tuple(one.seen for one in self.findings)
        return seen[:1] if self.check == "error-log" else seen

    @property
    def seen(self) -> str:
        """What was observed, in one sentence."""
        return "; ".join(self.sightings)

    @property
    def meaning(self) -> str:
        """Why it happens, as far as it is known."""
        return self.known.meaning if self.known else self.findings[0].meaning

    @property
    def action(self) -> str:
        """What to do."""
        return self.known.action if self.known else self.findings[0].action

    @property
    def evidence(self) -> tuple[str, ...]:
        """The evidence of all of its own findings, each text once."""
        return tuple(dict.fromkeys(text for one in self.findings for text in one.evidence))

    @property
    def accepted(self) -> tuple[str, ...]:
        """Why it fails nothing; empty if it does. Nothing that fails is with it in one cause."""
        return tuple(dict.fromkeys(filter(None, map(accepted, self.findings))))

    @property
    def also_known(self) -> tuple[Explanation, ...]:
        """What else the catalog knows about its findings and consequences, each entry once."""
        entries = {
            one.id: one
            for finding in (*self.findings, *self.consequences)
            for one in finding.explained
        }
        if self.known:
            entries.pop(self.known.id)
        return tuple(entries.values())


def causes(cell: CellRecord, rules: Rules) -> tuple[Cause, ...]:
    """Group the findings of a cell: crashes and hangs first, then in the order of the checks.

    What is known and accepted comes last, and apart. Each finding is in exactly one cause.
    """
    kinds: dict[_Kind, list[Finding]] = {}
    for one in cell.findings:
        kind = (one.known is not None, one.check, one.meaning, one.action)
        kinds.setdefault(kind, []).append(one)
    groups = sorted(kinds.values(), key=lambda group: (group[0].known is not None, _rank(group[0])))
    resources = rules.counted
    rates = _rates(cell, resources)
    roots: list[tuple[list[Finding], list[Finding]]] = []
    for group in groups:
        for root, consequences in roots:
            if _follows(group, [*root, *consequences], resources, rates):
                alike = group[0].check == root[0].check
                (root if alike else consequences).extend(group)
                break
        else:
            roots.append((group, []))
    return tuple(
        Cause(
            findings=tuple(root),
            known=_known([*root, *consequences]),
            consequences=tuple(consequences),
        )
        for root, consequences in roots
    )


def _rank(finding: Finding) -> int:
    """The place of a finding; the sort keeps the order of those with the same one."""
    if finding.check in SEVERE:
        return -1
    return _LAST.index(finding.check) + 1 if finding.check in _LAST else 0


def _follows(
    group: Sequence[Finding],
    cause: Sequence[Finding],
    resources: Resources,
    rates: Mapping[str, tuple[float, float]],
) -> bool:
    """Return whether the record connects a group of findings to a cause that came before it."""
    own, others = _entries(group), _entries(cause)
    first, root = group[0], cause[0]
    if (first.known is None) is not (root.known is None):
        return False
    if (own & others) - SYMPTOMS:
        return True
    if root.check == "crash" and first.check in _LAST:
        return bool(own) and own <= CRASH_TRACES | others
    if root.check == "error-log" and first.check == "responses":
        if _tracebacks(cause) & _tracebacks(group):
            return True
        return "traceback" in root.seen and bool(own) and own <= EXCEPTION_TRACES
    if root.check not in resources:
        return False
    if first.check == "descriptors" and resources[root.check].takes_descriptor:
        return _overlap(rates.get(first.check), rates.get(root.check))
    return first.check == "memory"


def _tracebacks(findings: Sequence[Finding]) -> set[str]:
    """The tracebacks in the evidence: of one exception, two checks have the same text."""
    return {text for one in findings for text in one.evidence if TRACEBACK in text}


def _entries(findings: Sequence[Finding]) -> set[str]:
    return {one.id for finding in findings for one in finding.explained}


def _rates(cell: CellRecord, resources: Resources) -> dict[str, tuple[float, float]]:
    """The interval of each leak's rate, of the fastest series."""
    if cell.observed is None:
        return {}
    fastest = sorted(fits(resources, cell.observed), key=lambda one: one.rate)
    return {one.check: (one.low, one.high) for one in fastest}


def _overlap(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    return one is not None and other is not None and one[0] <= other[1] and other[0] <= one[1]


def _known(findings: Sequence[Finding]) -> Explanation | None:
    entries = (one for finding in findings for one in finding.explained)
    return next((one for one in entries if one.id not in SYMPTOMS), None)
