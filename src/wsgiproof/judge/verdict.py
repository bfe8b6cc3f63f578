"""All checks of a cell, and the verdict that follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import msgspec

from wsgiproof.judge import answers, lifecycle
from wsgiproof.judge.error_log import error_log
from wsgiproof.judge.explain.explain import explain, rest_of_log
from wsgiproof.judge.finding import Check, Outcome, some
from wsgiproof.judge.idle import idle
from wsgiproof.judge.known import acknowledge, states
from wsgiproof.judge.latency import latency
from wsgiproof.judge.leaks import counted
from wsgiproof.judge.memory import memory
from wsgiproof.judge.recovery import recovery
from wsgiproof.judge.resources import LEFT_OUTSIDE, PROCESS_RESOURCES, Resource
from wsgiproof.judge.restart import restart
from wsgiproof.judge.rules import Rules
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import CheckResult, Finding, RestOfLog, Verdict
from wsgiproof.records.known import Known, KnownInCell
from wsgiproof.records.observed import EvidenceKind, Observed
from wsgiproof.records.plan import ExtraPhase, LoadPlan
from wsgiproof.records.run import CellRecord

_PHASES: dict[str, frozenset[ExtraPhase]] = {
    "recovery": frozenset({ExtraPhase.FAILOVER}),
    "restart": frozenset({ExtraPhase.RESTART, ExtraPhase.RELOAD}),
    "idle": frozenset({ExtraPhase.IDLE}),
}
"""The checks of optional phases. A cell has one if its plan has any of the check's phases."""


def every_check(rules: Rules) -> dict[str, Check]:
    """Return every check by its stable name, in the order in which they are shown."""
    return {
        "responses": answers.responses,
        "environment": answers.environment(rules.claims),
        "interpreters": answers.interpreters,
        **rules.checks,
        **_counted(rules.resources),
        **_counted(PROCESS_RESOURCES),
        "memory": memory,
        **_counted(LEFT_OUTSIDE),
        "latency": latency,
        "hang": lifecycle.hang,
        "crash": lifecycle.crash,
        "shutdown": lifecycle.shutdown(rules.counted),
        "error-log": error_log(rules),
        "recovery": recovery,
        "restart": restart,
        "idle": idle(rules.counted),
    }


def _counted(resources: Iterable[Resource]) -> dict[str, Check]:
    return {resource.check: counted(resource) for resource in resources}


def checks_of(plan: LoadPlan, rules: Rules) -> dict[str, Check]:
    """Return every check of a cell with this plan, by name."""
    left_out = {name for name, phases in _PHASES.items() if not phases & {*plan.phases}}
    return {name: check for name, check in every_check(rules).items() if name not in left_out}


RESTS_ON: dict[str, frozenset[EvidenceKind]] = {
    "environment": frozenset({"identity"}),
    "hang": frozenset({"requests"}),
    "crash": frozenset({"core", "fatal", "leftover"}),
    "shutdown": frozenset({"requests"}),
    "error-log": frozenset({"log"}),
    "restart": frozenset({"requests"}),
}
"""The evidence that each check needs, of the kinds that may be missing. If some of it was removed,
more may have been, so what is left proves nothing."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on a cell, and why."""

    verdict: Verdict
    reason: str
    checks: tuple[CheckResult, ...]
    findings: tuple[Finding, ...]
    rest_of_log: RestOfLog
    known: tuple[KnownInCell, ...]


def judge(
    cell: Cell,
    observed: Observed,
    rules: Rules,
    checks: Mapping[str, Check] | None = None,
    *,
    known: Sequence[Known] = (),
    accept_known_upstream: bool = False,
) -> Judgement:
    """Run every check on what was observed, or only ``checks``. What is ``known`` fails nothing.

    Pure: the same record gives the same judgement.
    """
    if checks is None:
        checks = checks_of(observed.plan, rules)
    outcomes = {
        name: _with_missing(name, check(cell, observed), observed) for name, check in checks.items()
    }
    found = (finding for outcome in outcomes.values() for finding in outcome.findings)
    explained = explain(found, cell, observed, rules.catalog)
    findings = acknowledge(explained, known, observed, rules, upstream=accept_known_upstream)
    rest = iter(findings)
    results = tuple(
        msgspec.structs.replace(
            outcome, findings=tuple(islice(rest, len(outcome.findings)))
        ).result(name)
        for name, outcome in outcomes.items()
    )
    verdict, reason = _verdict(results)
    return Judgement(
        verdict=verdict,
        reason=reason,
        checks=results,
        findings=findings,
        rest_of_log=rest_of_log(findings, cell, observed.log, rules.catalog),
        known=states(known, findings, results, observed),
    )


def _with_missing(name: str, outcome: Outcome, observed: Observed) -> Outcome:
    """Return the outcome of a check, undecided if it passed on evidence that is missing.

    Its findings are kept.
    """
    missing = [one for one in observed.missing if one.kind in RESTS_ON.get(name, ())]
    if not missing or outcome.findings or outcome.missing or outcome.skipped:
        return outcome
    reasons = "; ".join(some(one.reasons, 2) for one in missing)
    return Outcome(missing=f"evidence was removed, replaced or refused: {reasons}")


def judge_record(record: CellRecord, rules: Rules) -> CellRecord:
    """Return the record with a new judgement; unchanged if nothing was observed in the cell."""
    if record.observed is None:
        return record
    judgement = judge(
        record.cell,
        record.observed,
        rules,
        known=[one.table for one in record.known],
        accept_known_upstream=record.accept_known_upstream,
    )
    return msgspec.structs.replace(
        record,
        verdict=judgement.verdict,
        reason=judgement.reason,
        checks=judgement.checks,
        findings=judgement.findings,
        rest_of_log=judgement.rest_of_log,
        known=judgement.known,
    )


def _verdict(results: tuple[CheckResult, ...]) -> tuple[Verdict, str]:
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.KNOWN):
        names = [result.check for result in results if result.verdict is verdict]
        if names:
            return verdict, ", ".join(names)
    passed = sum(result.verdict is Verdict.PASS for result in results)
    skipped = [result.check for result in results if result.verdict is Verdict.SKIPPED]
    rest = f"; skipped: {', '.join(skipped)}" if skipped else ""
    return Verdict.PASS, f"{passed} checks{rest}"
