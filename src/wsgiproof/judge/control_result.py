"""The judge judged: what became of planted faults and their clean twins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from wsgiproof.errors import ExitCode
from wsgiproof.records import Verdict


class Result(StrEnum):
    """What became of a control. The first two are as they should be."""

    CAUGHT = "caught"
    """The check meant for the fault failed."""
    CLEAN = "clean"
    """A twin passed."""
    ELSEWHERE = "found elsewhere"
    """Only checks failed that are not meant for the fault."""
    MISSED = "missed"
    """A fault passed."""
    FALSE_ALARM = "false alarm"
    """A check of a twin failed."""
    UNDECIDED = "undecided"
    """A cell was inconclusive, or could not be run."""


class ControlResult(msgspec.Struct, frozen=True, kw_only=True):
    """One control: the check meant for it (none for a twin), and the checks that failed."""

    control: str
    meant: str
    verdict: Verdict
    failing: tuple[str, ...] = ()
    reason: str = ""
    """What the judge said of it."""

    @property
    def result(self) -> Result:
        """What became of it."""
        if self.meant and self.meant in self.failing:
            return Result.CAUGHT
        if self.failing:
            return Result.ELSEWHERE if self.meant else Result.FALSE_ALARM
        if self.verdict is not Verdict.PASS:
            return Result.UNDECIDED
        return Result.MISSED if self.meant else Result.CLEAN

    @property
    def as_it_should_be(self) -> bool:
        """Whether a fault was caught by its own check, or a twin passed."""
        return self.result in (Result.CAUGHT, Result.CLEAN)


def confusion(trials: Iterable[ControlResult]) -> dict[str, Counter[Result]]:
    """How often each result came up, by the check that was meant; twins are under ``""``."""
    table: dict[str, Counter[Result]] = {}
    for one in trials:
        table.setdefault(one.meant, Counter())[one.result] += 1
    return table


def exit_code(trials: Iterable[ControlResult]) -> ExitCode:
    """Success only where there was a control, and each came out as it should."""
    trials = list(trials)
    if not trials:
        return ExitCode.UNDECIDED
    if all(one.as_it_should_be for one in trials):
        return ExitCode.PASS
    undecided = {Result.UNDECIDED, Result.CAUGHT, Result.CLEAN}
    wrong = any(one.result not in undecided for one in trials)
    return ExitCode.FINDING if wrong else ExitCode.UNDECIDED
