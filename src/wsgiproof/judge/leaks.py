"""The checks of counted resources: connections, descriptors, threads, cursors and sessions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from wsgiproof.cell import Cell, Topology
from wsgiproof.judge.finding import Outcome, count, some
from wsgiproof.judge.growth import (
    LEAST_CHECKPOINTS,
    Decision,
    Growth,
    Series,
    beyond,
    confirmed,
    decide,
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
    """Something that is counted, by the deployment, in each process, or both."""

    check: str
    unit: str
    by_server: str = ""
    """The field of a sample that has the deployment's count."""
    by_process: str = ""
    """The field of a process's reading that has the process's own."""
    outlives: bool = False
    """Whether the deployment goes on counting what a process that has ended had open."""
    nameless: bool = False
    """Whether the deployment can't tell the subject's from those of others."""
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
            action="look for a client or a socket that is made per request, and not closed",
        ),
        Resource(
            check="descriptors",
            unit="descriptor",
            by_process="descriptors",
            meaning="each worker process opens files or sockets that it never closes",
            action="see which kind grows: connections to MongoDB have a check of their own",
        ),
        Resource(
            check="threads",
            unit="thread",
            by_process="threads",
            meaning="threads are started and never end; each MongoClient starts some of its own",
            action="look for a client that is made per request, or an executor that isn't closed",
        ),
        Resource(
            check="cursors",
            unit="cursor",
            by_server="cursors",
            meaning="cursors stay open on the server, which keeps memory and snapshots for each",
            action="read cursors to their end, or close them: 'with collection.find() as cursor:'",
        ),
        Resource(
            check="sessions",
            unit="session",
            by_server="sessions",
            # The first ones that leak come from the pools of the clients, which are full: as many
            # as there are request threads of all interpreters leak unseen.
            outlives=True,
            nameless=True,
            meaning="sessions are begun and not ended, so that no request can use them again; "
            "the server keeps each for 30 minutes",
            action="end sessions: 'with client.start_session() as session:'",
        ),
    )
}
"""Every counted resource by the name of its check."""


def connections(cell: Cell, observed: Observed) -> Outcome:
    """Connections to the deployment, counted by the server and in ``/proc``."""
    return _check(RESOURCES["connections"], cell, observed)


def descriptors(cell: Cell, observed: Observed) -> Outcome:
    """Open descriptors of each worker process."""
    return _check(RESOURCES["descriptors"], cell, observed)


def threads(cell: Cell, observed: Observed) -> Outcome:
    """Threads of each worker process."""
    return _check(RESOURCES["threads"], cell, observed)


def cursors(cell: Cell, observed: Observed) -> Outcome:
    """Open cursors of the subject on the deployment."""
    return _check(RESOURCES["cursors"], cell, observed)


def sessions(cell: Cell, observed: Observed) -> Outcome:
    """Logical sessions on the deployment."""
    return _check(RESOURCES["sessions"], cell, observed)


def certain_leak(samples: Sequence[Sample], interpreters: int, processes: int, threads: int) -> str:
    """What grows beyond any pool, and goes on growing, in one sentence; empty if nothing does.

    Growth of that size needs no more load to be told.
    """
    bound = pool_bound(interpreters, threads)
    for resource in RESOURCES.values():
        for readings, places in (
            (_of_workers(samples, resource), 1),
            (_of_server(samples, resource), processes),
        ):
            for series in readings.series:
                if beyond(series, bound * places):
                    return f"{series.what} grew by {series.units}, and no pool holds as many"
    return ""


def leak_rates(observed: Observed) -> dict[str, float]:
    """The checks that see a leak, each with its units per request."""
    rates = {}
    for check, resource in RESOURCES.items():
        decision = decided(resource, observed)
        if decision is not None and decision.growth is Growth.LEAK and decision.rate:
            rates[check] = decision.rate.value
    return rates


def to_confirm(observed: Observed) -> dict[str, int]:
    """The checks that see growth which a pool could hold, be it sure or in doubt, each with the
    requests that it takes to see whether it goes on with full pools."""
    wanted = {}
    for check, resource in RESOURCES.items():
        requests = max(map(requests_to_confirm, _decisions(resource, observed)), default=0)
        if requests:
            wanted[check] = requests
    return wanted


def more_to_decide(observed: Observed) -> tuple[int, ...]:
    """Requests that are likely to decide each resource that is undecided."""
    decisions = (decided(resource, observed) for resource in RESOURCES.values())
    return tuple(one.more for one in decisions if one is not None and one.more)


def decided(resource: Resource, observed: Observed) -> Decision | None:
    """What the count of a resource came to, by the strongest evidence; None if nobody counted."""
    return _worst(_decisions(resource, observed))


def level(resource: Resource, sample: Sample) -> int:
    """How many units there are in all, by the deployment's count if there is one."""
    if resource.by_server:
        told: int | None = getattr(sample, resource.by_server)
        if told is not None:
            return told
    return sum(
        getattr(reading, resource.by_process) or 0
        for reading in _workers(sample.processes)
        if resource.by_process
    )


class _Readings(msgspec.Struct, frozen=True):
    """The series of one resource, and where readings of it are missing."""

    series: tuple[Series, ...] = ()
    holes: tuple[str, ...] = ()


def _check(resource: Resource, cell: Cell, observed: Observed) -> Outcome:
    if resource.by_server and cell.topology is Topology.NONE:
        return Outcome(skipped="there is no deployment (topology none)")
    if resource.nameless and not observed.owned:
        return Outcome(skipped=f"the deployment may have other users, with {resource.check} alike")
    decisions = _decisions(resource, observed)
    worst = _worst(decisions)
    if worst is not None and worst.growth is Growth.LEAK:
        return Outcome(findings=(_finding(resource, worst, observed),))
    holes = _holes(resource, observed, decisions)
    if holes:
        return Outcome(missing="; ".join(holes))
    if worst is None:
        return Outcome(missing=f"no {resource.unit} was ever counted")
    if worst.growth is Growth.UNDECIDED:
        assert worst.rate is not None
        return Outcome(
            missing=f"{resource.check} grew by {worst.units}, {worst.rate.every()}, but "
            f"{worst.doubt}: about {worst.more:,} more requests would decide (-n)"
        )
    return Outcome(passed=_passed(resource, worst))


def _passed(resource: Resource, decision: Decision) -> str:
    every = 1 / decision.excluded
    told = "did not grow" if not decision.units else f"grew by {decision.units} in all"
    then = f", and by none in {decision.confirmed:,} more with all pools full"
    return (
        f"{resource.check} {told} in {count(decision.requests, 'request')}"
        f"{then if decision.confirmed else ''}: a leak of one in "
        f"{every:,.0f} would have shown (95 %)"
    )


def _decisions(resource: Resource, observed: Observed) -> list[Decision]:
    """By the processes all together, and by the server."""
    processes, threads = observed.workers
    bound, interpreters = pool_bound(len(observed.urls), threads), len(observed.urls)
    decisions = []
    for readings, places in (
        (_of_workers(observed.samples, resource), 1),
        (_of_server(observed.samples, resource), processes),
    ):
        long_enough = [one for one in readings.series if _tells(one, bound * places)]
        if long_enough:
            decisions.append(decide(long_enough, bound * places, interpreters * places))
    for one in observed.confirmations:
        if one.check == resource.check:
            decisions = [confirmed(decision, one.requests, one.units) for decision in decisions]
    return decisions


def _tells(series: Series, bound: int) -> bool:
    return len(series.points) >= LEAST_CHECKPOINTS or beyond(series, bound)


def _worst(decisions: Sequence[Decision]) -> Decision | None:
    order = [Growth.LEAK, Growth.UNDECIDED, Growth.NONE]
    return min(decisions, key=lambda one: (order.index(one.growth), -one.units), default=None)


def _holes(resource: Resource, observed: Observed, decisions: Sequence[Decision]) -> list[str]:
    """Evidence that is not there, and that a pass would need."""
    holes = [
        hole
        for readings in (
            _of_workers(observed.samples, resource),
            _of_server(observed.samples, resource),
        )
        for hole in readings.holes
    ]
    if not holes and not decisions:
        holes.append(
            f"{count(len(observed.samples), 'sample')} tell nothing of {resource.check}; "
            f"at least {LEAST_CHECKPOINTS} are needed"
        )
    return holes


def _of_server(samples: Sequence[Sample], resource: Resource) -> _Readings:
    if not resource.by_server:
        return _Readings()
    points = tuple(
        (sample.requests, value)
        for sample in samples
        if (value := getattr(sample, resource.by_server)) is not None
    )
    told = len(points) == len(samples)
    holes = () if told else (f"the deployment did not tell its {resource.check}",)
    if told and points and resource.outlives:
        points = _without_newcomers(points, samples)
    name = f"the deployment's count of the subject's {resource.check}"
    return _Readings((Series(name, points),) if points else (), holes)


def _without_newcomers(
    points: Sequence[tuple[int, int]], samples: Sequence[Sample]
) -> tuple[tuple[int, int], ...]:
    """The series as if no process had come later: what one has left behind when it ends stays.

    A new one fills its pools in the first third of its time, and at least in its first two rounds.
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


def _of_workers(samples: Sequence[Sample], resource: Resource) -> _Readings:
    """One series for each worker process.

    A process that came later starts with empty pools, and nobody fills them at once: the first
    third of its readings is its warm-up.
    """
    if not resource.by_process:
        return _Readings()
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
        for pid, taken in points.items()
        if (kept := taken if taken[0][0] == begun else taken[max(1, len(taken) // 3) :])
    ]
    holes = (f"{resource.check} of pid {some(list(unread))} could not be read",) if unread else ()
    return _Readings(tuple(series), holes)


def _workers(readings: Iterable[ProcessSample]) -> Iterable[ProcessSample]:
    return (reading for reading in readings if reading.role is Role.WORKER)


def _finding(resource: Resource, decision: Decision, observed: Observed) -> Finding:
    assert decision.rate is not None
    attributions = [one for one in observed.attributions if one.check == resource.check]
    return Finding(
        check=resource.check,
        seen=(
            f"{count(decision.units, resource.unit)} leaked in "
            f"{count(decision.requests, 'request')}, {decision.rate.every()}"
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
            *(one.shown() for one in decision.grew[:4]),
        ),
    )


def _where(attributions: Sequence[Attribution]) -> str:
    """The URL, and so the interpreter, whose requests leak, where the others' do not."""
    leaking = [one for one in attributions if one.units > 0]
    if not leaking or len(leaking) == len(attributions):
        return ", whichever interpreter serves" if leaking else ""
    return f", by requests to {' and '.join(one.url.rpartition('/')[2] for one in leaking)} alone"


def _kinds(resource: Resource, samples: Sequence[Sample]) -> tuple[str, ...]:
    """Which kinds of descriptors there are more of at the end."""
    if resource.by_process != "descriptors":
        return ()
    first, last = samples[0], samples[-1]
    grown = _by_kind(last)
    grown.subtract(_by_kind(first))
    more = [f"{kind} {units:+}" for kind, units in grown.most_common() if units > 0]
    return (f"by kind: {', '.join(more)}",) if more else ()


def _by_kind(sample: Sample) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for reading in _workers(sample.processes):
        kinds.update(reading.kinds)
    return kinds
