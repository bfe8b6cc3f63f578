"""The checks of counted resources, such as connections, descriptors and threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, takewhile

import msgspec

from wsgiproof.judge.finding import Check, Outcome, count, in_words, mebibytes
from wsgiproof.judge.full_pools import decide_full
from wsgiproof.judge.growth import (
    CONFIDENCE,
    LEAST_SAMPLES,
    LEAST_SENSITIVITY,
    CountDecision,
    LeakStatus,
    confirmed,
    decide,
    drained,
    exceeds_pool,
    poisson_limits,
    pool_bound,
    requests_to_confirm,
    requests_to_settle,
    requests_to_show,
    settled,
)
from wsgiproof.judge.resources import (
    Counts,
    Resource,
    Resources,
    all_counts,
    all_processes,
    backend_counts,
    come_and_go,
    growth,
    named_counts,
    process_counts,
    total,
    worker_pids,
    workers,
)
from wsgiproof.judge.series import Series
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import Attribution, Observed, Sample, SocketOrigin
from wsgiproof.records.plan import LoadPlan, PhaseName

_CERTAIN_UNITS = 3
"""Units that the requests to one URL leave behind before that URL is named."""


_MOST_ORIGINS = 4
_MATERIAL_BYTES = 2**20
"""A pass says how much files have grown if it is more than that."""


def counted(resource: Resource) -> Check:
    """Return the check that a resource does not grow."""

    def check(cell: Cell, observed: Observed) -> Outcome:
        outcome = _check(resource, cell, observed)
        note = resource.note(cell) if resource.note and outcome.passed else ""
        if not note:
            return outcome
        return msgspec.structs.replace(outcome, passed=f"{outcome.passed}; {note}")

    check.__doc__ = resource.about
    return check


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
        if any(one.status is not LeakStatus.NO_LEAK for one in _decisions(resource, observed))
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
        decisions = (one for one in _decisions(resource, observed) if one.alone is alone)
        requests = max(map(requests_to_confirm, decisions), default=0)
        if not alone:
            requests = max(requests, *(one.more for one in _when_full(resource, observed)), 0)
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
        for one in _decisions(resource, observed):
            yield requests_to_settle(one, observed.plan.sensitivity)


def _to_count(resource: Resource, observed: Observed) -> int:
    """Return how many requests are missing in which no process came or ended, for a count that
    tells nothing in others."""
    samples = _judged(resource, observed)
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
        for one in _decisions(resource, observed) if sensitivity else ():
            plain = not (one.alone or one.confirmed_requests or one.drained_requests)
            missing = requests_to_show(sensitivity, one.possible) - one.requests
            if one.status is LeakStatus.NO_LEAK and plain and missing > 0:
                yield one.of_server(missing)


def decision_of(resource: Resource, observed: Observed) -> CountDecision | None:
    """Return the decision with the strongest evidence on a resource; None if it has no count."""
    return _worst([*_decisions(resource, observed), *_when_full(resource, observed)])


def _check(resource: Resource, cell: Cell, observed: Observed) -> Outcome:
    if (resource.by_backend or resource.of_backend) and not observed.backend:
        return Outcome(skipped="the cell has no deployment")
    if resource.anonymous and not observed.owned:
        return Outcome(
            skipped=f"the deployment may have other clients, whose {resource.check} look alike"
        )
    if resource.by_backend and _never_connected(observed):
        unused = (
            f"the application never opened a connection to {observed.backend}, so there was "
            "nothing to see"
        )
        return Outcome(skipped=unused) if cell.own_app else Outcome(missing=unused)
    if resource.by_name and not _recorded(resource, observed.samples):
        return Outcome(skipped="the version that recorded this cell did not count them")
    decisions = _decisions(resource, observed)
    full = _when_full(resource, observed)
    worst = _worst([*decisions, *full])
    if worst is not None and worst.status is LeakStatus.LEAK:
        return Outcome(findings=(_finding(resource, worst, observed),))
    gaps = _gaps(resource, observed, decisions)
    if gaps:
        why = resource.uncounted(cell) if resource.uncounted else ""
        return Outcome(missing=why or "; ".join(gaps))
    if worst is None:
        return Outcome(missing=f"no {resource.unit} was ever counted")
    if worst.status is LeakStatus.UNDECIDED:
        assert worst.rate is not None
        return Outcome(
            missing=f"{resource.check} grew by {worst.units}, {worst.rate.describe()}, but "
            f"{worst.doubt}: {_what_decides(worst, observed)}"
        )
    every = [*decisions, *full]
    return Outcome(
        passed=_passed(resource, _worst(decisions) or worst, every, full)
        + _short_of_sensitivity(resource, observed)
        + _notes(resource, worst, observed)
    )


def _never_connected(observed: Observed) -> bool:
    samples = observed.samples
    return bool(samples) and all(sample.connections == 0 for sample in samples)


def _recorded(resource: Resource, samples: Sequence[Sample]) -> bool:
    """Return whether any of the counts by name was read, or there was no time to read one."""
    return not samples or any(name in one.counts for one in samples for name in resource.by_name)


def _what_decides(decision: CountDecision, observed: Observed) -> str:
    if decision.processes and not decision.gone:
        return "processes that live longer would decide (without --min-processes)"
    if not decision.gone:
        return f"about {decision.of_server(decision.more):,} more requests would decide (-n)"
    seconds = observed.plan.drain or observed.plan.cool_down
    return f"a drain of more than {seconds:g} seconds would decide (--drain-seconds)"


def _passed(
    resource: Resource,
    decision: CountDecision,
    every: Sequence[CountDecision],
    full: Sequence[CountDecision],
) -> str:
    """``full`` are those of ``every`` decision that compare the counts with all pools full."""
    # A short load may have enough samples of the serial phase alone.
    mixed = [one for one in every if not one.alone] or every
    bound = 1 / max(one.excluded_rate for one in mixed)
    if decision.drained_requests:
        return (
            f"{resource.check} grew, and {decision.gone:,} of them were gone after a while without "
            f"a request; {count(decision.drained_requests, 'more request')} left none; "
            f"a leak of one in {bound:,.0f} requests would have shown (95 %)"
        )
    alone = max((one.excluded_rate for one in every if one.alone), default=0.0)
    also = f", and one in {1 / alone:,.0f} where each request is alone" if alone else ""
    grown = "did not grow" if not decision.units else f"grew by {decision.units} in all"
    how = "to processes that stayed" if decision.settled else "with all pools full"
    then = f", and by none in {decision.confirmed_requests:,} more {how}"
    more = max((one.units for one in full), default=0)
    again = f"; with all pools full again, there were {more} more" if full else ""
    return (
        f"{resource.check} {grown} in {_requests(decision)}"
        f"{then if decision.confirmed_requests else ''}{again}; a leak of one in "
        f"{bound:,.0f} requests would have shown (95 %){also}"
    )


def _requests(decision: CountDecision) -> str:
    """Return ``804 requests to 31 processes that came and went``."""
    to = ""
    if decision.processes:
        to = f" to {count(decision.processes, 'process', 'processes')} that came and went"
    elif decision.settled:
        to = " to processes that stayed"
    return f"{count(decision.requests, 'request')}{to}"


def _short_of_sensitivity(resource: Resource, observed: Observed) -> str:
    """Return that the load ended before its sensitivity was shown; empty if it was."""
    if not any(more_to_show({resource.check: resource}, observed)):
        return ""
    return f"; that is less than --sensitivity {observed.plan.sensitivity} is to show"


def _notes(resource: Resource, decision: CountDecision, observed: Observed) -> str:
    """Return what a pass accepts, and what it does not cover, as text that begins with ``; ``."""
    notes = []
    if decision.within_limit:
        notes.append(f"{observed.plan.max_files:g} in 100 requests are accepted (--max-files)")
    if resource.limited and (grown := _growth(observed.samples, "bytes")) >= _MATERIAL_BYTES:
        notes.append(f"the files have grown by {mebibytes(grown)}")
    if resource.by_name and (unsure := _unsure(resource, observed.samples)):
        notes.append(f"not counted, since another program may make them: {in_words(unsure)}")
    return "".join(f"; {note}" for note in notes)


def _growth(samples: Sequence[Sample], name: str) -> int:
    values = [value for one in samples if (value := one.counts.get(name)) is not None]
    return values[-1] - values[0] if values else 0


def _unsure(resource: Resource, samples: Sequence[Sample]) -> list[str]:
    """Return the counts that are left out of a sample."""
    return [name for name in resource.by_name if any(name not in one.counts for one in samples)]


def _decisions(resource: Resource, observed: Observed) -> list[CountDecision]:
    """Return the decision by the counts of all processes together, and by those of the backend.

    Another one rests on the requests of the serial phase, in which each is alone in its process. A
    leak that needs that would be diluted by the others. It replaces the one on all requests if all
    of the growth was there.
    """
    found = []
    kinds = zip(
        ("", *(["backend", "abandoned"] if resource.by_backend else []), *resource.by_name),
        all_counts(_judged(resource, observed), resource),
        all_counts(_serial(observed.samples), resource),
        strict=True,
    )
    for name, counts, serial in kinds:
        whole = _decide(resource, observed, name, counts, _judged(resource, observed))
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


def _judged(resource: Resource, observed: Observed) -> Sequence[Sample]:
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
    """Return the decision on the counts of this name in ``samples``; None if these are too few.

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


def _when_full(resource: Resource, observed: Observed) -> list[CountDecision]:
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


def _is_long_enough(series: Series, bound: int) -> bool:
    rounds = sum(len(one.points) - 1 for one in series.lives) or len(series.points) - 1
    return rounds >= LEAST_SAMPLES - 1 or exceeds_pool(series, bound)


def _worst(decisions: Sequence[CountDecision]) -> CountDecision | None:
    order = [LeakStatus.LEAK, LeakStatus.UNDECIDED, LeakStatus.NO_LEAK]
    return min(decisions, key=lambda one: (order.index(one.status), -one.units), default=None)


def _gaps(resource: Resource, observed: Observed, decisions: Sequence[CountDecision]) -> list[str]:
    """Return the evidence that is missing and that a pass would need."""
    every = all_counts(_judged(resource, observed), resource)
    gaps = [gap for counts in every for gap in counts.gaps]
    if not gaps and not decisions:
        gaps.append(
            f"{resource.check} were counted in {count(len(observed.samples), 'sample')}; "
            f"at least {LEAST_SAMPLES} are needed"
        )
    return gaps


def _finding(resource: Resource, decision: CountDecision, observed: Observed) -> Finding:
    assert decision.rate is not None
    attributions = [one for one in observed.attributions if one.check == resource.check]
    return Finding(
        check=resource.check,
        seen=(
            f"{_units(resource, decision)} leaked in "
            f"{_requests(decision)}{_alone(decision)}, {decision.rate.describe()}"
            f"{_still_there(observed)}{_where(attributions)}{_origin(resource, observed)}"
        ),
        meaning=resource.meaning,
        action=resource.action,
        evidence=(
            *_kinds(resource, observed.samples),
            *(
                f"with all pools full: {one.units:+} in {count(one.requests, 'request')}"
                for one in observed.confirmations
                if one.check == resource.check
            ),
            *(
                f"{one.url} alone: {one.units:+} in {count(one.requests, 'request')}"
                for one in attributions
            ),
            *_origins(resource, observed),
            *(one.describe() for one in decision.growing[:4]),
        ),
    )


def _still_there(observed: Observed) -> str:
    """Return for how long there was no request before the units were counted; empty if unknown."""
    seconds = max(
        (
            after.time - before.time
            for before, after in pairwise(observed.samples)
            if before.requests == after.requests
        ),
        default=0.0,
    )
    if not observed.plan.drain or seconds < observed.plan.drain:
        return ""
    return f", still there {seconds:.0f} seconds later"


def _units(resource: Resource, decision: CountDecision) -> str:
    """Return how many units leaked, with the name of the count if the resource has several."""
    unit = resource.by_name.get(decision.growing[0].what, resource.unit)
    return count(decision.units, unit, resource.plurals.get(unit))


def _alone(decision: CountDecision) -> str:
    return " that were alone in their process" if decision.alone else ""


def _where(attributions: Sequence[Attribution]) -> str:
    """Return the URLs, and so the interpreters, whose requests leak, if that is significant.

    A count that grows by itself, without requests, grows during the requests to any URL.
    """
    leaking = [one for one in attributions if one.units > 0]
    if not leaking:
        return ""
    if len(leaking) == len(attributions):
        certain = min(one.units for one in leaking) >= _CERTAIN_UNITS
        return ", in every interpreter" if certain else ""
    requests = sum(one.requests for one in attributions)
    share = sum(one.requests for one in leaking) / requests
    if share ** sum(one.units for one in leaking) > 1 - CONFIDENCE:
        return ""
    return f", by requests to {' and '.join(one.url.rpartition('/')[2] for one in leaking)} alone"


def _origin(resource: Resource, observed: Observed) -> str:
    """Return the innermost call that opened sockets which are still open, most of them."""
    origins = _socket_origins(resource, observed)
    if not origins:
        return ""
    most = max(origins, key=lambda one: one.sockets)
    return (
        f"; sockets that were opened meanwhile and stay open come from {most.stack.split(' < ')[0]}"
    )


def _origins(resource: Resource, observed: Observed) -> Iterator[str]:
    """Yield where sockets were opened that are still open, for the evidence."""
    for one in _socket_origins(resource, observed)[:_MOST_ORIGINS]:
        opened = count(one.sockets, "socket")
        yield f"pid {one.pid} {one.application_group} opened {opened} that stay open: {one.stack}"


def _socket_origins(resource: Resource, observed: Observed) -> Sequence[SocketOrigin]:
    return observed.socket_origins if resource.takes_sockets else ()


def _kinds(resource: Resource, samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return which kinds of descriptors grew, for the evidence."""
    if resource.by_process != "descriptors":
        return ()
    first, last = samples[0], samples[-1]
    growth = _by_kind(last)
    growth.subtract(_by_kind(first))
    more = [f"{kind} {units:+}" for kind, units in growth.most_common() if units > 0]
    return (f"by kind: {', '.join(more)}",) if more else ()


def _by_kind(sample: Sample) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for reading in workers(sample.processes):
        kinds.update(reading.kinds)
    return kinds
