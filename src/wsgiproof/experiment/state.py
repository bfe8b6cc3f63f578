"""The state of an experiment while it runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from psutil import pid_exists

from wsgiproof import limits
from wsgiproof.errors import CannotRun, ServiceFailed
from wsgiproof.experiment.context import Experiment
from wsgiproof.experiment.load import Load
from wsgiproof.experiment.sampler import Sampler
from wsgiproof.experiment.stack_collector import StackCollector
from wsgiproof.observe.evidence import Evidence
from wsgiproof.observe.fatal_traces import read_fatal_traces, read_leftover_threads, read_loaded
from wsgiproof.observe.in_flight import read_unfinished
from wsgiproof.observe.log import LogFollower
from wsgiproof.observe.processes import loaded_libraries
from wsgiproof.observe.starvation import Starvation
from wsgiproof.process.guarded import ProcessEvent
from wsgiproof.process.service import Service
from wsgiproof.records.observed import (
    Attribution,
    CacheTrial,
    Confirmation,
    Event,
    MissingEvidence,
    ObjectGrowth,
    Observed,
    Outage,
    Phase,
    Replacement,
    Restart,
    Role,
    Sample,
    SocketOrigin,
    Stop,
)
from wsgiproof.records.plan import PhaseName

_BIRTH_DEADLINE = 3.0
"""Seconds within which the guard reports a new process."""
_BIRTH_STEP = 0.05


class State:
    """The instruments of an experiment, and what they have measured so far.

    The functions of a phase take it, measure, and add to it.
    """

    def __init__(self, experiment: Experiment) -> None:
        server, plan = experiment.server, experiment.plan
        self.server = server
        self.backend = experiment.backend
        self.workers, self.workers_vary = experiment.workers, experiment.workers_vary
        self.plan = plan
        self.trials_at_once = experiment.trials_at_once
        self.resources = experiment.resources
        self._on_progress = experiment.on_progress
        self._evidence = Evidence(experiment.application.evidence)
        self._subject = experiment.application.identity
        self.stack_collector = StackCollector(server, self._evidence)
        self.load = Load(
            server,
            plan,
            experiment.application,
            lambda: self.stack_collector.take_soon(self.phase),
            Starvation(lambda: (os.getpid(), *server.living(), *self.backend.pids())),
        )
        self.log = LogFollower(server.error_log)
        self.sampler = Sampler(experiment, self.load, self.log)
        self.phase = PhaseName.START
        self.phases: list[Phase] = []
        self.samples: list[Sample] = []
        self.full_pools: list[Sample] = []
        self.object_growth: tuple[ObjectGrowth, ...] = ()
        self.confirmations: tuple[Confirmation, ...] = ()
        self.attributions: tuple[Attribution, ...] = ()
        self.socket_origins: dict[tuple[str, str], SocketOrigin] = {}
        """By the interpreter's token and the stack."""
        self.drained: list[Sample] = []
        self.settled: list[Sample] = []
        self.cache_trials: list[CacheTrial] = []
        self.outlived_drain: bool | None = None
        """Whether growth beyond any pool was still there after a drain; None if there was none."""
        self.idle_samples: list[Sample] = []
        self.restarts: list[Restart] = []
        self.trials: list[Replacement] = []
        self.outages: list[Outage] = []
        self.stop: Stop | None = None
        self.memory_due = 0
        """How many requests have to be answered before memory is read again."""
        self.warmed: set[int] = set()
        """The processes whose pools have been filled."""
        self._libraries: set[str] = set()
        self.aborted = self.decided_early = self.budget_exhausted = ""
        self._started = self._phase_began = time.monotonic()

    @property
    def few(self) -> int:
        """The most connections with which the number of processes stays what it is."""
        return self.workers[1] if self.workers_vary else self.plan.connections

    def living_workers(self) -> list[int]:
        """Return the processes that run the application now."""
        return [pid for pid, role in self.server.living().items() if role is Role.WORKER]

    @property
    def load_is_over(self) -> bool:
        """Whether there is no more load: the experiment is aborted, decided, or out of time."""
        return bool(self.aborted or self.decided_early or self.budget_exhausted)

    def progress(self, done: int, total: int) -> None:
        """Report how many steps of the present phase are done."""
        self._on_progress(self.phase, done, total)

    def time_is_up(self) -> bool:
        """Return whether the time of the plan is over."""
        budget = self.plan.max_seconds
        return budget is not None and time.monotonic() - self._started > budget

    @contextmanager
    def in_phase(self, name: PhaseName) -> Iterator[None]:
        """Record everything that is measured in the block under phase ``name``.

        Raises :class:`CannotRun` if this machine reached a limit in it, and :class:`ServiceFailed`
        if another server answered.
        """
        answers = self.load.answers
        self.phase = name
        answers.phase = name
        self._phase_began, before = time.monotonic(), answers.requests
        try:
            yield
        finally:
            self.log.read(name)
            self.phases.append(
                Phase(
                    name=name,
                    started=self._phase_began,
                    seconds=time.monotonic() - self._phase_began,
                    requests=answers.requests - before,
                )
            )
        self._check_limits()
        if pids := foreign_processes(answers.served, self.server.service):
            raise ServiceFailed(
                f"in phase {name}: process {', '.join(map(str, pids))} answered at "
                f"{self.server.urls[0]} and does not belong to this cell's Apache: another "
                "program on this machine uses its port"
            )

    def _check_limits(self) -> None:
        """Raise :class:`CannotRun` if this machine has reached one of its limits.

        Data may be lost then, and failures say nothing about the subject.
        """
        problems = [
            limits.why_full(self.server.error_log.parent),
            limits.why_full(self._evidence.path),
        ]
        if self.load.answers.failed:
            problems.append(limits.why_no_port())
        if self.phase == PhaseName.WARM_UP:  # later on, the subject may have used it up
            problems += [limits.explain_log_line(line.text) for line in self.log.lines]
        if reached := next(filter(None, problems), ""):
            raise CannotRun(f"in phase {self.phase}: {reached}")

    def sample(self, *, memory: bool) -> None:
        """Take a sample, and note whether more requests would show anything new."""
        if memory:
            self.memory_due = self.load.answers.requests + self.plan.memory_every
            self._note_libraries()
        self.samples.append(self.sampler.read(self.phase, memory=memory))
        self.aborted = self.load.hopeless()

    def read_until(self, over: Callable[[Sample], bool], seconds: float, step: float) -> Sample:
        """Make no requests until ``over()`` is true of the counts, and return them.

        They are read every ``step`` seconds, and for the last time after ``seconds``.
        """
        ends = time.monotonic() + seconds
        while True:
            left = ends - time.monotonic()
            now = self.sampler.read(self.phase)
            if over(now) or left <= 0:
                return now
            time.sleep(min(left, step))

    def _note_libraries(self) -> None:
        for pid in self.living_workers():
            self._libraries |= loaded_libraries(pid)

    def rate(self) -> float | None:
        """Return the requests per second of the parallel phase, without its samples."""
        done = sum(phase.requests for phase in self.phases if phase.name == PhaseName.PARALLEL)
        seconds = self.load.seconds(PhaseName.PARALLEL)
        return done / seconds if seconds else None

    def observed(self, *, complete: bool = False) -> Observed:
        """Return all measurements so far.

        If ``complete``, the server has stopped, and the evidence of its processes is included.
        """
        evidence = self._evidence
        answers = self.load.answers
        if complete:
            self.log.finish(self.phase)
        identities = answers.identities()
        events = tuple(map(self._event, self.server.service.events()))
        return Observed(
            plan=self.plan,
            urls=self.server.urls,
            phases=tuple(self.phases),
            requests=answers.requests,
            identities=identities,
            loaded=read_loaded(evidence, identities, self._subject) if complete else (),
            failures=answers.failures(),
            answers=answers.answers(),
            echoes=self.load.echoes.found(),
            starved=round(self.load.starved, 3),
            problems=answers.problems(),
            elsewhere=answers.elsewhere,
            samples=tuple(self.samples),
            workers=self.workers,
            backend=self.backend.title,
            owned=self.backend.owned,
            decided_early=self.decided_early,
            budget_exhausted=self.budget_exhausted,
            full_pools=tuple(self.full_pools),
            object_growth=self.object_growth,
            confirmations=self.confirmations,
            attributions=self.attributions,
            socket_origins=tuple(self.socket_origins.values()),
            drained=tuple(self.drained),
            settled=tuple(self.settled),
            cache_trials=tuple(self.cache_trials),
            events=events,
            log=tuple(self.log.lines),
            log_lines_dropped=self.log.dropped,
            fatal_traces=read_fatal_traces(evidence) if complete else (),
            stacks=self.stack_collector.stacks(events) if complete else (),
            unfinished=read_unfinished(evidence) if complete else (),
            leftover_threads=read_leftover_threads(evidence) if complete else (),
            missing=self._missing() if complete else (),  # last: reading the others adds to it
            libraries=tuple(sorted(self._libraries)),
            idle_samples=tuple(self.idle_samples),
            restarts=tuple(self.restarts),
            trials=tuple(self.trials),
            outages=tuple(self.outages),
            stop=self.stop,
            aborted=self.aborted,
            requests_per_second=self.rate(),
            serving_seconds=self.load.seconds(),
            latencies=self.load.latencies(),
            load_timeline=self.load.timeline(),
        )

    def _missing(self) -> tuple[MissingEvidence, ...]:
        if self.log.damaged:
            self._evidence.note("log", self.log.damaged)
        return self._evidence.missing()

    def _event(self, event: ProcessEvent) -> Event:
        return Event(
            phase=self._phase_at(event.time),
            time=event.time,
            kind=event.kind,
            pid=event.pid,
            role=self.server.role(event.pid),
            exit=event.exit,
            signal=event.signal,
            core=event.core,
        )

    def _phase_at(self, moment: float) -> str:
        if moment >= self._phase_began:  # the present phase is not in the list before its end
            return self.phase
        began = (phase.name for phase in reversed(self.phases) if phase.started <= moment)
        return next(began, PhaseName.START)


def foreign_processes(served: Collection[int], service: Service) -> tuple[int, ...]:
    """Return the living processes that answered and do not belong to the service.

    A process that has ended may have been too short-lived to be reported. A new process is reported
    with a small delay.
    """
    limit = time.monotonic() + _BIRTH_DEADLINE
    while True:
        known = {event.pid for event in service.events()}
        unknown = tuple(pid for pid in sorted(served) if pid not in known and pid_exists(pid))
        if not unknown or time.monotonic() > limit:
            return unknown
        time.sleep(_BIRTH_STEP)
