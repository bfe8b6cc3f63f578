"""Reads every resource of a server, from ``/proc``, the backend and the interpreters."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Literal

import msgspec

from wsgiproof.experiment.context import Experiment
from wsgiproof.experiment.load import Load
from wsgiproof.load.target import Target
from wsgiproof.observe.answers import AgentReport, MemoryMetrics, measured
from wsgiproof.observe.log import LogFollower
from wsgiproof.observe.processes import (
    ProcessSnapshot,
    address_space,
    anonymous_memory,
    processor_time,
    read_processes,
)
from wsgiproof.observe.processor_waits import processor_waits
from wsgiproof.observe.remains import Remains
from wsgiproof.records.observed import (
    CONNECTIONS,
    MemorySample,
    ProcessSample,
    Role,
    Sample,
    Work,
    of_members,
)

_QUIET_DEADLINE = 1.0
"""Seconds to wait for counts to settle after load; a leak may not settle, and need not."""
_QUIET_STEP = 0.02
_MOST_ALONE = 6
"""Single requests for each process, at most, to reach all processes."""
_GATHER = 0.05
"""Seconds that measuring requests wait for each other, if there is not a thread for each."""
FILLED = 1.0
"""Seconds in which a client opens what it needs beside the connections that requests use."""


class Sampler:
    """Reads everything that can be counted of one server while it has no requests."""

    def __init__(self, experiment: Experiment, load: Load, log: LogFollower) -> None:
        self._server = experiment.server
        self._backend = experiment.backend
        self._app_name = experiment.app_name
        self._processes, self._threads = experiment.workers
        self._load = load
        self._log = log
        self._warm_up = experiment.plan.warm_up
        self._used: dict[int, float] = {}
        """When each process was first seen to have used all threads in all interpreters, or to have
        answered as many requests as a warm-up has."""
        self._sockets: frozenset[tuple[int, int]] = frozenset()
        self._settled_at: ProcessSnapshot | None = None
        """The counts of the processes, when they were last the same twice."""
        self._remains = Remains(
            experiment.application,
            experiment.server.service.private(),
            experiment.server.pid,
        )
        self._work = _WorkMeter(experiment)

    def read(self, phase: str, *, memory: bool = False) -> Sample:
        """Return one sample of all counts, and of memory if requested."""
        self._work.pause()
        memory_samples = self.memory() if memory else ()
        sample = self._read(phase, memory_samples)
        self._work.resume()
        return sample

    def read_idle(self, phase: str) -> Sample:
        """Return one sample without a request: its memory is what ``/proc`` has of each worker."""
        served = self._load.answers.served
        return self._read(
            phase,
            tuple(
                MemorySample(
                    pid=pid,
                    requests=served[pid],
                    blocks=None,
                    malloc=None,
                    resident=anonymous_memory(pid),
                    mapped=address_space(pid),
                )
                for pid, role in sorted(self._server.living().items())
                if role is Role.WORKER
            ),
        )

    def _read(self, phase: str, memory_samples: tuple[MemorySample, ...]) -> Sample:
        snapshot = self._settled()
        self._sockets = snapshot.sockets
        self._log.read(phase)
        now = time.monotonic()
        return Sample(
            phase=phase,
            time=now,
            requests=self._load.answers.requests,
            processes=self._with_answers(snapshot.processes, now),
            memory=memory_samples,
            counts={**self._remains_now(), **self.counts()},
            work=self._work.so_far(self._load.seconds()),
        )

    def _with_answers(
        self, processes: Iterable[ProcessSample], now: float
    ) -> tuple[ProcessSample, ...]:
        """Add to each worker what it has answered, and whether its counts can be compared."""
        answers = self._load.answers
        used = [
            {pid for pid, threads in served.items() if threads >= self._threads}
            for served in answers.workers().values()
        ]
        if len(used) == len(self._load.targets):
            warm = {pid for pid, number in answers.served.items() if number >= self._warm_up}
            for pid in warm | set.intersection(*used):
                self._used.setdefault(pid, now)
        return tuple(
            msgspec.structs.replace(
                one,
                requests=answers.served[one.pid],
                comparable=now - self._used.get(one.pid, now) >= FILLED
                and one.pid not in self._log.ending,
            )
            if one.role is Role.WORKER
            else one
            for one in processes
        )

    def _remains_now(self) -> dict[str, int | None]:
        """Return the counts of what the subject leaves outside its processes."""
        ever = {event.pid for event in self._server.service.events()}
        return self._remains.read(self._server.living(), ever)

    def counts(self) -> Mapping[str, int | None]:
        """Return what the subject has in the backend, by the backend's counts."""
        return self._backend.counts(self._app_name, self._sockets)

    def connections(self) -> int | None:
        """Return the subject's connections, by the backend's count; None if unknown."""
        return self.counts().get(CONNECTIONS)

    def pools(self) -> dict[str, int | None]:
        """Return the connections that the subject's pools hold, in all and on each member."""
        counts = self.counts()
        return {CONNECTIONS: counts.get(CONNECTIONS), **of_members(counts)}

    def orphaned(self) -> int | None:
        """Return the subject's connections that no living process has; None if unknown."""
        snapshot = self._processes_now()
        self._sockets |= snapshot.sockets
        counted = self.connections()
        if counted is None:
            return None
        return max(0, counted - len(self._processes_now().sockets))

    def object_growth(self, which: Literal["begin", "end"]) -> list[AgentReport]:
        """Make each interpreter of each process begin or end an object count."""
        return self._ask_each(partial(self._load.commands.on, object_growth=which))

    def socket_origins(self, which: Literal["begin", "end"]) -> list[AgentReport]:
        """Make each interpreter of each process begin or end to remember where it opens sockets."""
        return self._ask_each(partial(self._load.commands.on, socket_origins=which))

    def _ask_each(self, command: Callable[..., Target]) -> list[AgentReport]:
        """Send a request to each interpreter of each process, one URL after the other."""
        return [
            answer
            for target in self._load.targets
            for answer in self._load.ask(self._one_for_each_process(target, command))
        ]

    def _one_for_each_process(self, target: Target, command: Callable[..., Target]) -> list[Target]:
        """Return requests that wait inside for each other, so that every process gets some."""
        if self._processes == 1:
            return [command(target)]
        # Where Apache keeps fewer processes without load, more requests would make it start some.
        living = sum(role is Role.WORKER for role in self._server.living().values())
        threads = min(living, self._processes) * self._threads
        return [command(target, until=time.monotonic() + _GATHER, gather=threads)] * threads

    def touch(self) -> None:
        """Send an ordinary request to each interpreter of each process, which is not counted.

        Many caches and pools drop what has expired only when they are used again.
        """
        self._ask_each(self._load.commands.on)

    def memory(self) -> tuple[MemorySample, ...]:
        """Return the memory of each process that answers, after all interpreters' collections.

        Memory is not read after a request has failed: if that one hangs, so would these. A single
        process that has not answered for each interpreter was replaced meanwhile, before all of
        them had collected.
        """
        if self._load.unexpected:
            return ()
        collected = self._ask_each(partial(self._load.commands.on, memory=2))
        least = len(self._load.targets) if self._processes == 1 else 1
        by_process: defaultdict[int, list[MemoryMetrics]] = defaultdict(list)
        for answer in [*collected, *self._one_at_a_time()]:
            by_process[answer.pid].append(measured(answer.memory, "memory"))
        return tuple(
            MemorySample(
                pid=pid,
                requests=self._load.answers.served[pid],
                blocks=_least(one.blocks for one in metrics),
                malloc=_least(one.malloc for one in metrics),
                resident=anonymous_memory(pid),
                mapped=address_space(pid),
            )
            for pid, metrics in sorted(by_process.items())
            if len(metrics) >= least
        )

    def _one_at_a_time(self) -> Iterator[AgentReport]:
        """Yield answers to single requests, with no other request in the same process.

        Apache decides which process gets a request, so it takes several to reach every process.
        """
        if self._processes == 1 or self._threads == 1:
            return
        reached: set[int] = set()
        target = self._load.commands.on(self._load.targets[0], memory=1)
        for _ in range(_MOST_ALONE * self._processes):
            for answer in self._load.ask([target]):
                reached.add(answer.pid)
                yield answer
            if len(reached) == self._processes:
                return

    def _settled(self) -> ProcessSnapshot:
        """Read the processes once their counts are the same twice, or after the deadline.

        Counts that are those of the last time need no second look: what has not ended yet only adds
        to them. Reading the machine's table of sockets takes 20 ms of processor time, so it is read
        once.
        """
        limit = time.monotonic() + _QUIET_DEADLINE
        now = read_processes(self._watched(), ())
        while now != self._settled_at and time.monotonic() < limit:
            self._settled_at = now
            time.sleep(_QUIET_STEP)
            now = read_processes(self._watched(), ())
        return self._processes_now()

    def _processes_now(self) -> ProcessSnapshot:
        return read_processes(self._watched(), self._backend.ports)

    def _watched(self) -> dict[int, Role]:
        living = self._server.living()
        return {pid: role for pid, role in living.items() if role is not Role.FRONTEND}


class _WorkMeter:
    """Adds up what the load costs, without what the samples between its rounds cost."""

    def __init__(self, experiment: Experiment) -> None:
        self._server = experiment.server
        self._backend = experiment.backend
        self._cpu = self._waited = self._client = 0.0
        self._client_before = time.process_time()
        self._before: dict[int, tuple[float, float]] = {}

    def pause(self) -> None:
        """Add what was done since :meth:`resume`."""
        self._client += time.process_time() - self._client_before
        for pid, (cpu, waited) in self._now().items():
            cpu_before, waited_before = self._before.get(pid, (0.0, 0.0))
            # Less than before is a thread that has ended, or another process with the same pid.
            self._cpu += max(0.0, cpu - cpu_before)
            self._waited += max(0.0, waited - waited_before)

    def resume(self) -> None:
        """Do not add what was done since :meth:`pause`."""
        self._before = self._now()
        self._client_before = time.process_time()

    def so_far(self, serving: float) -> Work:
        """Return the sums, with the seconds for which requests were in flight."""
        return Work(
            serving=round(serving, 6),
            cpu=round(self._cpu, 6),
            waited=round(self._waited, 6),
            client=round(self._client, 6),
        )

    def _now(self) -> dict[int, tuple[float, float]]:
        """Return the processor time of each worker (0 for others), and each process's waits."""
        roles = self._server.living()
        others = (os.getpid(), *self._backend.pids())
        return {
            pid: (
                processor_time(pid) if roles.get(pid) is Role.WORKER else 0.0,
                sum(processor_waits(pid).values()),
            )
            for pid in (*roles, *others)
        }


def _least(values: Iterable[int | None]) -> int | None:
    """Return the least of several values of one process.

    The others were read before another interpreter had collected its garbage, or while another
    request was in the process. Both only add to the value.
    """
    return min((value for value in values if value is not None), default=None)
