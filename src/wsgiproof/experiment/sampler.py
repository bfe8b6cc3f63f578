"""Reading every resource of a server, in ``/proc``, on the deployment and from inside."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from wsgiproof.experiment.load import Load
from wsgiproof.load.target import Target
from wsgiproof.observe.answers import Answer, MemoryMetrics
from wsgiproof.observe.processes import Reading, read_processes, unique_set_size
from wsgiproof.records import MemorySample, Role, Sample
from wsgiproof.services.apache import Server
from wsgiproof.services.deployment import Counts, Deployment

_QUIET_DEADLINE = 1.0
"""Seconds to wait for counters to settle after load; a leak does not settle, and need not."""
_QUIET_STEP = 0.02
_MOST_ALONE = 6
"""Requests on their own, for each process, to meet all of them."""
_GATHER = 0.05
"""Seconds that requests for a reading wait inside, so that each process gets some of them."""


class Sampler:
    """Everything that can be read of one server while it is quiet."""

    def __init__(
        self,
        server: Server,
        deployment: Deployment,
        app_name: str,
        workers: tuple[int, int],
        load: Load,
    ) -> None:
        self._server = server
        self._deployment = deployment
        self._app_name = app_name
        self._processes, self._threads = workers
        self._load = load
        self._sockets: frozenset[tuple[int, int]] = frozenset()

    def read(self, phase: str, *, memory: bool = False) -> Sample:
        """One reading of all that is counted, and of memory where that is asked for."""
        memory_readings = self._memory() if memory else ()
        reading = self._quiet()
        self._sockets = reading.sockets
        counts = self.counts()
        return Sample(
            phase=phase,
            time=time.monotonic(),
            requests=self._load.answers.requests,
            server_connections=counts.connections,
            by_member=counts.by_member,
            cursors=counts.cursors,
            sessions=counts.sessions,
            processes=reading.processes,
            memory=memory_readings,
        )

    def counts(self) -> Counts:
        """What the deployment says that the subject has open."""
        return self._deployment.counts(self._app_name, self._sockets)

    def orphaned(self) -> int | None:
        """Connections of the subject that none of its living processes has; None if unknown."""
        reading = self._look()
        self._sockets |= reading.sockets
        counted = self.counts().connections
        if counted is None:
            return None
        return max(0, counted - len(self._look().sockets))

    def object_growth(self, which: Literal["begin", "end"]) -> list[Answer]:
        """Have each interpreter of each process begin or end an object count."""
        commands = self._load.commands
        return self._ask_each(
            lambda target, until: commands.on(target, until=until, object_growth=which)
        )

    def _ask_each(self, make: Callable[[Target, float | None], Target]) -> list[Answer]:
        """Ask each interpreter of each process, one URL after the other."""
        return [
            answer
            for target in self._load.targets
            for answer in self._load.ask(self._one_for_each_process(target, make))
        ]

    def _one_for_each_process(
        self, target: Target, make: Callable[[Target, float | None], Target]
    ) -> list[Target]:
        """Requests that wait for each other, so that no process takes them all."""
        if self._processes == 1:
            return [make(target, None)]
        held = make(target, time.monotonic() + _GATHER)
        return [held] * (self._processes * self._threads)

    def _memory(self) -> tuple[MemorySample, ...]:
        """Of each process that answers, after all of its interpreters have collected garbage.

        Not after a request has failed: what hangs would hang this too.
        """
        if self._load.unexpected:
            return ()
        commands = self._load.commands
        collected = self._ask_each(lambda target, until: commands.on(target, until=until, memory=2))
        told: defaultdict[int, list[MemoryMetrics]] = defaultdict(list)
        for answer in [*collected, *self._alone()]:
            if answer.memory is not None:
                told[answer.pid].append(answer.memory)
        return tuple(
            MemorySample(
                pid=pid,
                requests=self._load.answers.served[pid],
                blocks=_least(one.blocks for one in metrics),
                malloc=_least(one.malloc for one in metrics),
                uss=unique_set_size(pid),
            )
            for pid, metrics in sorted(told.items())
        )

    def _alone(self) -> Iterator[Answer]:
        """Readings by one request at a time, where others would be in the same process else.

        Who gets such a request is up to Apache, so it takes some to meet every process.
        """
        if self._processes == 1 or self._threads == 1:
            return
        met: set[int] = set()
        target = self._load.commands.on(self._load.targets[0], memory=1)
        for _ in range(_MOST_ALONE * self._processes):
            for answer in self._load.ask([target]):
                met.add(answer.pid)
                yield answer
            if len(met) == self._processes:
                return

    def _quiet(self) -> Reading:
        """Read until two readings in a row agree, or the deadline for it is over."""
        limit = time.monotonic() + _QUIET_DEADLINE
        last = self._look()
        while time.monotonic() < limit:
            time.sleep(_QUIET_STEP)
            reading = self._look()
            if reading.processes == last.processes:
                return reading
            last = reading
        return last

    def _look(self) -> Reading:
        living = self._server.living()
        watched = {pid: role for pid, role in living.items() if role is not Role.FRONTEND}
        return read_processes(watched, self._deployment.ports)


def _least(values: Iterable[int | None]) -> int | None:
    """The least of several readings of one process.

    The others were made before another interpreter had collected its garbage, or while another
    request was in the process: both only add to it.
    """
    return min((value for value in values if value is not None), default=None)
