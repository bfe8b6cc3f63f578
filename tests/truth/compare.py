"""What came of a case, held against what has to come of it. Pure: records in, a comparison out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from tests.truth.cases import BUGS, INCONCLUSIVE, PASS, Case
from wsgiproof.records.judgement import Verdict


class Result(StrEnum):
    """What a run of a case came to. The order is that of the table, from good to bad."""

    CAUGHT = "caught by the expected check"
    OTHER = "caught by another check"
    CLEAN = "clean"
    REAL = "a real crash of a library"
    UNDECIDED = "inconclusive"
    NOT_JUDGED = "not yet judged"
    MISSED = "missed"
    ALARM = "false alarm"
    BROKEN = "no verdict"


OF_BUGS = (
    Result.CAUGHT,
    Result.OTHER,
    Result.UNDECIDED,
    Result.NOT_JUDGED,
    Result.MISSED,
    Result.BROKEN,
)
OF_HEALTHY = (Result.CLEAN, Result.REAL, Result.UNDECIDED, Result.ALARM, Result.BROKEN)
_SEVERITY = list(Result)
_OF_LIBRARIES = {
    "pymongo-thread-outlives-interpreter",
    "first-use-race",
    "crash-in-use-without-thread",
}
"""The entries of crashes for which an application in Python can't be the reason."""
_CUT_OFF = {"daemon-died-in-request", "refused-while-restarting"}
"""Entries of a request whose process has ended. Apache writes the same line for both."""
_OF_A_CRASH = {"crash": _OF_LIBRARIES, "responses": _CUT_OFF, "error-log": _CUT_OFF}
"""The checks that fail if a library crashes, each with the entries that then explain it."""


class Checked(msgspec.Struct, frozen=True):
    """One check in ``results.json``."""

    check: str
    verdict: Verdict
    reason: str


class Explanation(msgspec.Struct, frozen=True):
    """The entry of the catalog that explains a finding."""

    id: str


class Found(msgspec.Struct, frozen=True):
    """One finding in ``results.json``."""

    check: str
    explained: tuple[Explanation, ...] = ()


class Seen(msgspec.Struct, frozen=True):
    """What ``results.json`` says of one cell; its other fields are ignored."""

    verdict: Verdict
    reason: str
    checks: tuple[Checked, ...] = ()
    findings: tuple[Found, ...] = ()

    def with_verdict(self, verdict: Verdict) -> dict[str, str]:
        """Return the checks that came to ``verdict``, each with its reason."""
        return {one.check: one.reason for one in self.checks if one.verdict is verdict}


class Comparison(msgspec.Struct, frozen=True):
    """What one run came to, whether that is as it should be, and why."""

    result: Result
    right: bool
    reasons: tuple[str, ...] = ()
    besides: tuple[str, ...] = ()
    """Checks that failed beside those that a bug has to fail or may fail."""


def compare(case: Case, seen: Seen) -> Comparison:
    """Hold what was ``seen`` of ``case`` against its truth."""
    if seen.verdict in (Verdict.ERROR, Verdict.SKIPPED):
        return Comparison(Result.BROKEN, False, (f"{seen.verdict}: {seen.reason}",))
    failed = seen.with_verdict(Verdict.FAIL)
    undecided = seen.with_verdict(Verdict.INCONCLUSIVE)
    allowed = frozenset(case.also)
    besides = tuple(sorted(failed.keys() - case.wanted - allowed))
    if failed:
        return _of_failed(case, failed, besides, seen.findings)
    if undecided:
        right = _may_be_undecided(allowed, undecided)
        return Comparison(Result.UNDECIDED, right, _told(undecided))
    if case.folder != BUGS:
        return Comparison(Result.CLEAN, True)
    judged = [one for one in seen.checks if one.check in case.wanted]
    if not judged:
        missing = f"there is no check {' or '.join(sorted(case.wanted))}"
        return Comparison(Result.NOT_JUDGED, False, (missing,))
    reasons = tuple(f"{one.check}: {one.verdict}: {one.reason}" for one in judged)
    return Comparison(Result.MISSED, PASS in allowed, reasons)


def worst(comparisons: Sequence[Comparison]) -> Comparison:
    """Return the one that counts for a case of several runs: a wrong one, else the least good."""
    return max(comparisons, key=lambda one: (not one.right, _SEVERITY.index(one.result)))


def _of_failed(
    case: Case, failed: dict[str, str], besides: tuple[str, ...], findings: Sequence[Found]
) -> Comparison:
    if case.folder != BUGS:
        if _are_crashes_of_libraries(findings):
            return Comparison(Result.REAL, True, _told(failed), besides)
        return Comparison(Result.ALARM, not besides, _told(failed), besides)
    if failed.keys() & case.wanted:
        return Comparison(Result.CAUGHT, True, _told(failed), besides)
    return Comparison(Result.OTHER, not besides, _told(failed), besides)


def _are_crashes_of_libraries(findings: Sequence[Found]) -> bool:
    """Return whether these are crashes that bugs of PyMongo or mod_wsgi explain, and the requests
    that were lost with them.

    A process that died of a signal is no misreading.
    """
    return any(one.check == "crash" for one in findings) and all(
        _OF_A_CRASH.get(one.check, set()) & {each.id for each in one.explained} for one in findings
    )


def _may_be_undecided(allowed: frozenset[str], undecided: Iterable[str]) -> bool:
    if INCONCLUSIVE in allowed:
        return True
    return all(f"{INCONCLUSIVE}:{check}" in allowed for check in undecided)


def _told(checks: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{check}: {reason}" for check, reason in checks.items())
