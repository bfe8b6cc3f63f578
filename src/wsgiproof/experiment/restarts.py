"""The phases ``restart`` and ``reload``: replaces the processes of a server under load."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping

from wsgiproof.experiment.load import Load
from wsgiproof.experiment.sampler import Sampler
from wsgiproof.experiment.stack_collector import StackCollector
from wsgiproof.load.response import Response
from wsgiproof.load.target import Target
from wsgiproof.observe.processes import ProcessorWaits, unique_set_size
from wsgiproof.records.observed import Restart, Role
from wsgiproof.records.plan import LoadPlan, PhaseName
from wsgiproof.server.apache import Server

_HELD = 0.4
"""Seconds after which a request that is sent before a restart may end: each worker thread has one
of them when the restart is requested."""
_ARRIVAL = 1.0
"""Seconds to wait until each worker thread has one."""
_ARRIVAL_OF_FIRST = 10.0
"""Seconds to wait until any has one, on a busy machine."""
_RATE = 300.0
"""Requests per second around a restart, at most; a slow server gets half of what it can serve."""
_LEAST_RATE = 20.0
_AFTER = 20
"""Requests that begin after the replaced processes have ended."""
_STEP = 0.02
_NAME = "held"
"""The name of each held request, followed by a number."""


class Restarts:
    """Restarts one server several times, each time under load."""

    def __init__(
        self,
        server: Server,
        load: Load,
        sampler: Sampler,
        plan: LoadPlan,
        workers: tuple[int, int],
        stack_collector: StackCollector,
    ) -> None:
        self._server = server
        self._load = load
        self._sampler = sampler
        self._plan = plan
        self._busy = workers[0] * workers[1]
        self._stack_collector = stack_collector

    def graceful(self, per_second: float | None) -> Iterator[Restart]:
        """Yield each planned graceful restart; ``per_second`` is what the server can serve."""
        for _ in range(self._plan.restarts):
            replaced = self._all_but(Role.PARENT)
            yield self._one(PhaseName.RESTART, self._server.restart, replaced, per_second)

    def reload(self, per_second: float | None) -> Iterator[Restart]:
        """Yield each planned reload of the script; ``per_second`` as in :meth:`graceful`."""
        for _ in range(self._plan.restarts):
            replaced = self._all_but(Role.PARENT, Role.FRONTEND)
            yield self._one(PhaseName.RELOAD, self._server.reload, replaced, per_second)

    def _one(
        self,
        phase: PhaseName,
        act: Callable[[], None],
        replaced: tuple[int, ...],
        per_second: float | None,
    ) -> Restart:
        answers = self._load.answers
        requests, served = answers.requests, dict(answers.served)
        load = _RestartLoad(
            self._server,
            self._load,
            replaced,
            self._busy,
            act,
            self._plan,
            self._stack_collector,
            phase,
        )
        rate = min(_RATE, max(_LEAST_RATE, (per_second or 0) / 2))
        with ProcessorWaits(replaced) as waits:
            # Requests may wait until the new process has loaded the application, as the first did.
            self._load.paced(
                load.pick, rate, load.is_over, load.failed, deadline=self._plan.start_deadline
            )
        return Restart(
            processor_waits=waits.noticeable(),
            phase=phase,
            time=load.requested,
            seconds=load.ended - load.requested,
            replaced=replaced,
            leftover=load.leftover,
            begun=len(load.begun),
            broken=load.broken,
            requests=answers.requests - requests,
            refused=len(load.refused),
            last_refused=max(load.refused) - load.requested if load.refused else None,
            renewed=is_renewed(served, answers.served, replaced),
            orphaned=self._orphaned(),
            parent_memory=unique_set_size(self._server.pid),
        )

    def _orphaned(self) -> int | None:
        """Return the connections that no process has after the disconnect timeout."""
        limit = time.monotonic() + self._plan.disconnect_timeout
        while True:
            orphaned = self._sampler.orphaned()
            if not orphaned or time.monotonic() > limit:
                return orphaned
            time.sleep(_STEP)

    def _all_but(self, *roles: Role) -> tuple[int, ...]:
        """Return the living processes of other roles; those that the application started have to
        end with it."""
        living = self._server.living().items()
        return tuple(pid for pid, role in living if role not in roles)


def is_renewed(
    before: Mapping[int, int], after: Mapping[int, int], replaced: Collection[int]
) -> bool:
    """Return whether a process that is not ``replaced`` answered between two counts by pid.

    Its pid need not be new: after hundreds of restarts, pids repeat.
    """
    return any(count > before.get(pid, 0) for pid, count in after.items() if pid not in replaced)


class _RestartLoad:
    """The requests around one restart.

    Until the restart is requested they are held inside, so that each worker thread is busy then.
    Others follow until the replaced processes have ended, and a little longer.
    """

    def __init__(
        self,
        server: Server,
        load: Load,
        replaced: tuple[int, ...],
        busy: int,
        act: Callable[[], None],
        plan: LoadPlan,
        stack_collector: StackCollector,
        phase: PhaseName,
    ) -> None:
        self._server = server
        self._load = load
        self._busy = busy
        self._stack_collector = stack_collector
        self._phase = phase
        self._patience = plan.stop_patience
        self._stacks_read = False
        """Whether the stacks of processes that are slow to end were read."""
        self._act = act
        self._deadline = plan.restart_deadline
        self._picked = 0
        self._first_pick = 0.0
        self._last = 0
        """The number of the last request, once the replaced processes have ended."""
        self.requested = 0.0
        self.ended = 0.0
        self.leftover = replaced
        self.begun: frozenset[str] = frozenset()
        """The held requests that were inside when the restart was requested."""
        self.broken = 0
        self.refused: list[float] = []
        """The times at which other requests failed."""

    def pick(self) -> Target:
        """Return the next request; request the restart in between."""
        self._picked += 1
        target = self._load.targets[self._picked % len(self._load.targets)]
        if not self.requested:
            self._restart_when_busy()
        if self.requested:
            return target
        until = time.monotonic() + _HELD
        return self._load.commands.on(target, until=until, name=f"{_NAME}{self._picked}")

    def _restart_when_busy(self) -> None:
        """Request the restart as soon as each worker thread reports a held request."""
        now = time.monotonic()
        self._first_pick = self._first_pick or now
        unfinished = self._stack_collector.unfinished(self.leftover)
        inside = frozenset(one.name for one in unfinished) - {""}
        waited = now - self._first_pick
        if len(inside) >= self._busy or waited > (_ARRIVAL if inside else _ARRIVAL_OF_FIRST):
            self.begun = inside
            self.requested = now
            self._act()

    def is_over(self) -> bool:
        """Return whether no more requests are needed."""
        if not self._last and self.requested:
            self._check_processes()
        return bool(self._last) and self._picked >= self._last

    def _check_processes(self) -> None:
        now = time.monotonic()
        living = self._server.service.living()
        self.leftover = tuple(pid for pid in self.leftover if pid in living)
        if self.leftover and not self._stacks_read and now > self.requested + self._patience:
            self._stacks_read = True
            self._stack_collector.take_staying(self._phase, self.leftover)
        if not self.leftover or now > self.requested + self._deadline:
            self.ended = now
            self._last = self._picked + _AFTER

    def failed(self, response: Response) -> None:
        """A request failed."""
        if response.label in self.begun:
            self.broken += 1
        else:
            self.refused.append(response.started + response.seconds)
