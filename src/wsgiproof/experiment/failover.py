"""Harm to the deployment, under load: what fails meanwhile, what comes back, what stays behind."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, zip_longest

import msgspec

from wsgiproof.experiment.load import Load, until_full
from wsgiproof.experiment.sampler import Sampler
from wsgiproof.load.response import Response
from wsgiproof.load.target import Target
from wsgiproof.observe.answers import read_answer
from wsgiproof.observe.processes import unique_set_size
from wsgiproof.records import Failed, LoadPlan, Outage, ProcessSample, Role, Sample
from wsgiproof.services.apache import Server
from wsgiproof.services.deployment import Deployment
from wsgiproof.services.faults import Fault, PrimaryWatch, faults, make_primary

_RATE = 100.0
"""Requests a second: enough to have some in flight as a fault comes, and few enough that mongods
which share the machine hold their elections in time."""
_CONNECTIONS = 20
_HELD = 0.05
"""Seconds that each request waits inside, so that all processes get some."""
_LEAD = 0.3
"""Seconds of load before a fault."""
_AFTER = 0.5
"""Seconds of load after all is well again: who has answered once may still fail."""
_LONGER = 2.0
"""Seconds of load beyond the deadline for a recovery: so it is seen that there is none."""
_ELECTION = 20.0
"""Seconds to wait for a primary; the set elects one within some two."""
_SERVER_SELECTION = 30.0
"""PyMongo's default of serverSelectionTimeoutMS: an operation may wait so long for a primary, and
its request is no hang for that."""
_SETTLE_STEP = 0.25
_MEMORY_READINGS = 30
"""Readings of memory while a fault lasts, at most."""
_LEAST_STEP = 0.5
"""Seconds between two of them, at least."""
_MOST_TEXTS = 20
"""Different ways to fail that are kept of one outage."""

_Key = tuple[int, str]
"""A process, and an interpreter of it."""


class Failover:
    """The faults of one server's deployment, one after the other, each with load around it."""

    def __init__(
        self, server: Server, deployment: Deployment, load: Load, sampler: Sampler, plan: LoadPlan
    ) -> None:
        self._server = server
        self._deployment = deployment
        self._load = load
        self._sampler = sampler
        self._plan = plan
        self._baseline: Sample | None = None

    def faults(self) -> tuple[Fault, ...]:
        """What can be done to the deployment."""
        return faults(self._deployment, self._plan.fault_seconds)

    def fill_all_pools(self, fill_pools: Callable[[], None]) -> None:
        """Have each member be primary once, and fill the pools that clients have of it.

        A driver keeps its connections to a primary that has stepped down (since MongoDB 4.2), so
        each new one would look like a leak of a whole pool. One that closes them instead (PyMongo
        before 3.9) has never had all pools full at once: of each member the fullest one counts.
        Raises :class:`ServiceFailed` if no other member becomes primary.
        """
        full: tuple[int, ...] = ()
        for member in self._deployment.members:
            make_primary(member)
            fill_pools()  # a driver that does not try again (PyMongo before 3.9) fails here
            _, by_member = until_full(
                fill_pools,
                lambda: (self._load.answers.failed, self._sampler.counts().by_member),
            )
            full = fullest(full, by_member)
        self._load.expect(self._load.unexpected)
        reading = self._sampler.read(self._load.answers.phase, memory=True)
        self._baseline = msgspec.structs.replace(
            reading, by_member=fullest(full, reading.by_member)
        )

    def outage(self, fault: Fault, fill_pools: Callable[[], None]) -> Outage:
        """Do one harm under load, undo it, and see what has come of it.

        Pools are filled before the reading: connections that have died are replaced when they are
        needed, so fewer of them would tell nothing. Raises :class:`ServiceFailed` if the deployment
        can't be made whole again.
        """
        before = self._baseline or self._sampler.read(self._load.answers.phase, memory=True)
        course = self._course(fault)
        self._load.expect(len(course.failures))
        after, settled = None, None
        if course.recovered() is not None:
            fill_pools()
            after, settled = self._settled(before)
        return _outage(fault, course, before, after, settled)

    def _course(self, fault: Fault) -> _Course:
        """The load around the fault."""
        self._deployment.healthy = False
        with PrimaryWatch(self._deployment.members) as watch, ThreadPoolExecutor(1) as pool:
            course = _Course(self._server, self._load, watch, self._interpreters(), self._plan)
            done = pool.submit(course.go_through, fault)
            try:
                self._load.paced(
                    course.pick,
                    _RATE,
                    course.is_over,
                    course.failed,
                    on_success=course.succeeded,
                    connections=_CONNECTIONS,
                    deadline=self._plan.request_deadline
                    + self._plan.fault_seconds
                    + _SERVER_SELECTION,
                )
            finally:
                course.called_off.set()
            done.result()
        self._deployment.restore()
        return course

    def _interpreters(self) -> dict[_Key, str]:
        """Every one of the living processes that has answered, and what it is called."""
        living = self._server.living()
        return {
            (one.pid, one.token): f"{one.application_group} of pid {one.pid}"
            for one in self._load.answers.identities()
            if living.get(one.pid) is Role.WORKER
        }

    def _settled(self, before: Sample) -> tuple[Sample, float]:
        """A reading as soon as no count is above that of before, and how long that took."""
        phase = self._load.answers.phase
        began = time.monotonic()
        limit = began + self._plan.settle_deadline
        after = self._sampler.read(phase)
        while _more(before, after) and time.monotonic() < limit:
            time.sleep(_SETTLE_STEP)
            after = self._sampler.read(phase)
        seconds = time.monotonic() - began
        # The counts of this very moment: monitors that connect anew open sockets in passing.
        memory = self._sampler.read(phase, memory=True).memory
        return msgspec.structs.replace(after, memory=memory), seconds


def fullest(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """The larger count of each member; unknown (empty) is less than any."""
    return tuple(max(pair) for pair in zip_longest(one, other, fillvalue=0))


def _more(before: Sample, after: Sample) -> bool:
    """Whether any count has grown, or can't be told."""
    then = {one.pid: one for one in before.processes}
    pairs: list[tuple[int | None, int | None]] = [
        *zip(before.by_member, after.by_member, strict=False)
    ]
    if not after.by_member:
        return True
    for now in after.processes:
        earlier = then.get(now.pid)
        if earlier is not None and now.role is Role.WORKER:
            pairs.append((_other_descriptors(earlier), _other_descriptors(now)))
            pairs.append((earlier.threads, now.threads))
    return any(new is None or (old is not None and new > old) for old, new in pairs)


def _other_descriptors(reading: ProcessSample) -> int | None:
    """Those that are no connections to the deployment."""
    if reading.descriptors is None or reading.connections is None:
        return None
    return reading.descriptors - reading.connections


class _Course:
    """The load around one fault: what is asked, what came back, and when it is enough."""

    def __init__(
        self,
        server: Server,
        load: Load,
        watch: PrimaryWatch,
        interpreters: dict[_Key, str],
        plan: LoadPlan,
    ) -> None:
        self._server = server
        self._targets = cycle(load.targets)
        self._commands = load.commands
        self.watch = watch
        self._interpreters = interpreters
        self._patience = plan.recovery_deadline + _LONGER
        self._answered: defaultdict[_Key, list[float]] = defaultdict(list)
        """When each interpreter has answered."""
        self.failures: list[Response] = []
        self.memory: list[tuple[float, int]] = []
        self.requests = 0
        self.slowest = 0.0
        self.began = time.monotonic()
        self.over: float | None = None
        self.called_off = threading.Event()
        self._failed = False
        self._takes_primary = False
        self._harmed: float | None = None

    def go_through(self, fault: Fault) -> None:
        """Do the harm, wait, and undo it; in a thread of its own, beside the load."""
        try:
            if self.called_off.wait(_LEAD):
                return
            self.began = time.monotonic()
            self._takes_primary = fault.takes_primary
            fault.begin()
            self._harmed = time.monotonic()
            if self._outlasts(fault.seconds):
                fault.end()
            self.over = time.monotonic()
        except BaseException:
            self._failed = True
            raise

    def _outlasts(self, seconds: float) -> bool:
        """Read the memory of the workers while the harm lasts; false if all is called off."""
        ends = self.began + seconds
        while (left := ends - time.monotonic()) > 0:
            if self.called_off.wait(min(left, max(_LEAST_STEP, seconds / _MEMORY_READINGS))):
                return False
            pids = {pid for pid, _ in self._interpreters}
            sizes = [unique_set_size(pid) for pid in pids]
            moment = round(time.monotonic() - self.began, 3)
            self.memory.append((moment, sum(size or 0 for size in sizes)))
        return not self.called_off.is_set()

    def pick(self) -> Target:
        """Where the next request goes: to each interpreter in turn."""
        self.requests += 1
        return self._commands.on(next(self._targets), until=time.monotonic() + _HELD)

    def is_over(self) -> bool:
        """Whether all is well again, or will not be."""
        if self._failed or not self._server.alive():
            return True
        again = self.primary_again()
        now = time.monotonic()
        if self.over is None:
            return False
        if again is None:
            return now > self.over + _ELECTION
        recovered = self.recovered()
        if recovered is not None and now > max(recovered, self.over) + _AFTER:
            return True
        return now > max(again, self.over) + self._patience

    def primary_again(self) -> float | None:
        """When there was a primary for good; when the fault began, if it was never lost."""
        if self.watch.lost is not None:
            return self.watch.since
        return self._harmed if self._takes_primary else self.began

    def primary_lost(self) -> float | None:
        """When there was none, for less than can be seen maybe."""
        if self.watch.lost is None and self._takes_primary:
            return self.began
        return self.watch.lost

    def silent(self) -> tuple[str, ...]:
        """The interpreters that have not answered since there was a primary again."""
        return tuple(
            name for key, name in self._interpreters.items() if self._first_answer(key) is None
        )

    def recovered(self) -> float | None:
        """When every interpreter had answered, and nothing failed any more."""
        answers = [self._first_answer(key) for key in self._interpreters]
        told = [one for one in answers if one is not None]
        if len(told) < len(answers) or not told:
            return None
        latest = max(_end(one) for one in self.failures) if self.failures else 0.0
        if latest > (self._latest_answer() or 0.0):
            return None
        return max(*told, latest, self.began)

    def _first_answer(self, key: _Key) -> float | None:
        again = self.primary_again()
        if again is None:
            return None
        return next((one for one in self._answered[key] if one >= again), None)

    def _latest_answer(self) -> float | None:
        return max((one[-1] for one in self._answered.values() if one), default=None)

    def succeeded(self, response: Response) -> None:
        """A request was answered."""
        try:
            answer = read_answer(response.body)
        except msgspec.MsgspecError:
            self.failed(response)
            return
        self._answered[answer.pid, answer.interpreter].append(_end(response))
        self.slowest = max(self.slowest, response.seconds)

    def failed(self, response: Response) -> None:
        """A request came to nothing."""
        self.failures.append(response)


def _end(response: Response) -> float:
    return response.started + response.seconds


def _outage(
    fault: Fault,
    course: _Course,
    before: Sample,
    after: Sample | None,
    settled: float | None,
) -> Outage:
    began = course.began

    def offset(moment: float | None) -> float | None:
        return None if moment is None else round(moment - began, 3)

    return Outage(
        fault=fault.name,
        time=began,
        over=offset(course.over) or 0.0,
        primary_lost=offset(course.primary_lost()),
        primary_again=offset(course.primary_again()),
        recovered=offset(course.recovered()),
        memory=tuple(course.memory),
        silent=course.silent(),
        requests=course.requests,
        failures=_failures(course.failures, began),
        slowest=course.slowest,
        before=before,
        after=after,
        settled=settled,
    )


def _failures(responses: Sequence[Response], began: float) -> tuple[Failed, ...]:
    """By how they failed."""
    alike: defaultdict[tuple[str, int | None, str], list[float]] = defaultdict(list)
    for one in responses:
        alike[one.outcome, one.status, one.error].append(round(_end(one) - began, 3))
    most = sorted(alike.items(), key=lambda item: -len(item[1]))[:_MOST_TEXTS]
    return tuple(
        Failed(
            kind=str(kind),
            status=status,
            error=error,
            count=len(ends),
            first=min(ends),
            last=max(ends),
        )
        for (kind, status, error), ends in most
    )
