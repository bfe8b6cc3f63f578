"""The phases ``restart`` and ``reload``: replaces the processes of a server under load."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from wsgiproof.experiment.state import State
from wsgiproof.judge.restart import more_restarts
from wsgiproof.load.response import Response
from wsgiproof.load.target import Target
from wsgiproof.observe.processes import anonymous_memory
from wsgiproof.observe.processor_waits import EndingWatch, ProcessorWaits
from wsgiproof.records.observed import Restart, Role

_HELD = 0.2
"""Seconds for which a request that is sent before a restart is held, and longer where the worker
threads take longer to get one each: all of them have one when the restart is requested."""
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


def restart(state: State) -> None:
    """Restart gracefully, under load."""
    _repeat(state, state.server.restart, (Role.PARENT,))


def reload(state: State) -> None:
    """Make mod_wsgi replace its daemon process, under load.

    Embedded mode replaces no process: it loads the script again in the same interpreter.
    """
    if state.server.daemon:
        _repeat(state, state.server.reload, (Role.PARENT, Role.FRONTEND))


def _repeat(state: State, act: Callable[[], None], kept: Collection[Role]) -> None:
    """Have all processes but those of the roles ``kept`` replaced, as often as planned.

    A restart that says nothing, since Apache killed a process that had no time to end, is followed
    by another. Those that the application started have to end with it.
    """
    done = 0
    while not state.aborted and (more := more_restarts(state.observed(), state.phase)):
        state.progress(done, done + more)
        living = state.server.living().items()
        one = _replace(state, act, tuple(pid for pid, role in living if role not in kept))
        state.load.expect(one.refused)  # the check "restart" judges them
        state.restarts.append(one)
        done += 1
        state.log.read(state.phase)
        state.aborted = state.load.hopeless()


def _replace(state: State, act: Callable[[], None], replaced: tuple[int, ...]) -> Restart:
    answers = state.load.answers
    requests, served = answers.requests, dict(answers.served)
    rate = min(_RATE, max(_LEAST_RATE, (state.rate() or 0) / 2))
    with ProcessorWaits(replaced) as waits:
        watch = EndingWatch(waits, state.plan.stop_patience, state.server.role)
        load = _RestartLoad(state, act, replaced, watch)
        # Requests may wait until the new process has loaded the application, as the first did.
        state.load.paced(
            load.pick, rate, load.is_over, load.failed, deadline=state.plan.start_deadline
        )
    return Restart(
        processor_waits=waits.noticeable(),
        phase=state.phase,
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
        orphaned=_orphaned(state),
        parent_memory=anonymous_memory(state.server.pid),
    )


def _orphaned(state: State) -> int | None:
    """Return the connections that no process has after the disconnect timeout."""
    limit = time.monotonic() + state.plan.disconnect_timeout
    while True:
        orphaned = state.sampler.orphaned()
        if not orphaned or time.monotonic() > limit:
            return orphaned
        time.sleep(_STEP)


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
        state: State,
        act: Callable[[], None],
        replaced: tuple[int, ...],
        watch: EndingWatch,
    ) -> None:
        self._state = state
        processes, threads = state.workers
        self._busy = processes * threads
        self._watch = watch
        self._act = act
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
        load = self._state.load
        target = load.targets[self._picked % len(load.targets)]
        if not self.requested:
            self._restart_when_busy()
        if self.requested:
            return target
        now = time.monotonic()
        until = now + _HELD + (now - self._first_pick)
        return load.commands.on(target, until=until, name=f"{_NAME}{self._picked}")

    def _restart_when_busy(self) -> None:
        """Request the restart as soon as each worker thread reports a held request."""
        now = time.monotonic()
        self._first_pick = self._first_pick or now
        unfinished = self._state.stack_collector.unfinished(self.leftover)
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
        plan = self._state.plan
        living = self._state.server.service.living()
        self.leftover = tuple(pid for pid in self.leftover if pid in living)
        if self._watch.is_due(now - self.requested, self.leftover):
            self._state.stack_collector.take_staying(self._state.phase, self.leftover)
        if not self.leftover or now > self.requested + plan.restart_deadline:
            self.ended = now
            self._last = self._picked + _AFTER

    def failed(self, response: Response) -> None:
        """A request failed."""
        if response.label in self.begun:
            self.broken += 1
        else:
            self.refused.append(response.started + response.seconds)
