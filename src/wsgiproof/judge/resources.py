"""The counted resources, and the series of counts that samples hold of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec

from wsgiproof.judge.finding import count, some
from wsgiproof.judge.series import Series, pooled
from wsgiproof.judge.sockets import abandoned
from wsgiproof.records.cell import Cell
from wsgiproof.records.observed import CONNECTIONS, ProcessSample, Role, Sample


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is counted by the backend, in each process, or both."""

    check: str
    about: str
    """What its check says of a healthy subject."""
    unit: str
    by_backend: str = ""
    """The backend's count of it, by its name in :attr:`Sample.counts`."""
    by_process: str = ""
    """The field of :class:`ProcessSample` with the count of one process."""
    by_name: dict[str, str] = {}
    """Other counts of :attr:`Sample.counts`, each with the name of one unit."""
    plurals: dict[str, str] = {}
    """The plurals of units that do not simply end in ``s``."""
    of_backend: bool = False
    """Whether the counts of ``by_name`` come from the backend."""
    limited: frozenset[str] = frozenset()
    """Those of ``by_name`` that a healthy subject may add to, up to :attr:`LoadPlan.max_files`."""
    outlives_process: bool = False
    """Whether the backend still counts what a process had open that has ended."""
    pooled: bool = False
    """Whether a pool may hold more of it than the load needs, so that it can lose some unseen."""
    anonymous: bool = False
    """Whether the backend can't distinguish the subject's from those of other clients."""
    takes_descriptor: bool = False
    """Whether each unit takes a descriptor of its process."""
    note: Callable[[Cell], str] | None = None
    """Returns what a pass does not cover in a cell; empty if there is nothing to say."""
    uncounted: Callable[[Cell], str] | None = None
    """Returns why the backend of a cell can't count it; empty if it can."""
    meaning: str
    action: str

    @property
    def takes_sockets(self) -> bool:
        """Whether units of it may be sockets of a process."""
        return self.takes_descriptor or self.by_process == "descriptors"


Resources = Mapping[str, Resource]
"""Resources by the names of their checks."""

PROCESS_RESOURCES = (
    Resource(
        check="descriptors",
        about="The open descriptors of each worker process do not grow.",
        unit="descriptor",
        by_process="descriptors",
        pooled=True,
        meaning="worker processes open files or sockets that they never close",
        action="see in the evidence which kind grows; connections to a database have their own "
        "check",
    ),
    Resource(
        check="threads",
        about="The threads of each worker process do not grow.",
        unit="thread",
        by_process="threads",
        meaning="threads are started and never end; a client of a database may start some of its "
        "own",
        action="look for a client that a request makes, or an executor that is not closed",
    ),
)
"""What is counted in each process, whatever the subject is."""
LEFT_OUTSIDE = (
    Resource(
        check="children",
        about="The processes that the workers start do not become more, zombies included.",
        unit="child process",
        by_name={"children": "child process"},
        plurals={"child process": "child processes"},
        meaning="workers start processes that do not end, or that they do not wait for, until "
        "no process can be started",
        action="end each process and wait for it: 'with subprocess.Popen(...) as process:'; "
        "the evidence of the check restart has the names of those that live longer",
    ),
    Resource(
        check="files",
        about="Files, directories, shared memory and semaphores do not become more.",
        unit="file",
        by_name={
            "files": "file",
            "files elsewhere": "file",
            "segments": "shared memory segment",
            "shared files": "file in /dev/shm",
            "semaphores": "set of semaphores",
            "queues": "message queue",
        },
        plurals={
            "file in /dev/shm": "files in /dev/shm",
            "set of semaphores": "sets of semaphores",
        },
        limited=frozenset({"files", "files elsewhere"}),
        meaning="requests leave files or shared memory behind, which stay when the process "
        "ends, until the disk or the memory is full",
        action="remove what a request makes ('with tempfile.TemporaryDirectory():'); if it is "
        "meant to stay, accept it with --max-files",
    ),
)
"""What any subject may leave outside its processes."""


def total(resource: Resource, sample: Sample) -> int:
    """Return the units in all processes, by the backend's count if there is one."""
    by_backend = sample.counts.get(resource.by_backend)
    if by_backend is not None:
        return by_backend
    if resource.by_name:
        return sum(sample.counts.get(name) or 0 for name in resource.by_name)
    return sum(
        getattr(reading, resource.by_process) or 0
        for reading in workers(sample.processes)
        if resource.by_process
    )


def growth(resource: Resource, samples: Sequence[Sample]) -> tuple[int, int]:
    """Return the requests from the first of these samples to the last, and the units by which the
    resource grew in them.

    Where processes come and go, both are those of the processes that can be compared with
    themselves.
    """
    first, last = samples[0], samples[-1]
    if resource.by_name or not _vary(samples):
        return last.requests - first.requests, total(resource, last) - total(resource, first)
    if resource.by_process:
        series = _of_lives(samples, resource).series
    else:
        points = _points(samples, resource.by_backend)
        whole = len(points) == len(samples)
        series = (Series(resource.check, _without_changes(points, samples)),) if whole else ()
    return sum(one.span for one in series), sum(one.gained for one in series)


class Counts(msgspec.Struct, frozen=True):
    """The series of one resource, and which counts of it are missing."""

    series: tuple[Series, ...] = ()
    gaps: tuple[str, ...] = ()


def all_counts(samples: Sequence[Sample], resource: Resource) -> tuple[Counts, ...]:
    """Return the counts of the processes, those of the backend if there are any, those by name."""
    return (
        process_counts(samples, resource),
        *(
            [backend_counts(samples, resource), abandoned_counts(samples, resource)]
            if resource.by_backend
            else []
        ),
        *(named_counts(samples, name) for name in resource.by_name),
    )


def process_counts(samples: Sequence[Sample], resource: Resource) -> Counts:
    """Return one series for each worker process, or one of all if they come and go.

    In a record that does not say which samples of a process can be compared, the first third of
    those of a process that starts later is its warm-up: the load fills its pools only gradually.
    """
    if not resource.by_process:
        return Counts()
    if come_and_go(samples):
        return _of_lives(samples, resource)
    points: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    unread: dict[int, None] = {}
    for sample in samples:
        for reading in workers(sample.processes):
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
    return Counts(tuple(series), gaps)


def _of_lives(samples: Sequence[Sample], resource: Resource) -> Counts:
    """Return one series of all workers, from the samples in which each can be compared."""
    points: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    unread: dict[int, None] = {}
    for sample in samples:
        for reading in workers(sample.processes):
            value = getattr(reading, resource.by_process)
            if reading.comparable and value is None:
                unread[reading.pid] = None
            elif reading.comparable:
                points[reading.pid].append((reading.requests or 0, value))
    lives = [Series(f"pid {pid}", tuple(kept)) for pid, kept in points.items()]
    series = pooled(f"{resource.check} of workers that came and went", lives)
    gaps = [f"{resource.check} of pid {some(list(unread))} could not be read"] if unread else []
    if not series.span:
        gaps.append(f"no worker served requests from one count of its {resource.check} to another")
    return Counts((series,) if series.span else (), tuple(gaps))


def backend_counts(samples: Sequence[Sample], resource: Resource) -> Counts:
    """Return the series of the backend's count; none if it counts no such resource.

    Where workers come and go, none either if it falls and rises with them: then it is their own
    counts that tell.
    """
    varying = come_and_go(samples)
    if not resource.by_backend or (varying and resource.by_process):
        return Counts()
    points = _points(samples, resource.by_backend)
    complete = len(points) == len(samples)
    uncounted = len(samples) - len(points)
    gaps = (
        f"the deployment did not report its {resource.check} in {uncounted} of "
        f"{count(len(samples), 'sample')}",
    )
    if complete and points and resource.outlives_process:
        without = _without_changes if varying else _without_new_processes
        points = without(points, samples)
    if varying and len(points) < 2:
        gaps, complete = (f"no {resource.unit} was counted while the workers stayed",), False
    name = f"the deployment's count of the subject's {resource.check}"
    return Counts((Series(name, points),) if points else (), () if complete else gaps)


def _points(samples: Sequence[Sample], name: str) -> tuple[tuple[int, int], ...]:
    return tuple(
        (sample.requests, value)
        for sample in samples
        if (value := sample.counts.get(name)) is not None
    )


def abandoned_counts(samples: Sequence[Sample], resource: Resource) -> Counts:
    """Return the series of sockets to the backend that the backend does not have.

    What a pool holds does not hide it, since the backend counts that, too.
    """
    if resource.by_backend != CONNECTIONS or come_and_go(samples):
        return Counts()
    points = [(one.requests, abandoned(one)) for one in samples]
    known = tuple((requests, value) for requests, value in points if value is not None)
    if len(known) < len(points) or not points:
        return Counts()
    return Counts((Series("sockets to the deployment that it does not have", known),))


def named_counts(samples: Sequence[Sample], name: str) -> Counts:
    """Return the series of one of :attr:`Sample.counts`; none if a sample does not have it."""
    if not samples or any(name not in sample.counts for sample in samples):
        return Counts()
    points = tuple(
        (sample.requests, value) for sample in samples if (value := sample.counts[name]) is not None
    )
    uncounted = len(samples) - len(points)
    gap = f"{name} could not be counted in {uncounted} of {count(len(samples), 'sample')}"
    return Counts((Series(name, points),) if points else (), (gap,) if uncounted else ())


def all_processes(samples: Sequence[Sample], resource: Resource) -> Counts:
    """Return one series of all worker processes together."""
    if not resource.by_process:
        return Counts()
    points = []
    for sample in samples:
        values = [getattr(one, resource.by_process) for one in workers(sample.processes)]
        if None not in values:
            points.append((sample.requests, sum(values)))
    return Counts((Series(f"{resource.check} of the workers", tuple(points)),))


def _without_new_processes(
    points: Sequence[tuple[int, int]], samples: Sequence[Sample]
) -> tuple[tuple[int, int], ...]:
    """Return the series without what new processes add, since the count keeps it when they end.

    A new process fills its pools in the first third of its samples, and at least in its first two.
    """
    present: defaultdict[int, list[int]] = defaultdict(list)
    for number, one in enumerate(samples):
        for reading in workers(one.processes):
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


def _without_changes(
    points: Sequence[tuple[int, int]], samples: Sequence[Sample]
) -> tuple[tuple[int, int], ...]:
    """Return the series of the rounds in which no worker came, filled its pools, or ended."""
    kept = [(0, 0)]
    for (before, after), ((earlier, least), (later, most)) in zip(
        pairwise(samples), pairwise(points), strict=True
    ):
        if _all_stayed(before, after):
            kept.append((kept[-1][0] + later - earlier, kept[-1][1] + most - least))
    return tuple(kept)


def _all_stayed(before: Sample, after: Sample) -> bool:
    """Return whether the same workers answered all requests between two samples, with full pools.

    One that started and ended in between answered what these did not.
    """
    served = sum(one.requests or 0 for one in workers(after.processes))
    served -= sum(one.requests or 0 for one in workers(before.processes))
    return (
        worker_pids(before) == worker_pids(after)
        and all(one.comparable for one in workers((*before.processes, *after.processes)))
        and served == after.requests - before.requests
    )


def _vary(samples: Sequence[Sample]) -> bool:
    """Return whether workers start, fill their pools or end between these samples."""
    readings = {
        (one.pid, one.comparable) for sample in samples for one in workers(sample.processes)
    }
    return come_and_go(samples) or len(readings) > len({pid for pid, _ in readings})


def come_and_go(samples: Sequence[Sample]) -> bool:
    """Return whether workers start or end between these samples, of which each says how many
    requests it has answered."""
    return len({worker_pids(one) for one in samples}) > 1 and all(
        one.requests is not None for sample in samples for one in workers(sample.processes)
    )


def workers(readings: Iterable[ProcessSample]) -> Iterable[ProcessSample]:
    return (reading for reading in readings if reading.role is Role.WORKER)


def worker_pids(sample: Sample) -> frozenset[int]:
    return frozenset(one.pid for one in workers(sample.processes))
