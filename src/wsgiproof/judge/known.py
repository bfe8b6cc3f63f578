"""Which findings are known and accepted, and whether what is known was found at all.

It works as the strict ``xfail`` of pytest: a finding that is known fails nothing, another one does,
and so does what no longer appears, if there were enough trials for it to appear.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

import msgspec

from wsgiproof.judge.explain.catalog import CRASH_TRACES, STACKS, SYMPTOMS
from wsgiproof.judge.process_ends import binomial_limits, ends_needed, process_ends
from wsgiproof.judge.rules import Rules
from wsgiproof.records.judgement import CheckResult, Finding, Rate, Verdict
from wsgiproof.records.known import Known, KnownInCell, KnownState
from wsgiproof.records.observed import Observed

RATED = ("crash", "shutdown")
"""The checks of what happens at the end of a process: each end is a trial, so there is a rate."""


def acknowledge(
    findings: Sequence[Finding],
    tables: Iterable[Known],
    observed: Observed,
    rules: Rules,
    *,
    upstream: bool,
) -> tuple[Finding, ...]:
    """Return the findings, each with what says that it is known; unchanged if nothing does.

    ``upstream`` accepts what the catalog calls a bug of somebody else than the subject. A finding
    that is more frequent than its table allows says so, and is not known.
    """
    known: dict[int, Known] = {}
    too_frequent: dict[int, str] = {}
    for table in tables:
        places = [at for at, finding in enumerate(findings) if _matches(table, finding)]
        together = _together([findings[at].rate for at in places])
        for at in places:
            if why := _why_too_frequent(table, findings[at].rate and together):
                too_frequent.setdefault(at, why)
            else:
                known.setdefault(at, table)

    def changed(at: int, finding: Finding) -> Finding:
        if at in too_frequent and at not in known:
            return msgspec.structs.replace(finding, seen=f"{finding.seen}; {too_frequent[at]}")
        of_others = _upstream(finding, observed, rules) if upstream else None
        return msgspec.structs.replace(finding, known=known.get(at, of_others))

    return tuple(changed(at, finding) for at, finding in enumerate(findings))


def _together(rates: Iterable[Rate | None]) -> Rate | None:
    """Return the rate of all findings of one table: crashes in two places are two findings."""
    there = [rate for rate in rates if rate is not None]
    total = max((rate.total for rate in there), default=0)
    number = sum(rate.number for rate in there)
    return Rate(number=min(number, total), total=total) if there else None


def whose_crash(findings: Sequence[Finding], observed: Observed, rules: Rules) -> str:
    """Return why all that was found is somebody else's: they are crashes by a bug of theirs, and
    what crashes leave in the error log and in answers. Empty if any of it may be the subject's."""
    crashes = [one for one in findings if one.check == "crash"]
    reasons = [_upstream(one, observed, rules) for one in crashes]
    traces = (one for one in findings if one.check != "crash")
    if all(reasons) and all(_is_trace_of_a_crash(one) for one in traces):
        return next((one.reason for one in reasons if one is not None), "")
    return ""


def _is_trace_of_a_crash(finding: Finding) -> bool:
    ids = {one.id for one in finding.explained}
    return bool(ids) and ids <= CRASH_TRACES


def states(
    tables: Iterable[Known],
    findings: Sequence[Finding],
    results: Iterable[CheckResult],
    observed: Observed,
) -> tuple[KnownInCell, ...]:
    """Return for each table that applies to a cell whether any of its findings is one of it."""
    verdicts = {result.check: result.verdict for result in results}
    ends = process_ends(observed).total
    enough = ends >= ends_needed(observed.plan.crash_bound)

    def state(table: Known) -> KnownState:
        if any(_matches(table, finding) for finding in findings):
            return KnownState.SEEN
        verdict = verdicts.get(table.check)
        decided = (
            enough and verdict is not Verdict.INCONCLUSIVE
            if table.check in RATED
            else verdict is Verdict.PASS
        )
        return KnownState.GONE if decided else KnownState.UNDECIDED

    return tuple(KnownInCell(table=table, state=state(table)) for table in tables)


def _matches(table: Known, finding: Finding) -> bool:
    return (
        table.check == finding.check
        and (not table.entry or _is_explained(finding, {table.entry}))
        and any(table.signature in text for text in (finding.seen, *finding.evidence))
    )


def _is_explained(finding: Finding, entries: set[str]) -> bool:
    """Return whether one of these entries explains it, and each of its stacks that any explains.

    Without core files, crashes in several places may be one finding: all of them have to be known.
    """
    ids = {one.id for one in finding.explained}
    of_stacks = {one.id for one in finding.explained if one.where.startswith(STACKS)}
    return bool(ids & entries) and of_stacks <= entries


def _why_too_frequent(table: Known, rate: Rate | None) -> str:
    """Return why a finding is more frequent than what is known; empty if it is not."""
    if table.at_most is None:
        return ""
    known = f"it is known ({table.reason}), with a probability of at most {table.at_most:.3g}"
    if rate is None:
        return f"{known}, but this was not at the end of a process, where it has one"
    low, _ = binomial_limits(rate.number, rate.total)
    if low <= table.at_most:
        return ""
    return f"{known}, but it is more frequent than that: at least {low:.3g} (95 %)"


def _upstream(finding: Finding, observed: Observed, rules: Rules) -> Known | None:
    """Return that a finding is a bug of somebody else; None if any part of it may be the subject's.

    What a crash or an exception leaves in the log does not say whose it is. A crash inside an
    extension of the subject is the subject's.
    """
    own = {rules.title.lower(), *rules.packages}
    loaded = map(PurePath, observed.libraries)
    if any(path.name in finding.seen for path in loaded if own & {*path.parts}):
        return None
    reasons = [one for one in finding.explained if one.id not in SYMPTOMS]
    others = [one for one in reasons if one.whose and one.whose.lower() not in own]
    if not others or len(others) < len(reasons):
        return None
    if not _is_explained(finding, {one.id for one in others}):
        return None
    first = others[0]
    reason = f"a bug of {first.whose}"
    return Known(check=finding.check, entry=first.id, reason=reason, link=first.source)
