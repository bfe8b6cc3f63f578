"""Judges the judge: the results of planted faults and their negative controls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from wsgiproof.errors import ExitCode
from wsgiproof.records.judgement import Verdict


class Result(StrEnum):
    """The result of a control. The first two are the expected ones."""

    CAUGHT = "caught"
    """The check that is meant for the fault failed."""
    CLEAN = "clean"
    """A negative control passed."""
    ELSEWHERE = "found elsewhere"
    """Other checks failed, but not the one that is meant for the fault."""
    MISSED = "missed"
    """A planted fault passed."""
    FALSE_ALARM = "false alarm"
    """A check of a negative control failed."""
    UNDECIDED = "undecided"
    """The cell was inconclusive, or could not be run, or a bug of somebody else ended a process."""


class ControlResult(msgspec.Struct, frozen=True, kw_only=True):
    """One control: the check meant for it (none for a negative control), and the failed checks."""

    control: str
    meant: str
    verdict: Verdict
    failing: tuple[str, ...] = ()
    reason: str = ""
    """The judge's reason for the verdict."""
    upstream: str = ""
    """Whose bug all that failed is, if it is not the subject's."""

    @property
    def result(self) -> Result:
        """Compare the check that is meant for the control with the checks that failed."""
        if self.meant and self.meant in self.failing:
            return Result.CAUGHT
        if self.upstream:
            return Result.UNDECIDED
        if self.failing:
            return Result.ELSEWHERE if self.meant else Result.FALSE_ALARM
        if self.verdict is not Verdict.PASS:
            return Result.UNDECIDED
        return Result.MISSED if self.meant else Result.CLEAN

    @property
    def is_expected(self) -> bool:
        """Whether a fault was caught by its own check, or a negative control passed."""
        return self.result in (Result.CAUGHT, Result.CLEAN)


def confusion(results: Iterable[ControlResult]) -> dict[str, Counter[Result]]:
    """Count each result by the check that is meant; negative controls are under ``""``."""
    table: dict[str, Counter[Result]] = {}
    for one in results:
        table.setdefault(one.meant, Counter())[one.result] += 1
    return table


def exit_code(results: Iterable[ControlResult]) -> ExitCode:
    """Return success only if there is at least one control, and every result is expected."""
    results = list(results)
    if not results:
        return ExitCode.UNDECIDED
    if all(one.is_expected for one in results):
        return ExitCode.PASS
    undecided = {Result.UNDECIDED, Result.CAUGHT, Result.CLEAN}
    wrong = any(one.result not in undecided for one in results)
    return ExitCode.FINDING if wrong else ExitCode.UNDECIDED
