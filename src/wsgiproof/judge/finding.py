"""What every check is made from: a name, records in, an outcome and findings out."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Sequence

import msgspec

from wsgiproof.cell import Cell
from wsgiproof.records import CheckResult, Finding, Observed, Verdict

_MOST_EVIDENCE = 12


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one check came to. Findings make it a failure, ``missing`` makes it inconclusive.

    ``skipped`` says why there is nothing that the check could look at, and that this is meant so.
    """

    findings: tuple[Finding, ...] = ()
    missing: str = ""
    """The evidence that was not there; a pass can't rest on the rest."""
    skipped: str = ""
    passed: str = ""
    """What was seen when all is well."""

    def result(self, check: str) -> CheckResult:
        """The outcome in the record's own form."""
        if self.findings:
            return CheckResult(check=check, verdict=Verdict.FAIL, reason=self.findings[0].seen)
        if self.missing:
            return CheckResult(check=check, verdict=Verdict.INCONCLUSIVE, reason=self.missing)
        if self.skipped:
            return CheckResult(check=check, verdict=Verdict.SKIPPED, reason=self.skipped)
        return CheckResult(check=check, verdict=Verdict.PASS, reason=self.passed)


Check = Callable[[Cell, Observed], Outcome]


def evidence(lines: Iterable[str]) -> tuple[str, ...]:
    """The first dozen different lines, and how many more there are."""
    different = list(dict.fromkeys(lines))
    kept = different[:_MOST_EVIDENCE]
    if len(different) > len(kept):
        kept.append(f"... and {len(different) - len(kept)} more like these")
    return tuple(kept)


def some(items: Sequence[object], limit: int = 5) -> str:
    """``1, 2, 3 and 4 more``."""
    shown = ", ".join(map(str, items[:limit]))
    return f"{shown} and {len(items) - limit} more" if len(items) > limit else shown


def count(number: int, singular: str, plural: str | None = None) -> str:
    """``1 process``, ``1,200 processes``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def signal_name(number: int | None) -> str:
    """``SIGSEGV (signal 11)``."""
    try:
        return f"{signal.Signals(number or 0).name} (signal {number})"
    except ValueError:
        return f"signal {number}"
