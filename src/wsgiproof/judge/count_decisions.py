"""What the counts of a resource decide: the load, its serial phase, drains and full pools."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, takewhile

import msgspec

from wsgiproof.judge.full_pools import decide_full
from wsgiproof.judge.growth import (
    LEAST_SAMPLES,
    CountDecision,
    LeakStatus,
    confirmed,
    decide,
    drained,
    exceeds_pool,
    poisson_limits,
    pool_bound,
    settled,
)
from wsgiproof.judge.resources import (
    Counts,
    Resource,
    all_counts,
    all_processes,
    backend_counts,
    come_and_go,
    growth,
    process_counts,
    worker_pids,
    workers,
)
from wsgiproof.judge.series import Series
from wsgiproof.records.observed import Observed, Sample
from wsgiproof.records.plan import LoadPlan, PhaseName


def decision_of(resource: Resource, observed: Observed) -> CountDecision | None:
    """Return the decision with the strongest evidence on a resource; None if it has no count."""
    return worst_of([*decisions_of(resource, observed), *when_full(resource, observed)])


def decisions_of(resource: Resource, observed: Observed) -> list[CountDecision]:
    """Return the decision by the counts of all processes together, and by those of the backend.

    Another one rests on the requests of the serial phase, in which each is alone in its process. A
    leak that needs that would be diluted by the others. It replaces the one on all requests if all
    of the growth was there.
    """
    found = []
    kinds = zip(
        ("", *(["backend", "abandoned"] if resource.by_backend else []), *resource.by_name),
        all_counts(judged_samples(resource, observed), resource),
        all_counts(_serial(observed.samples), resource),
        strict=True,
    )
    for name, counts, serial in kinds:
        whole = _decide(resource, observed, name, counts, judged_samples(resource, observed))
        alone = _decide(resource, observed, name, serial, _serial(observed.samples))
        if alone is not None:
            alone = msgspec.structs.replace(alone, alone=True)
            if whole is not None and 0 < whole.units == alone.units:
                whole = msgspec.structs.replace(whole, status=LeakStatus.NO_LEAK, doubt="", more=0)
        found += [one for one in (whole, alone) if one is not None]
    for one in observed.confirmations:
        if one.check == resource.check:
            found = [
                confirmed(decision, one.requests, one.units)
                if decision.alone is one.alone
                else decision
                for decision in found
            ]
    rounds = [growth(resource, [before, after]) for before, after in pairwise(observed.drained)]
    found = [drained(decision, rounds) for decision in found]
    stayed = _stayed(resource, observed)
    if stayed is None:
        return found
    return [settled(decision, stayed, observed.plan.sensitivity) for decision in found]


def when_full(resource: Resource, observed: Observed) -> list[CountDecision]:
    """Return the decisions by the counts with all pools full; none if they can't be compared.

    They can't if a process was replaced between two fillings.
    """
    samples = observed.full_pools
    if not resource.pooled or len({worker_pids(one) for one in samples}) != 1:
        return []
    series = [
        Series(f"{one.what}, with all pools full", one.points)
        for counts in (all_processes(samples, resource), backend_counts(samples, resource))
        for one in counts.series
        if len(one.points) == len(samples)
    ]
    return [one for one in map(decide_full, series) if one is not None]


def worst_of(decisions: Sequence[CountDecision]) -> CountDecision | None:
    order = [LeakStatus.LEAK, LeakStatus.UNDECIDED, LeakStatus.NO_LEAK]
    return min(decisions, key=lambda one: (order.index(one.status), -one.units), default=None)


def judged_samples(resource: Resource, observed: Observed) -> Sequence[Sample]:
    """Return the samples of the load.

    Those of processes that stayed belong to them where nothing else tells what each process has.
    """
    if resource.outlives_process and come_and_go(observed.samples):
        return (*observed.samples, *observed.settled)
    return observed.samples


def _stayed(resource: Resource, observed: Observed) -> CountDecision | None:
    """Return the decision on the processes that stayed, if there was a load for that."""
    samples = observed.settled
    pids = [{one.pid for one in workers(each.processes) if one.comparable} for each in samples]
    stayed = set.intersection(*pids[len(pids) // 2 :]) if pids else set()
    if not stayed:
        return None
    kept = [
        msgspec.structs.replace(
            sample, processes=tuple(one for one in sample.processes if one.pid in stayed)
        )
        for sample, comparable in zip(samples, pids, strict=True)
        if stayed <= comparable
    ]
    return _decide(resource, observed, "", process_counts(kept, resource), kept)


def _decide(
    resource: Resource, observed: Observed, name: str, counts: Counts, samples: Sequence[Sample]
) -> CountDecision | None:
    """Return the decision on the counts of this name in ``samples``; None if these are too few, or
    if there was no request between them.

    The name of those of the processes is empty.
    """
    processes, threads = observed.workers
    if come_and_go(samples):
        processes = len(worker_pids(samples[-1])) or processes
    bound, interpreters = pool_bound(len(observed.urls), threads), len(observed.urls)
    places = processes if name else 1
    long_enough = [one for one in counts.series if _is_long_enough(one, bound * places)]
    if not long_enough:
        return None
    decision = decide(long_enough, bound * places, interpreters * places)
    if not decision.requests:
        return None
    span = samples[-1].requests - samples[0].requests
    if 0 < decision.requests < span:
        decision = msgspec.structs.replace(decision, share=decision.requests / span)
    if decision.processes and resource.pooled:
        decision = _with_surplus(decision, decision.processes * interpreters * (threads - 1))
    return _within_limit(decision, observed.plan) if name in resource.limited else decision


def _with_surplus(decision: CountDecision, surplus: int) -> CountDecision:
    """Return the decision with what pools may have lost of their surplus, which does not show.

    The pools of processes that come and go can't be compared with their first filling.
    """
    possible = decision.possible + surplus
    limit = poisson_limits(possible)[1] / decision.requests
    return msgspec.structs.replace(decision, possible=possible, excluded_rate=limit)


def _within_limit(decision: CountDecision, plan: LoadPlan) -> CountDecision:
    """Return no leak if the rate is one that the configuration accepts."""
    accepted = decision.rate is not None and 100 * decision.rate.value <= plan.max_files
    if decision.status is LeakStatus.NO_LEAK or not accepted:
        return decision
    return msgspec.structs.replace(
        decision, status=LeakStatus.NO_LEAK, doubt="", more=0, within_limit=True
    )


def _serial(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Return the samples of the serial phase, the one before it, and those of its cool-down."""
    numbers = [at for at, one in enumerate(samples) if one.phase == PhaseName.SERIAL]
    if not numbers:
        return ()
    first, last = numbers[0], numbers[-1]
    idle = takewhile(lambda one: one.phase == PhaseName.COOL_DOWN, samples[last + 1 :])
    return (*samples[max(0, first - 1) : last + 1], *idle)


def _is_long_enough(series: Series, bound: int) -> bool:
    rounds = sum(len(one.points) - 1 for one in series.lives) or len(series.points) - 1
    return rounds >= LEAST_SAMPLES - 1 or exceeds_pool(series, bound)
