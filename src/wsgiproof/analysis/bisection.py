"""Which version changed what a check says: the choice of what to try next, and the result.

This is pure. The versions are in their order, and each cell has one of them. As every bisection,
it supposes that the check changes once between the two ends; what speaks against that is reported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from wsgiproof.errors import CannotRun, UsageError, did_you_mean
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.run import CellRecord


class Says(StrEnum):
    """What the watched checks say of a version."""

    PASS = "pass"
    """All of them pass."""
    FAIL = "fail"
    """At least one of them fails."""
    NOTHING = "nothing"
    """They can't tell, or the cell could not be run."""


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """A version that was tried."""

    version: str
    says: Says
    cell: str
    verdict: Verdict
    """Of the cell, for which other checks count as well."""
    reason: str


class Bisection(msgspec.Struct, frozen=True, kw_only=True):
    """What is known after some versions have been tried."""

    axis: str
    checks: tuple[str, ...]
    """The watched checks: what the two ends differ in."""
    before: str
    """The last version that is known to be as the old end."""
    after: str
    """The first version that is known to be as the new end."""
    says: Says
    """What the checks say of ``after``."""
    untried: tuple[str, ...]
    """The versions between the two that have not been tried."""
    undecided: tuple[str, ...]
    """The versions between the two of which the checks say nothing."""
    back_again: tuple[str, ...]
    """Versions after ``after`` that are as the old end: there is more than one change."""
    tried: tuple[Tried, ...]
    """In the order of the versions."""

    @property
    def located(self) -> bool:
        """Whether the change is known to the version."""
        return not self.untried and not self.undecided


def watched(old: CellRecord, new: CellRecord, check: str = "") -> tuple[str, ...]:
    """Return the checks by which the two ends differ: those that pass in one and fail in the other;
    or ``check``, if one was named.

    Raises :class:`UsageError` if there are changes in both directions, or if there is no check of
    that name, and :class:`CannotRun` if the ends do not differ.
    """
    was, now = _verdicts(old), _verdicts(new)
    if check and check not in was | now:
        raise UsageError(f"--check {check}: there is no such check{did_you_mean(check, was | now)}")
    broken = _changed(was, now, check)
    fixed = _changed(now, was, check)
    if broken and fixed:
        raise UsageError(
            f"the new end fails {', '.join(broken)}, and the old one {', '.join(fixed)}: name the "
            "change to search for by --check"
        )
    if not broken and not fixed:
        about = f" by {check}" if check else ""
        raise CannotRun(
            f"the ends do not differ{about}, so there is no change to search for: "
            f"{_described(old)}; {_described(new)}"
        )
    return broken or fixed


def _verdicts(record: CellRecord) -> dict[str, Verdict]:
    return {one.check: one.verdict for one in record.checks}


def _changed(was: Mapping[str, Verdict], now: Mapping[str, Verdict], only: str) -> tuple[str, ...]:
    """Return the checks that passed and fail now."""
    return tuple(
        name
        for name, verdict in now.items()
        if verdict is Verdict.FAIL and was.get(name) is Verdict.PASS and only in ("", name)
    )


def _described(record: CellRecord) -> str:
    return f"{record.cell.id} is {record.verdict} ({record.reason})"


def says(record: CellRecord, checks: Sequence[str]) -> Says:
    """Return what these checks say of a cell."""
    verdicts = [_verdicts(record).get(name) for name in checks]
    if Verdict.FAIL in verdicts:
        return Says.FAIL
    return Says.PASS if {*verdicts} == {Verdict.PASS} else Says.NOTHING


def bisection(
    axis: str,
    versions: Sequence[str],
    records: Mapping[str, CellRecord],
    checks: Sequence[str],
) -> Bisection:
    """Return what is known from these records, by version. Both ends are among them, and differ."""
    known = {version: says(record, checks) for version, record in records.items()}
    old, new = known[versions[0]], known[versions[-1]]
    first = next(place for place, one in enumerate(versions) if known.get(one) is new)
    last = max(place for place, one in enumerate(versions[:first]) if known.get(one) is old)
    between = versions[last + 1 : first]
    return Bisection(
        axis=axis,
        checks=tuple(checks),
        before=versions[last],
        after=versions[first],
        says=new,
        untried=tuple(one for one in between if one not in known),
        undecided=tuple(one for one in between if one in known),
        back_again=tuple(one for one in versions[first + 1 :] if known.get(one) is old),
        tried=tuple(
            Tried(
                version=one,
                says=known[one],
                cell=records[one].cell.id,
                verdict=records[one].verdict,
                reason=records[one].reason,
            )
            for one in versions
            if one in known
        ),
    )


def choose(untried: Sequence[str], most: int) -> tuple[str, ...]:
    """Return which versions to try next, ``most`` of them at the same time: they divide what is
    left into parts of the same size."""
    number = min(most, len(untried))
    step = (len(untried) + 1) / (number + 1)
    return tuple(untried[math.ceil(step * place) - 1] for place in range(1, number + 1))
