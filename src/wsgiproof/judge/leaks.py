"""The checks of counted resources: connections, descriptors, threads, cursors and sessions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from wsgiproof.cell import Cell, Topology
from wsgiproof.judge.finding import Outcome, count, some
from wsgiproof.judge.growth import (
    LEAST_SAMPLES,
    CountDecision,
    LeakStatus,
    Series,
    confirmed,
    decide,
    exceeds_pool,
    pool_bound,
    requests_to_confirm,
)
from wsgiproof.records import (
    Attribution,
    Finding,
    Observed,
    ProcessSample,
    Role,
    Sample,
)


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is counted by the deployment, in each process, or both."""

    check: str
    unit: str
    by_server: str = ""
    """The field of :class:`Sample` with the deployment's count."""
    by_process: str = ""
    """The field of :class:`ProcessSample` with the count of one process."""
    outlives_process: bool = False
    """Whether the deployment still counts what a process had open that has ended."""
    anonymous: bool = False
    """Whether the deployment can't distinguish the subject's from those of other clients."""
    meaning: str
    action: str


RESOURCES = {
    resource.check: resource
    for resource in (
        Resource(
            check="connections",
            unit="connection",
            by_server="server_connections",
            by_process="connections",
            meaning="connections to MongoDB are opened and never closed, until descriptors run out",
            action="look for a client or a socket that each request opens and does not close",
        ),
        Resource(
            check="descriptors",
            unit="descriptor",
            by_process="descriptors",
            meaning="worker processes open files or sockets that they never close",
            action="see in the evidence which kind grows; connections to MongoDB have their own "
            "check",
        ),
        Resource(
            check="threads",
            unit="thread",
            by_process="threads",
            meaning="threads are started and never end; each MongoClient starts some of its own",
            action="look for a client that each request makes, or an executor that is not closed",
        ),
        Resource(
            check="cursors",
            unit="cursor",
            by_server="cursors",
            meaning="cursors stay open on the server, which keeps memory and a snapshot for each",
            action="read cursors to their end, or close them: 'with collection.find() as cursor:'",
        ),
        Resource(
            check="sessions",
            unit="session",
            by_server="sessions",
            # The first sessions that leak come from the clients' full pools, so one for each
            # request thread of each interpreter leaks before the count grows.
            outlives_process=True,
            anonymous=True,
            meaning="sessions are started and not ended, so no request can reuse them; the server "
            "keeps each for 30 minutes",
            action="end sessions: 'with client.start_session() as session:'",
        ),
    )
}
"""Every counted resource by the name of its check."""


def connections(cell: Cell, observed: Observed) -> Outcome:
    """Connections to the deployment do not grow, counted by it and in ``/proc``."""
    outcome = _check(RESOURCES["connections"], cell, observed)
    if cell.has_app_name or not outcome.passed:
        return outcome
    note = f"counted from /proc alone: PyMongo {cell.pymongo} has no appName"
    return msgspec.structs.replace(outcome, passed=f"{outcome.passed}; {note}")


def descriptors(cell: Cell, observed: Observed) -> Outcome:
    """The open descriptors of each worker process do not grow."""
    return _check(RESOURCES["descriptors"], cell, observed)


def threads(cell: Cell, observed: Observed) -> Outcome:
    """The threads of each worker process do not grow."""
    return _check(RESOURCES["threads"], cell, observed)


def cursors(cell: Cell, observed: Observed) -> Outcome:
    """The subject's open cursors on the deployment do not grow."""
    return _check(RESOURCES["cursors"], cell, observed)


def sessions(cell: Cell, observed: Observed) -> Outcome:
    """The logical sessions on the deployment do not grow."""
    return _check(RESOURCES["sessions"], cell, observed)


def certain_leak(samples: Sequence[Sample], interpreters: int, processes: int, threads: int) -> str:
    """Return what grows by more than any pool holds, as a sentence; empty if nothing does.

    Growth of that size is certain without any more load.
    """
    bound = pool_bound(interpreters, threads)
    for resource in RESOURCES.values():
        for counts, places in (
            (_process_counts(samples, resource), 1),
            (_server_counts(samples, resource), processes),
        ):
            for series in counts.series:
                if exceeds_pool(series, bound * places):
                    return f"{series.what} grew by {series.units}, more than any pool holds"
    return ""


def leak_rates(observed: Observed) -> dict[str, float]:
    """Return the checks that found a leak, each with its units per request."""
    rates = {}
    for check, resource in RESOURCES.items():
        decision = decision_of(resource, observed)
        if decision is not None and decision.status is LeakStatus.LEAK and decision.rate:
            rates[check] = decision.rate.value
    return rates


def to_confirm(observed: Observed) -> dict[str, int]:
    """Return the checks whose growth a pool could explain, whether they are decided or not.

    Each comes with the requests that show whether it still grows when all pools are full.
    """
    needed = {}
    for check, resource in RESOURCES.items():
        requests = max(map(requests_to_confirm, _decisions(resource, observed)), default=0)
        if requests:
            needed[check] = requests
    return needed


def more_to_decide(observed: Observed) -> tuple[int, ...]:
    """Return, for each undecided resource, the requests that are likely to decide it."""
    decisions = (decision_of(resource, observed) for resource in RESOURCES.values())
    return tuple(one.more for one in decisions if one is not None and one.more)


def decision_of(resource: Resource, observed: Observed) -> CountDecision | None:
    """Return the decision with the strongest evidence on a resource; None if it has no count."""
    return _worst(_decisions(resource, observed))


def total(resource: Resource, sample: Sample) -> int:
    """Return the units in all processes, by the deployment's count if there is one."""
    if resource.by_server:
        on_server: int | None = getattr(sample, resource.by_server)
        if on_server is not None:
            return on_server
    return sum(
        getattr(reading, resource.by_process) or 0
        for reading in _workers(sample.processes)
        if resource.by_process
    )


class _Counts(msgspec.Struct, frozen=True):
    """The series of one resource, and which counts of it are missing."""

    series: tuple[Series, ...] = ()
    gaps: tuple[str, ...] = ()


def _check(resource: Resource, cell: Cell, observed: Observed) -> Outcome:
    if resource.by_server and cell.topology is Topology.NONE:
        return Outcome(skipped="there is no deployment (topology none)")
    if resource.anonymous and not observed.owned:
        return Outcome(
            skipped=f"the deployment may have other clients, whose {resource.check} look alike"
        )
    decisions = _decisions(resource, observed)
    worst = _worst(decisions)
    if worst is not None and worst.status is LeakStatus.LEAK:
        return Outcome(findings=(_finding(resource, worst, observed),))
    gaps = _gaps(resource, observed, decisions)
    if gaps:
        return Outcome(missing="; ".join(gaps))
    if worst is None:
        return Outcome(missing=f"no {resource.unit} was ever counted")
    if worst.status is LeakStatus.UNDECIDED:
        assert worst.rate is not None
        return Outcome(
            missing=f"{resource.check} grew by {worst.units}, {worst.rate.describe()}, but "
            f"{worst.doubt}: about {worst.more:,} more requests would decide (-n)"
        )
    return Outcome(passed=_passed(resource, worst))


def _passed(resource: Resource, decision: CountDecision) -> str:
    every = 1 / decision.excluded_rate
    growth = "did not grow" if not decision.units else f"grew by {decision.units} in all"
    then = f", and by none in {decision.confirmed_requests:,} more with all pools full"
    return (
        f"{resource.check} {growth} in {count(decision.requests, 'request')}"
        f"{then if decision.confirmed_requests else ''}; a leak of one in "
        f"{every:,.0f} requests would have shown (95 %)"
    )


def _decisions(resource: Resource, observed: Observed) -> list[CountDecision]:
    """Return the decision by the counts of all processes together, and by those of the server."""
    processes, threads = observed.workers
    bound, interpreters = pool_bound(len(observed.urls), threads), len(observed.urls)
    decisions = []
    for counts, places in (
        (_process_counts(observed.samples, resource), 1),
        (_server_counts(observed.samples, resource), processes),
    ):
        long_enough = [one for one in counts.series if _is_long_enough(one, bound * places)]
        if long_enough:
            decisions.append(decide(long_enough, bound * places, interpreters * places))
    for one in observed.confirmations:
        if one.check == resource.check:
            decisions = [confirmed(decision, one.requests, one.units) for decision in decisions]
    return decisions


def _is_long_enough(series: Series, bound: int) -> bool:
    return len(series.points) >= LEAST_SAMPLES or exceeds_pool(series, bound)


def _worst(decisions: Sequence[CountDecision]) -> CountDecision | None:
    order = [LeakStatus.LEAK, LeakStatus.UNDECIDED, LeakStatus.NO_LEAK]
    return min(decisions, key=lambda one: (order.index(one.status), -one.units), default=None)


def _gaps(resource: Resource, observed: Observed, decisions: Sequence[CountDecision]) -> list[str]:
    """Return the evidence that is missing and that a pass would need."""
    gaps = [
        gap
        for counts in (
            _process_counts(observed.samples, resource),
            _server_counts(observed.samples, resource),
        )
        for gap in counts.gaps
    ]
    if not gaps and not decisions:
        gaps.append(
            f"{resource.check} were counted in {count(len(observed.samples), 'sample')}; "
            f"at least {LEAST_SAMPLES} are needed"
        )
    return gaps


def _server_counts(samples: Sequence[Sample], resource: Resource) -> _Counts:
    if not resource.by_server:
        return _Counts()
    points = tuple(
        (sample.requests, value)
        for sample in samples
        if (value := getattr(sample, resource.by_server)) is not None
    )
    complete = len(points) == len(samples)
    uncounted = len(samples) - len(points)
    gaps = (
        f"the deployment did not report its {resource.check} in {uncounted} of "
        f"{count(len(samples), 'sample')}",
    )
    if complete and points and resource.outlives_process:
        points = _without_new_processes(points, samples)
    name = f"the deployment's count of the subject's {resource.check}"
    return _Counts((Series(name, points),) if points else (), () if complete else gaps)


def _without_new_processes(
    points: Sequence[tuple[int, int]], samples: Sequence[Sample]
) -> tuple[tuple[int, int], ...]:
    """Return the series without what new processes add, since the count keeps it when they end.

    A new process fills its pools in the first third of its samples, and at least in its first two.
    """
    present: defaultdict[int, list[int]] = defaultdict(list)
    for number, one in enumerate(samples):
        for reading in _workers(one.processes):
            present[reading.pid].append(number)
    filling = {
        number
        for numbers in present.values()
        if numbers[0] > 0
        for number in numbers[: max(2, len(numbers) // 3)]
    }
    kept, removed = [points[0]], 0
    for number, (requests, value) in enumerate(points[1:], 1):
        if number in filling:
            removed = value - kept[-1][1]
        kept.append((requests, value - removed))
    return tuple(kept)


def _process_counts(samples: Sequence[Sample], resource: Resource) -> _Counts:
    """Return one series for each worker process.

    A process that starts later has empty pools, which the load fills only gradually, so the first
    third of its samples is its warm-up.
    """
    if not resource.by_process:
        return _Counts()
    points: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    unread: dict[int, None] = {}
    for sample in samples:
        for reading in _workers(sample.processes):
            value = getattr(reading, resource.by_process)
            if value is None:
                unread[reading.pid] = None
            else:
                points[reading.pid].append((sample.requests, value))
    begun = samples[0].requests if samples else 0
    series = [
        Series(f"{resource.check} of pid {pid}", tuple(kept))
        for pid, all_points in points.items()
        if (
            kept := all_points
            if all_points[0][0] == begun
            else all_points[max(1, len(all_points) // 3) :]
        )
    ]
    gaps = (f"{resource.check} of pid {some(list(unread))} could not be read",) if unread else ()
    return _Counts(tuple(series), gaps)


def _workers(readings: Iterable[ProcessSample]) -> Iterable[ProcessSample]:
    return (reading for reading in readings if reading.role is Role.WORKER)


def _finding(resource: Resource, decision: CountDecision, observed: Observed) -> Finding:
    assert decision.rate is not None
    attributions = [one for one in observed.attributions if one.check == resource.check]
    return Finding(
        check=resource.check,
        seen=(
            f"{count(decision.units, resource.unit)} leaked in "
            f"{count(decision.requests, 'request')}, {decision.rate.describe()}"
            f"{_where(attributions)}"
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
            *(one.describe() for one in decision.growing[:4]),
        ),
    )


def _where(attributions: Sequence[Attribution]) -> str:
    """Return the URLs, and so the interpreters, whose requests leak, if others do not."""
    leaking = [one for one in attributions if one.units > 0]
    if not leaking or len(leaking) == len(attributions):
        return ", in every interpreter" if leaking else ""
    return f", by requests to {' and '.join(one.url.rpartition('/')[2] for one in leaking)} alone"


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
    for reading in _workers(sample.processes):
        kinds.update(reading.kinds)
    return kinds
