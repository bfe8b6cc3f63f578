"""The type of a check, its outcome, and the texts that all checks share."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import CheckResult, Finding, Verdict
from wsgiproof.records.observed import Observed

_MOST_EVIDENCE = 12


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one check. Findings make it a failure, unless all of them are known;
    ``missing`` makes it inconclusive.

    ``skipped`` says why the check has nothing to look at, where that is intended.
    """

    findings: tuple[Finding, ...] = ()
    missing: str = ""
    """The evidence that is missing, so that the check can't pass."""
    skipped: str = ""
    passed: str = ""
    """What was seen, if the check passed."""

    def result(self, check: str) -> CheckResult:
        """Return the outcome in the form that is recorded."""
        for finding in self.findings:
            if finding.known is None:
                return CheckResult(check=check, verdict=Verdict.FAIL, reason=finding.seen)
        if self.findings:
            return CheckResult(check=check, verdict=Verdict.KNOWN, reason=self.findings[0].seen)
        if self.missing:
            return CheckResult(check=check, verdict=Verdict.INCONCLUSIVE, reason=self.missing)
        if self.skipped:
            return CheckResult(check=check, verdict=Verdict.SKIPPED, reason=self.skipped)
        return CheckResult(check=check, verdict=Verdict.PASS, reason=self.passed)


Check = Callable[[Cell, Observed], Outcome]


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Something that has to be true of each interpreter, as it reported itself."""

    what: str
    expected: object
    actual: object
    """None if the interpreter did not report it."""
    action: str = "find out where that came from: the paths in the evidence may tell"
    """What to do if it is not true."""


ClaimsOf = Callable[[Cell, Mapping[str, Any], Sequence[Mapping[str, Any]]], Iterable[Claim]]
"""Yields what has to be true of an interpreter of this cell that reported this of its subject. The
last argument has what all interpreters reported."""


def evidence(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the first dozen different lines, and the number of the others."""
    different = list(dict.fromkeys(lines))
    kept = different[:_MOST_EVIDENCE]
    if len(different) > len(kept):
        kept.append(f"... and {len(different) - len(kept)} more like these")
    return tuple(kept)


def some(items: Sequence[object], limit: int = 5) -> str:
    """Return the first ``limit`` items as text: ``1, 2, 3 and 4 more``."""
    shown = ", ".join(map(str, items[:limit]))
    return f"{shown} and {len(items) - limit} more" if len(items) > limit else shown


def mebibytes(number: int) -> str:
    """Return a number of bytes as text: ``1,234.5 MiB``."""
    return f"{number / 2**20:,.1f} MiB"


def in_words(items: Sequence[str]) -> str:
    """Return all items as text: ``a, b and c``."""
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun: ``1 process``, ``1,200 processes``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def signal_name(number: int | None) -> str:
    """Return the name of a signal: ``SIGSEGV (signal 11)``."""
    try:
        return f"{signal.Signals(number or 0).name} (signal {number})"
    except ValueError:
        return f"signal {number}"
