"""The phase ``failover``: faults of the backend under load, and what they leave behind."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import msgspec

from wsgiproof.experiment.load import until_full
from wsgiproof.experiment.pools import fill_pools
from wsgiproof.experiment.state import State
from wsgiproof.judge.sockets import abandoned
from wsgiproof.load.response import Response
from wsgiproof.load.target import Target
from wsgiproof.observe.answers import AgentReport
from wsgiproof.observe.processes import anonymous_memory
from wsgiproof.records.observed import (
    FailureGroup,
    Outage,
    ProcessSample,
    Role,
    Sample,
    of_members,
)
from wsgiproof.subjects.backend import Fault, Watch

_RATE = 100.0
"""Requests per second: enough that some are in flight when a fault begins, and few enough that the
members on the same machine elect a primary in time."""
_CONNECTIONS = 20
_HELD = 0.05
"""Seconds that each request waits inside, so that every process gets some."""
_LEAD = 0.3
"""Seconds of load before a fault."""
_AFTER = 0.5
"""Seconds of load after the recovery: an interpreter that has answered once may still fail."""
_LONGER = 2.0
"""Seconds of load beyond the recovery deadline, so that a missed deadline shows."""
_ELECTION = 20.0
"""Seconds to wait for a primary."""
_SERVER_SELECTION = 30.0
"""A driver may wait this long for a primary, so its request does not count as hung before."""
_SETTLE_STEP = 0.25
_MEMORY_READINGS = 30
"""Memory samples during a fault, at most."""
_LEAST_STEP = 0.5
"""Seconds between two of them, at least."""
_MOST_TEXTS = 20
"""Different failures that are kept for one outage."""

Members = dict[str, int | None]
"""The connections on each member of the backend, by the names of the counts."""
_Key = tuple[int, str]
"""The pid of a process, and the token of one of its interpreters."""


def fail_over(state: State) -> None:
    """Inject each fault that the backend allows, until the server does not recover from one.

    After a leak was found there are no faults: it would continue in each of them.
    """
    if state.aborted or state.decided_early:
        return
    faults = state.backend.faults(state.plan.fault_seconds)
    if not faults:
        return
    baseline = _fill_all_pools(state)
    for done, fault in enumerate(faults):
        state.progress(done, len(faults))
        state.outages.append(_outage(state, fault, baseline))
        state.log.read(state.phase)
        if state.outages[-1].recovered is None:
            state.aborted = f"requests were not answered again after '{fault.name}'"
            return


def _fill_all_pools(state: State) -> Sample:
    """Make each member primary once, fill the clients' pools for it, and return the baseline.

    A driver may keep its connections to a primary that has stepped down, so without this each new
    primary would look like a leak of a whole pool. Another one closes them, so its pools are never
    all full at once; the largest count of each member is its baseline. Raises
    :class:`ServiceFailed` if no other member becomes primary.
    """

    def fill() -> None:
        fill_pools(state)

    full: Members = {}
    for _ in state.backend.rotate():
        fill()  # a driver that does not retry fails here
        _, counts = until_full(fill, lambda: (state.load.answers.failed, state.sampler.pools()))
        full = fullest(full, of_members(counts))
    state.load.expect(state.load.unexpected)
    sample = state.sampler.read(state.phase, memory=True)
    full = fullest(full, of_members(sample.counts))
    return msgspec.structs.replace(sample, counts={**sample.counts, **full})


def _outage(state: State, fault: Fault, before: Sample) -> Outage:
    """Inject one fault under load, undo it, and measure the recovery.

    Pools are filled before the sample: dead connections are replaced only when they are needed, so
    a lower count would prove nothing. Raises :class:`ServiceFailed` if the backend can't be
    restored.
    """
    load = _load_around(state, fault)
    state.load.expect(len(load.failures))
    after, settled = None, None
    if load.recovered() is not None:
        fill_pools(state)
        after, settled = _settled(state, before)
    return load.outage(fault, before, after, settled)


def _load_around(state: State, fault: Fault) -> _OutageLoad:
    """Inject the fault under load, undo it, and restore the backend."""
    state.backend.healthy = False
    with state.backend.watch() as watch, ThreadPoolExecutor(1) as pool:
        load = _OutageLoad(state, watch)
        done = pool.submit(load.inject, fault)
        try:
            state.load.paced(
                load.pick,
                _RATE,
                load.is_over,
                load.failed,
                on_success=load.succeeded,
                connections=_CONNECTIONS,
                deadline=state.plan.request_deadline + state.plan.fault_seconds + _SERVER_SELECTION,
            )
        finally:
            load.cancelled.set()
        done.result()
    state.backend.restore()
    return load


def _interpreters(state: State) -> dict[_Key, str]:
    """Return the name of each interpreter of a living process that has answered."""
    living = state.server.living()
    return {
        (one.pid, one.token): f"{one.application_group} of pid {one.pid}"
        for one in state.load.answers.identities()
        if living.get(one.pid) is Role.WORKER
    }


def _settled(state: State, before: Sample) -> tuple[Sample, float]:
    """Wait until no count is above that of before; return a sample, and the seconds it took.

    Meanwhile there are requests if a process has sockets that the backend has closed: a pool may
    notice that only when it uses them.
    """
    began = time.monotonic()
    limit = began + state.plan.settle_deadline
    after = state.sampler.read(state.phase)
    while _more(before, after) and time.monotonic() < limit:
        time.sleep(_SETTLE_STEP)
        if abandoned(after):
            fill_pools(state)
        after = state.sampler.read(state.phase)
    seconds = time.monotonic() - began
    # Memory takes more requests, so the counts stay those that ended the wait: monitors that
    # reconnect open sockets for a moment.
    memory = state.sampler.read(state.phase, memory=True).memory
    return msgspec.structs.replace(after, memory=memory), seconds


def fullest(one: Members, other: Members) -> Members:
    """Return the larger count of each member; unknown is less than any."""
    return {
        name: max(
            (count for count in (one.get(name), other.get(name)) if count is not None), default=None
        )
        for name in one.keys() | other.keys()
    }


def _more(before: Sample, after: Sample) -> bool:
    """Return whether any count has grown, or is unknown."""
    then = {one.pid: one for one in before.processes}
    on_members = of_members(after.counts)
    pairs: list[tuple[int | None, int | None]] = [
        *((count, on_members.get(name)) for name, count in of_members(before.counts).items()),
        (abandoned(before), abandoned(after)),
    ]
    if not on_members:
        return True
    for now in after.processes:
        earlier = then.get(now.pid)
        if earlier is not None and now.role is Role.WORKER:
            pairs.append((_other_descriptors(earlier), _other_descriptors(now)))
            pairs.append((earlier.threads, now.threads))
    return any(new is None or (old is not None and new > old) for old, new in pairs)


def _other_descriptors(sample: ProcessSample) -> int | None:
    """Return the descriptors that are not connections to the backend."""
    if sample.descriptors is None or sample.connections is None:
        return None
    return sample.descriptors - sample.connections


class _OutageLoad:
    """The load around one fault: its requests, their results, and when it ends."""

    def __init__(self, state: State, watch: Watch) -> None:
        self._server = state.server
        self._targets = cycle(state.load.targets)
        self._commands = state.load.commands
        self.watch = watch
        self._interpreters = _interpreters(state)
        self._patience = state.plan.recovery_deadline + _LONGER
        self._answered: defaultdict[_Key, list[float]] = defaultdict(list)
        """The times at which each interpreter answered."""
        self.failures: list[Response] = []
        self.memory: list[tuple[float, int]] = []
        self.requests = 0
        self.slowest = 0.0
        self.began = time.monotonic()
        self.over: float | None = None
        self.cancelled = threading.Event()
        self._failed = False
        self._takes_primary = False
        self._harmed: float | None = None

    def inject(self, fault: Fault) -> None:
        """Begin the fault, wait, and undo it. Runs in a thread beside the load."""
        try:
            if self.cancelled.wait(_LEAD):
                return
            self.began = time.monotonic()
            self._takes_primary = fault.takes_primary
            fault.begin()
            self._harmed = time.monotonic()
            if self._wait(fault.seconds):
                fault.end()
            self.over = time.monotonic()
        except BaseException:
            self._failed = True
            raise

    def _wait(self, seconds: float) -> bool:
        """Read the workers' memory while the fault lasts; return False if it is cancelled."""
        ends = self.began + seconds
        while (left := ends - time.monotonic()) > 0:
            if self.cancelled.wait(min(left, max(_LEAST_STEP, seconds / _MEMORY_READINGS))):
                return False
            pids = {pid for pid, _ in self._interpreters}
            sizes = [anonymous_memory(pid) for pid in pids]
            moment = round(time.monotonic() - self.began, 3)
            self.memory.append((moment, sum(size or 0 for size in sizes)))
        return not self.cancelled.is_set()

    def pick(self) -> Target:
        """Return the next request, which goes to each interpreter in turn."""
        self.requests += 1
        return self._commands.on(next(self._targets), until=time.monotonic() + _HELD)

    def is_over(self) -> bool:
        """Return whether every interpreter has recovered, or has missed its deadline."""
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
        """Return when there was a lasting primary; the start of the fault if it was never lost."""
        if self.watch.lost is not None:
            return self.watch.since
        return self._harmed if self._takes_primary else self.began

    def primary_lost(self) -> float | None:
        """Return when the primary was lost, perhaps for too short a time to be observed."""
        if self.watch.lost is None and self._takes_primary:
            return self.began
        return self.watch.lost

    def silent(self) -> tuple[str, ...]:
        """Return the interpreters that have not answered since there was a primary again."""
        return tuple(
            name for key, name in self._interpreters.items() if self._first_answer(key) is None
        )

    def recovered(self) -> float | None:
        """Return when every interpreter had answered and no request failed any more."""
        answers = [self._first_answer(key) for key in self._interpreters]
        times = [one for one in answers if one is not None]
        if len(times) < len(answers) or not times:
            return None
        latest = max(_end(one) for one in self.failures) if self.failures else 0.0
        if latest > (self._latest_answer() or 0.0):
            return None
        return max(*times, latest, self.began)

    def _first_answer(self, key: _Key) -> float | None:
        again = self.primary_again()
        if again is None:
            return None
        return next((one for one in self._answered[key] if one >= again), None)

    def _latest_answer(self) -> float | None:
        return max((one[-1] for one in self._answered.values() if one), default=None)

    def succeeded(self, response: Response, report: AgentReport) -> None:
        """A request was answered."""
        self._answered[report.pid, report.token].append(_end(response))
        self.slowest = max(self.slowest, response.seconds)

    def failed(self, response: Response) -> None:
        """A request failed."""
        self.failures.append(response)

    def outage(
        self, fault: Fault, before: Sample, after: Sample | None, settled: float | None
    ) -> Outage:
        """Return what was measured, in seconds from the start of the fault."""

        def offset(moment: float | None) -> float | None:
            return None if moment is None else round(moment - self.began, 3)

        return Outage(
            fault=fault.name,
            time=self.began,
            over=offset(self.over) or 0.0,
            primary_lost=offset(self.primary_lost()),
            primary_again=offset(self.primary_again()),
            recovered=offset(self.recovered()),
            memory=tuple(self.memory),
            silent=self.silent(),
            requests=self.requests,
            failures=_failures(self.failures, self.began),
            slowest=self.slowest,
            before=before,
            after=after,
            settled=settled,
        )


def _end(response: Response) -> float:
    return response.started + response.seconds


def _failures(responses: Sequence[Response], began: float) -> tuple[FailureGroup, ...]:
    """Group failed requests by the way in which they failed."""
    alike: defaultdict[tuple[str, int | None, str], list[float]] = defaultdict(list)
    for one in responses:
        alike[one.outcome, one.status, one.error].append(round(_end(one) - began, 3))
    most = sorted(alike.items(), key=lambda item: -len(item[1]))[:_MOST_TEXTS]
    return tuple(
        FailureGroup(
            kind=str(kind),
            status=status,
            error=error,
            count=len(ends),
            first=min(ends),
            last=max(ends),
        )
        for (kind, status, error), ends in most
    )
