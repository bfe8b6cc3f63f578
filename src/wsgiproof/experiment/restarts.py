"""Replacing the processes of a server under load: graceful restarts, and reloads of the script."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping

from wsgiproof.experiment.load import Load
from wsgiproof.experiment.sampler import Sampler
from wsgiproof.experiment.stack_collector import StackCollector
from wsgiproof.load.response import Response
from wsgiproof.load.target import Target
from wsgiproof.observe.processes import unique_set_size
from wsgiproof.records import LoadPlan, PhaseName, Restart, Role
from wsgiproof.services.apache import Server

_HELD = 0.4
"""Seconds that the requests which have begun before a restart last, at least: as it is asked for,
each worker has one."""
_ARRIVAL = 0.25
"""Seconds that are waited for them to arrive."""
_RATE = 300.0
"""Requests a second around a restart, at most; a server that is slower gets half of what it can."""
_LEAST_RATE = 20.0
_AFTER = 20
"""Requests that begin when the processes of before have gone."""
_STEP = 0.02
_NAME = "held"
"""With a number, what each of those is called."""


class Restarts:
    """Restarts of one server, one after the other, each with load around it."""

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
        """As many graceful restarts as planned, for a server that can so many requests a second."""
        for _ in range(self._plan.restarts):
            replaced = self._all_but(Role.PARENT)
            yield self._one(PhaseName.RESTART, self._server.restart, replaced, per_second)

    def reload(self, per_second: float | None) -> Iterator[Restart]:
        """As many reloads of the script as planned."""
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
        course = _Course(
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
        self._load.paced(course.pick, rate, course.over, course.failed)
        return Restart(
            phase=phase,
            time=course.asked,
            seconds=course.gone - course.asked,
            replaced=replaced,
            leftover=course.left,
            begun=len(course.begun),
            broken=course.broken,
            requests=answers.requests - requests,
            refused=len(course.refused),
            last_refused=max(course.refused) - course.asked if course.refused else None,
            renewed=is_renewed(served, answers.served, replaced),
            orphaned=self._orphaned(),
            parent_memory=unique_set_size(self._server.pid),
        )

    def _orphaned(self) -> int | None:
        """Connections that nobody has; none of those that go within the time for it."""
        limit = time.monotonic() + self._plan.disconnect_timeout
        while True:
            orphaned = self._sampler.orphaned()
            if not orphaned or time.monotonic() > limit:
                return orphaned
            time.sleep(_STEP)

    def _all_but(self, *roles: Role) -> tuple[int, ...]:
        """Who is there now; what the application has started is to go with it."""
        living = self._server.living().items()
        return tuple(pid for pid, role in living if role not in roles)


def is_renewed(
    before: Mapping[int, int], after: Mapping[int, int], replaced: Collection[int]
) -> bool:
    """Whether another process than those that are ``replaced`` has answered between the two counts
    of answers by pid. Its pid need not be new: after hundreds of restarts they come again."""
    return any(count > before.get(pid, 0) for pid, count in after.items() if pid not in replaced)


class _Course:
    """The requests around one restart: first those that are held inside, so that each worker is
    busy as it comes; then others, until the processes of before have gone and a little longer."""

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
        self._looked_at = False
        """Whether the stacks of those that are slow to go were taken."""
        self._act = act
        self._deadline = plan.restart_deadline
        self._picked = 0
        self._waited_since = 0.0
        self._last = 0
        """The number of the last request, once the processes of before have gone."""
        self.asked = 0.0
        self.gone = 0.0
        self.left = replaced
        self.begun: frozenset[str] = frozenset()
        """Which of the held requests were inside as the restart was asked for."""
        self.broken = 0
        self.refused: list[float] = []
        """When each of the others failed."""

    def pick(self) -> Target:
        """Where the next request goes; the restart is asked for on the way."""
        self._picked += 1
        target = self._load.targets[self._picked % len(self._load.targets)]
        if self._picked <= self._busy:
            until = time.monotonic() + _HELD
            name = f"{_NAME}{self._picked}"
            return self._load.commands.on(target, until=until, name=name)
        if not self.asked:
            self._ask_when_begun()
        return target

    def _ask_when_begun(self) -> None:
        """Ask for the restart as soon as each worker has a request in hand, by its own account."""
        now = time.monotonic()
        self._waited_since = self._waited_since or now
        inside = frozenset(one.name for one in self._stack_collector.unfinished(self.left)) - {""}
        if len(inside) >= self._busy or now > self._waited_since + _ARRIVAL:
            self.begun = inside
            self.asked = now
            self._act()

    def over(self) -> bool:
        """Whether no more requests are needed."""
        if not self._last and self.asked:
            self._look()
        return bool(self._last) and self._picked >= self._last

    def _look(self) -> None:
        now = time.monotonic()
        living = self._server.service.living()
        self.left = tuple(pid for pid in self.left if pid in living)
        if self.left and not self._looked_at and now > self.asked + self._patience:
            self._looked_at = True
            self._stack_collector.take_staying(self._phase, self.left)
        if not self.left or now > self.asked + self._deadline:
            self.gone = now
            self._last = self._picked + _AFTER

    def failed(self, response: Response) -> None:
        """A request came to nothing."""
        if response.label in self.begun:
            self.broken += 1
        else:
            self.refused.append(response.started + response.seconds)
