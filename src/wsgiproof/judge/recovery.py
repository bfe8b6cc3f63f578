"""The check of failovers: which requests fail, how soon they recover, and what stays behind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from wsgiproof.judge.finding import Outcome, count, evidence
from wsgiproof.judge.slope import part_rates
from wsgiproof.judge.sockets import abandoned, describe
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import FailureGroup, Observed, Outage, Role, Sample, of_members

_LONG = 20.0
"""Seconds of an outage that is long enough to distinguish growth from what is needed once."""
_READINGS = 16
_PARTS = 4
_ABANDONED = "sockets to the deployment that it does not have any more"
_MATERIAL = 20_000
"""Memory grows if it grows by this many bytes per second in each of these parts."""


def recovery(cell: Cell, observed: Observed) -> Outcome:
    """Requests fail only without a primary, recover soon after, and no resource stays behind."""
    if not observed.backend:
        return Outcome(skipped="the cell has no deployment")
    if not observed.owned:
        return Outcome(
            skipped="wsgiproof never injects faults into a deployment that it did not start"
        )
    outages = observed.outages
    findings = (
        *_not_recovered(observed),
        *_failed_with_a_primary(observed),
        *_leftovers(outages),
        *_memory_growth(outages),
    )
    if findings:
        return Outcome(findings=findings)
    missing = _missing(observed)
    if missing:
        return Outcome(missing=missing)
    return Outcome(passed=_passed(outages))


def _missing(observed: Observed) -> str:
    """Return which evidence is missing; empty if none is."""
    if not observed.outages:
        why = observed.aborted or observed.decided_early or "the phase was not reached"
        return f"no fault was injected into the deployment: {why}"
    for one in observed.outages:
        if one.primary_again is None:
            return f"no member became primary after '{one.fault}'"
        if one.after is None or not _comparable(one.before, one.after):
            return f"the counts before and after '{one.fault}' can't be compared"
    return f"the experiment ended early: {observed.aborted}" if observed.aborted else ""


def _comparable(before: Sample, after: Sample) -> bool:
    first, last = of_members(before.counts), of_members(after.counts)
    unknown = None in first.values() or None in last.values()
    if not first or unknown or first.keys() != last.keys():
        return False
    then, now = _workers(before), _workers(after)
    counted = all(None not in values.values() for values in (*then.values(), *now.values()))
    return counted and then.keys() == now.keys() and bool(then)


def _passed(outages: Sequence[Outage]) -> str:
    slowest = max((one.recovered or 0.0) - (one.primary_again or 0.0) for one in outages)
    requests = sum(one.requests for one in outages)
    failed = sum(map(_failed, outages))
    failures = (
        f"{failed:,} of {count(requests, 'request')} failed" if failed else "no request failed"
    )
    return (
        f"{count(len(outages), 'fault')} of the deployment: {failures}; every interpreter answered "
        f"again at most {slowest:.1f} seconds after there was a primary; no count is higher than "
        "before"
    )


def _failed(one: Outage) -> int:
    return sum(failure.count for failure in one.failures)


def _not_recovered(observed: Observed) -> Iterator[Finding]:
    deadline = observed.plan.recovery_deadline
    for one in observed.outages:
        if one.primary_again is None or _in_time(one, deadline):
            continue
        if one.silent:
            seen = f"{', '.join(one.silent)} had not answered"
        else:
            seen = "requests still failed"
        yield Finding(
            check="recovery",
            seen=f"{seen} {deadline:.0f} seconds after there was a primary again ({one.fault})",
            meaning="the driver or the application keeps an outdated state: a dead connection, a "
            "server that is no longer primary, or an error",
            action="read the exceptions in the error log from this phase on; look for state that "
            "is kept after a failure",
            evidence=evidence(_timeline(one)),
        )


def _in_time(one: Outage, deadline: float) -> bool:
    assert one.primary_again is not None
    return one.recovered is not None and one.recovered <= one.primary_again + deadline


def _failed_with_a_primary(observed: Observed) -> Iterator[Finding]:
    deadline = observed.plan.recovery_deadline
    wrong = [
        (one, failure)
        for one in observed.outages
        if one.primary_again is not None and _in_time(one, deadline)
        for failure in one.failures
        if not _is_excused(one, failure)
    ]
    if wrong:
        number = sum(failure.count for _, failure in wrong)
        names = dict.fromkeys(one.fault for one, _ in wrong)
        yield Finding(
            check="recovery",
            seen=f"up to {count(number, 'request')} failed though there was a primary "
            f"({', '.join(names)})",
            meaning="the requests failed although the deployment could serve them",
            action="read the exceptions in the error log from this phase on",
            evidence=evidence(line for one, _ in wrong for line in _timeline(one)),
        )


def _is_excused(one: Outage, failure: FailureGroup) -> bool:
    """Return whether these requests had no primary, or were in flight when it was lost.

    Failures after the primary is back are judged by the deadline of the recovery.
    """
    return one.primary_lost is not None and failure.first >= 0


def _memory_growth(outages: Sequence[Outage]) -> Iterator[Finding]:
    """Yield a finding for each long outage in which memory grew in every quarter.

    Memory that is needed once grows in one quarter only.
    """
    for one in outages:
        if len(one.memory) < _READINGS or one.memory[-1][0] < _LONG:
            continue
        rate = min(part_rates([(round(1000 * at), size) for at, size in one.memory], _PARTS))
        if rate * 1000 >= _MATERIAL:
            (first, least), (last, most) = one.memory[0], one.memory[-1]
            yield Finding(
                check="recovery",
                seen=f"the workers' memory grew steadily during '{one.fault}': from "
                f"{least:,} to {most:,} bytes in {last - first:.0f} seconds",
                meaning="what looks for the servers, such as a monitor, keeps something of each "
                "failed attempt",
                action="look for errors that are kept: a traceback refers to every frame, and each "
                "frame to its variables",
                evidence=evidence(f"after {at:.0f} s: {size:,} bytes" for at, size in one.memory),
            )


def _leftovers(outages: Sequence[Outage]) -> Iterator[Finding]:
    """Yield a finding for each count that is higher than before the first fault, and stays so.

    A leak does not fall again, but a monitor that reconnects has done so by the next outage.
    """
    series: defaultdict[str, list[tuple[Outage, int]]] = defaultdict(list)
    baseline: dict[str, int] = {}
    for one in outages:
        for name, before, after in _counts(one):
            baseline.setdefault(name, before)
            series[name].append((one, after))
    for name, counts in series.items():
        above = [(one, after) for one, after in counts if after > baseline[name]]
        if counts[-1][1] > baseline[name]:
            yield _leftover(name, baseline[name], above, counts)


def _leftover(
    name: str,
    before: int,
    above: Sequence[tuple[Outage, int]],
    counts: Sequence[tuple[Outage, int]],
) -> Finding:
    first, _ = above[0]
    more = max(after for _, after in above) - before
    return Finding(
        check="recovery",
        seen=f"{name}: {more:,} more than before, first after '{first.fault}'",
        meaning="something that was opened during a failover is never closed; each failover leaves "
        "more of it",
        action="look for a client, a connection or a thread that is created after an error, and "
        "whether the one that it replaces is closed",
        evidence=evidence(
            [
                f"before the first fault: {before:,}",
                *(f"after '{one.fault}': {after:,}" for one, after in counts),
                *(_sockets(counts) if name == _ABANDONED else ()),
            ]
        ),
    )


def _sockets(counts: Sequence[tuple[Outage, int]]) -> Iterator[str]:
    for one, _ in counts:
        if one.after is not None:
            yield f"after '{one.fault}', {describe(one.after)}"


def _counts(one: Outage) -> Iterator[tuple[str, int, int]]:
    """Yield the name of each count with its values before and after, if both are known."""
    if one.after is None:
        return
    before, after = _named(one.before), _named(one.after)
    for name, earlier in before.items():
        later = after.get(name)
        if earlier is not None and later is not None:
            yield name, earlier, later


def _named(sample: Sample) -> dict[str, int | None]:
    """Return every count that has to be as low after an outage as before, by name."""
    return {
        **of_members(sample.counts),
        _ABANDONED: abandoned(sample),
        **{
            f"{name} of pid {pid}": value
            for pid, values in _workers(sample).items()
            for name, value in values.items()
        },
    }


def _workers(sample: Sample) -> dict[int, dict[str, int | None]]:
    """Return the counts of each worker process.

    Its connections are not among them: each member of the deployment counts its own, and
    :func:`abandoned` counts those that no member has.
    """
    return {
        one.pid: {
            "threads": one.threads,
            "descriptors that are not connections": None
            if one.descriptors is None or one.connections is None
            else one.descriptors - one.connections,
        }
        for one in sample.processes
        if one.role is Role.WORKER
    }


def _timeline(one: Outage) -> Iterator[str]:
    """Yield what happened in an outage, and when."""
    lost = "never" if one.primary_lost is None else f"after {one.primary_lost:.2f} s"
    again = "never" if one.primary_again is None else f"after {one.primary_again:.2f} s"
    recovered = "never" if one.recovered is None else f"after {one.recovered:.2f} s"
    yield (
        f"{one.fault}: no primary {lost}, a primary again {again}, recovered {recovered}; "
        f"{_failed(one):,} of {count(one.requests, 'request')} failed"
    )
    for failure in one.failures:
        status = "" if failure.status is None else f" {failure.status}"
        yield (
            f"{failure.count:,} x {failure.kind}{status} {failure.error}: from {failure.first:.2f} "
            f"to {failure.last:.2f} s"
        )
