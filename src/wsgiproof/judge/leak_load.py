"""What the counts of a running cell ask of its load: to go on, to drain, or to end early."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from wsgiproof.judge.count_decisions import decision_of, decisions_of, judged_samples, when_full
from wsgiproof.judge.growth import (
    LEAST_SENSITIVITY,
    LeakStatus,
    exceeds_pool,
    pool_bound,
    requests_to_confirm,
    requests_to_settle,
    requests_to_show,
)
from wsgiproof.judge.resources import (
    Resource,
    Resources,
    backend_counts,
    come_and_go,
    named_counts,
    process_counts,
    total,
    worker_pids,
)
from wsgiproof.records.observed import Observed, Sample


def certain_leak(
    resources: Resources,
    samples: Sequence[Sample],
    interpreters: int,
    processes: int,
    threads: int,
) -> str:
    """Return what grows by more than any pool holds, as a sentence; empty if nothing does.

    Growth of that size is certain without any more load.
    """
    bound = pool_bound(interpreters, threads)
    for resource in resources.values():
        for counts, places in (
            (process_counts(samples, resource), 1),
            (backend_counts(samples, resource), processes),
            *((named_counts(samples, name), processes) for name in resource.by_name),
        ):
            if resource.limited:  # its limit is judged when the load is complete
                continue
            for series in counts.series:
                if exceeds_pool(series, bound * places):
                    return f"{series.what} grew by {series.units}, more than any pool holds"
    return ""


def leak_rates(resources: Resources, observed: Observed) -> dict[str, float]:
    """Return the checks that found a leak, each with its units per request.

    Leaks that only drains could show are left out: one URL alone shows them no faster.
    """
    rates = {}
    for check, resource in resources.items():
        decision = decision_of(resource, observed)
        if decision is not None and decision.status is LeakStatus.LEAK and not decision.gone:
            assert decision.rate is not None
            rates[check] = decision.rate.value
    return rates


def growing(resources: Resources, observed: Observed) -> tuple[Resource, ...]:
    """Return the resources whose counts grow, whether that is decided or not."""
    return tuple(
        resource
        for resource in resources.values()
        if any(one.status is not LeakStatus.NO_LEAK for one in decisions_of(resource, observed))
    )


def have_returned(resources: Iterable[Resource], before: Sample, now: Sample) -> bool:
    """Return whether all of these counts are at most what they were in the sample ``before``.

    Where processes have come and gone since, nobody knows.
    """
    return worker_pids(before) == worker_pids(now) and all(
        total(resource, now) <= total(resource, before) for resource in resources
    )


def to_drain(resources: Resources, observed: Observed) -> tuple[Resource, ...]:
    """Return the resources that only more load with another drain can decide."""
    return tuple(
        resource
        for resource in resources.values()
        if (decision := decision_of(resource, observed)) is not None
        and decision.status is LeakStatus.UNDECIDED
        and decision.gone
    )


def to_confirm(resources: Resources, observed: Observed) -> dict[str, int]:
    """Return the checks whose growth a pool could explain, whether they are decided or not.

    Each comes with the requests that show whether it still grows when all pools are full.
    """
    return _to_confirm(resources, observed, alone=False)


def to_confirm_alone(resources: Resources, observed: Observed) -> dict[str, int]:
    """Return the same for counts that grow where requests come one after the other.

    More requests of that kind are needed.
    """
    return _to_confirm(resources, observed, alone=True)


def _to_confirm(resources: Resources, observed: Observed, *, alone: bool) -> dict[str, int]:
    needed = {}
    for check, resource in resources.items():
        decisions = (one for one in decisions_of(resource, observed) if one.alone is alone)
        requests = max(map(requests_to_confirm, decisions), default=0)
        if not alone:
            requests = max(requests, *(one.more for one in when_full(resource, observed)), 0)
        if requests:
            needed[check] = requests
    return needed


def to_settle(resources: Resources, observed: Observed) -> int:
    """Return how many requests to processes that stay decide what grew in some that came and went,
    or what only those show that stay; 0 if nothing is undecided."""
    return max(_to_settle(resources, observed), default=0)


def _to_settle(resources: Resources, observed: Observed) -> Iterator[int]:
    for resource in resources.values():
        yield _to_count(resource, observed)
        for one in decisions_of(resource, observed):
            yield requests_to_settle(one, observed.plan.sensitivity)


def _to_count(resource: Resource, observed: Observed) -> int:
    """Return how many requests are missing in which no process came or ended, for a count that
    tells nothing in others."""
    samples = judged_samples(resource, observed)
    counted = any(resource.by_backend in one.counts for one in samples)
    if not (resource.outlives_process and counted and come_and_go(samples)):
        return 0
    done = sum(one.span for one in backend_counts(samples, resource).series)
    return max(0, requests_to_show(observed.plan.sensitivity or LEAST_SENSITIVITY) - done)


def more_to_decide(resources: Resources, observed: Observed) -> tuple[int, ...]:
    """Return, for each undecided resource, the requests that are likely to decide it."""
    decisions = (decision_of(resource, observed) for resource in resources.values())
    # The requests that are added come at the same time, so they decide nothing about others.
    return tuple(
        one.of_server(one.more)
        for one in decisions
        if one is not None and one.more and not one.gone and not one.alone
    )


def more_to_show(resources: Resources, observed: Observed) -> Iterator[int]:
    """Yield, for each count that does not leak so far, how many requests are missing to show that
    with the sensitivity asked for."""
    sensitivity = observed.plan.sensitivity
    for resource in resources.values():
        for one in decisions_of(resource, observed) if sensitivity else ():
            plain = not (one.alone or one.confirmed_requests or one.drained_requests)
            missing = requests_to_show(sensitivity, one.possible) - one.requests
            if one.status is LeakStatus.NO_LEAK and plain and missing > 0:
                yield one.of_server(missing)
