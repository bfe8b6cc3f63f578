"""What a distribution does in real Apache, from the verdict on its cell.

The cell was judged by the checks that every subject has. The first finding of the most serious kind
gives the outcome, and all findings are kept with it. A cell of the same application in the main
interpreter, and one of an application that does nothing, are its controls: what happens there as
well is not the fault of the kind, or not of the package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wsgiproof.judge.explain.catalog import EXCEPTION_TRACES
from wsgiproof.judge.finding import count, in_words
from wsgiproof.judge.resources import LEFT_OUTSIDE, PROCESS_RESOURCES
from wsgiproof.records.audit import (
    FAILURES,
    Agreement,
    Distribution,
    Environment,
    Outcome,
    Result,
    Tier,
)
from wsgiproof.records.cell import InterpreterKind
from wsgiproof.records.judgement import Finding, Verdict
from wsgiproof.records.run import CellRecord
from wsgiproof.records.traffic import Outcome as Answer

SERVER_ALONE = "Apache, mod_wsgi and Python alone"
"""The cause where an application that does nothing has the same outcome."""
_BY_CHECK: Mapping[str, Outcome] = {
    "crash": Outcome.CRASHES,
    "hang": Outcome.HANGS,
    "shutdown": Outcome.HANGS,
    "responses": Outcome.REFUSES,
    "memory": Outcome.LEAKS,
    **{one.check: Outcome.LEAKS for one in (*PROCESS_RESOURCES, *LEFT_OUTSIDE)},
}
"""The outcome that a finding of a check stands for; the first of them outweighs the others."""
_BY_ANSWER = (Outcome.WRONG, Outcome.REFUSES, Outcome.DEGRADES)
"""What the application itself says is wrong, at the start of its answers."""
_UNSURE = frozenset({Outcome.UNKNOWN, Outcome.NOT_INSTALLABLE})


def judge_cell(
    distribution: Distribution,
    record: CellRecord,
    *,
    exercised: bool,
    main: CellRecord | None = None,
    alone: CellRecord | None = None,
) -> Result:
    """Return the outcome of a distribution in the interpreters of its cell.

    ``exercised`` says whether the application used it. ``main`` is the cell of the same application
    in the main interpreter, and ``alone`` that of an application that does nothing in interpreters
    of the same kind; each is None if it was not run.
    """
    outcome, reason = _outcome(record)
    cause = ""
    if outcome in FAILURES and alone is not None and _outcome(alone)[0] is outcome:
        outcome, cause = Outcome.UNKNOWN, SERVER_ALONE
        reason = f"{reason}; {SERVER_ALONE} do so, too"
    elif outcome in FAILURES and main is not None and _outcome(main)[0] is outcome:
        outcome, reason = Outcome.UNKNOWN, f"fails in main too: {reason}"
    return Result(
        name=distribution.name,
        version=distribution.version,
        kind=record.cell.interpreter,
        tier=Tier.DEEP,
        outcome=outcome,
        reason=reason,
        cause=cause,
        exercised=exercised,
        ends=_ends(record),
        notes=tuple(_notes(record, reason)),
        findings=record.findings,
        cell=record.directory,
    )


def _outcome(record: CellRecord) -> tuple[Outcome, str]:
    """Return what a cell shows, and what was seen, in one sentence."""
    by_check: dict[str, Finding] = {}
    for one in record.findings:
        by_check.setdefault(one.check, one)
    for check, outcome in _BY_CHECK.items():
        if (finding := by_check.get(check)) is not None:
            if check == "responses":
                return _answered(record, finding)
            return outcome, f"{check}: {finding.seen}"
    if record.findings:
        # Neither a pass nor one of the outcomes: what it means for the package is open.
        first = record.findings[0]
        return Outcome.UNKNOWN, f"{first.check}: {first.seen}"
    if record.verdict is Verdict.PASS:
        return Outcome.WORKS, ""
    undecided = [one for one in record.checks if one.verdict is Verdict.INCONCLUSIVE]
    if undecided:
        return Outcome.UNKNOWN, f"{undecided[0].check} is not decided: {undecided[0].reason}"
    return Outcome.UNKNOWN, record.reason or "its cell was not run"


def _answered(record: CellRecord, finding: Finding) -> tuple[Outcome, str]:
    """Return what failed requests stand for: what their answers say, or an exception."""
    failures = record.observed.failures if record.observed else ()
    told = [one.body for one in failures if one.kind == Answer.INVALID_BODY]
    for outcome in _BY_ANSWER:
        for text in told:
            if text.startswith(f"{outcome}: "):
                return outcome, f"{text.removeprefix(f'{outcome}: ')} ({finding.seen})"
    if any(one.kind == Answer.STATUS for one in failures):
        return Outcome.REFUSES, finding.seen
    return Outcome.UNKNOWN, finding.seen


def _ends(record: CellRecord) -> str:
    """Return how often processes crashed at their end, with the bound, if none did."""
    passed = (one for one in record.checks if one.check == "crash")
    return next((one.reason for one in passed if one.verdict is Verdict.PASS), "")


def _notes(record: CellRecord, reason: str) -> list[str]:
    """Return the other findings, and what the catalog knows of the cause.

    That a request failed is in the error log once more.
    """
    failed = any(one.check == "responses" for one in record.findings)
    found = [one for one in record.findings if not (failed and one.check == "error-log")]
    seen = [f"{one.check}: {one.seen}" for one in found if one.seen not in reason]
    known = {one.id: one for finding in record.findings for one in finding.explained}
    told = [one for one in known.values() if one.id not in EXCEPTION_TRACES]
    return [*seen, *(f"known as {one.id}: {one.meaning}" for one in told)]


def agreement(results: Iterable[Result], deep: Iterable[Result]) -> tuple[Agreement, ...]:
    """Return what both tiers say, for each distribution and kind that both have tried."""
    fast = {(one.name, one.kind): one for one in results}
    return tuple(
        Agreement(
            name=one.name,
            version=one.version,
            kind=one.kind,
            fast=other.outcome,
            deep=one.outcome,
            agree=None if {one.outcome, other.outcome} & _UNSURE else one.outcome is other.outcome,
        )
        for one in deep
        if (other := fast.get((one.name, one.kind))) is not None
    )


def advise_deep(environment: Environment, kind: InterpreterKind) -> str:
    """Return what real Apache adds to the advice on a kind, in a sentence or two."""
    of_kind = [one for one in environment.deep if one.kind is kind]
    if not of_kind:
        return ""
    bad = [one.name for one in of_kind if one.outcome in FAILURES]
    unknown = [one.name for one in of_kind if one.outcome is Outcome.UNKNOWN]
    packages = count(len(of_kind), "package")
    verb = "breaks" if len(bad) == 1 else "break"
    parts = [
        f"In real Apache under {kind}, {len(bad)} of {packages} {verb}: {in_words(bad)}."
        if bad
        else f"In real Apache under {kind}, none of {packages} was seen to break."
    ]
    if unknown:
        parts.append(f"Not known there: {in_words(unknown)}.")
    main = {one.name: one.outcome for one in environment.deep_control}
    if bad and kind is not InterpreterKind.MAIN and {*bad} <= main.keys():
        parts.append(_about_main([name for name in bad if main[name] is not Outcome.WORKS]))
    return " ".join([*parts, _differing(environment.agreement, kind)]).rstrip()


def _about_main(bad: Sequence[str]) -> str:
    setting = "'WSGIApplicationGroup %{GLOBAL}'"
    if bad:
        return f"With {setting}, not all of them work there: {in_words(bad)} did not when tried."
    return f"With {setting}, each of them was tried there, and works."


def _differing(agreements: Sequence[Agreement], kind: InterpreterKind) -> str:
    compared = [one for one in agreements if one.kind is kind and one.agree is not None]
    other = [one.name for one in compared if not one.agree]
    if not compared:
        return ""
    same = f"Both tiers agree on {len(compared) - len(other)} of {count(len(compared), 'package')}"
    return f"{same}, and not on {in_words(other)}." if other else f"{same}."
