"""The phases of one cell, with a sample wherever it is quiet.

This is where it is decided when load runs and when resources are read. What the readings mean is
decided elsewhere (:mod:`wsgiproof.judge`), from the :class:`~wsgiproof.records.Observed` that
comes out of here; it is asked in between whether it is sure already, and what to look at again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from psutil import pid_exists

from wsgiproof import limits
from wsgiproof.errors import CannotRun, ServiceFailed
from wsgiproof.experiment.diagnosis import attribute, confirm, object_growth
from wsgiproof.experiment.failover import Failover
from wsgiproof.experiment.load import Load, rounds, until_full
from wsgiproof.experiment.restarts import Restarts
from wsgiproof.experiment.sampler import Sampler
from wsgiproof.experiment.stack_collector import StackCollector
from wsgiproof.judge import leaks, memory
from wsgiproof.load.target import Target
from wsgiproof.observe.evidence import Evidence
from wsgiproof.observe.fatal_traces import read_fatal_traces, read_leftover_threads, read_loaded
from wsgiproof.observe.in_flight import read_unfinished
from wsgiproof.observe.log import LogFollower
from wsgiproof.observe.processes import loaded_libraries
from wsgiproof.process import ProcessEvent, Service
from wsgiproof.records import (
    Attribution,
    Confirmation,
    Event,
    ExtraPhase,
    LoadPlan,
    MissingEvidence,
    ObjectGrowth,
    Observed,
    Outage,
    Phase,
    PhaseName,
    Restart,
    Role,
    Sample,
    Stop,
)
from wsgiproof.services.apache import Server
from wsgiproof.services.deployment import Deployment
from wsgiproof.toolchain import Application

_HOLD = 0.15
"""Seconds that the requests of a warm-up burst wait inside, so that all have arrived by then."""
_OCCUPY = 0.1
"""Seconds that each of them then keeps a connection to the deployment busy."""
_MOST_BURSTS = 20
_FAREWELL_STEP = 0.02
_BIRTH_DEADLINE = 3.0
"""Seconds within which the guard has seen a process that is alive."""
_BIRTH_STEP = 0.05
_QUIET_READINGS = 6
"""Readings while the server is left alone for long, after the first."""

Watch = Callable[[str, int, int], None]
"""Told the phase, the requests done in it, and how many there will be."""


def run_experiment(
    server: Server,
    deployment: Deployment,
    app_name: str,
    workers: tuple[int, int],
    application: Application,
    plan: LoadPlan,
    watch: Watch,
) -> Observed:
    """Put ``server`` under load according to ``plan``, stop it, and return all that was measured.

    ``workers`` is how many processes run the application, and how many request threads each has.
    ``application`` says where they leave what the interpreter says when it dies.
    """
    experiment = _Experiment(server, deployment, app_name, workers, application, plan, watch)
    with experiment.phase(PhaseName.WARM_UP):
        experiment.warm_up()
    with experiment.phase(PhaseName.PARALLEL):
        experiment.work(plan.parallel, plan.connections)
    with experiment.phase(PhaseName.SERIAL):
        experiment.work(plan.serial, 1)
    with experiment.phase(PhaseName.COOL_DOWN):
        experiment.cool_down()
    while more := experiment.extra_requests():
        with experiment.phase(PhaseName.EXTRA_LOAD):
            experiment.work(more, plan.connections)
        with experiment.phase(PhaseName.COOL_DOWN):
            experiment.cool_down()
    with experiment.phase(PhaseName.DIAGNOSIS):
        experiment.confirm()
        experiment.diagnose()
    if ExtraPhase.FAILOVER in plan.phases:
        with experiment.phase(PhaseName.FAILOVER):
            experiment.fail_over()
    if ExtraPhase.IDLE in plan.phases:
        with experiment.phase(PhaseName.IDLE):
            experiment.watch_idle()
    if ExtraPhase.RESTART in plan.phases:
        with experiment.phase(PhaseName.RESTART):
            experiment.restart()
    if ExtraPhase.RELOAD in plan.phases:
        with experiment.phase(PhaseName.RELOAD):
            experiment.reload()
    with experiment.phase(PhaseName.STOP):
        experiment.stop()
    return experiment.observed(complete=True)


class _Experiment:
    """What has been measured so far, and the steps that measure more.

    Once there is nothing more to learn (``aborted``) or to prove (``called``), a step does nothing.
    """

    def __init__(
        self,
        server: Server,
        deployment: Deployment,
        app_name: str,
        workers: tuple[int, int],
        application: Application,
        plan: LoadPlan,
        watch: Watch,
    ) -> None:
        self._server = server
        self._evidence = Evidence(application.evidence)
        self._stack_collector = StackCollector(server, self._evidence)
        self._owned = deployment.owned
        self._workers = workers
        self._plan = plan
        self._watch = watch
        self._load = Load(
            server, plan, application.secret, lambda: self._stack_collector.take_soon(self._phase)
        )
        self._sampler = Sampler(server, deployment, app_name, workers, self._load)
        self._trials = Restarts(
            server, self._load, self._sampler, plan, workers, self._stack_collector
        )
        self._failover = Failover(server, deployment, self._load, self._sampler, plan)
        self._log = LogFollower(server.error_log)
        self._phases: list[Phase] = []
        self._checkpoints: list[Sample] = []
        self._grown: tuple[ObjectGrowth, ...] = ()
        self._confirmations: tuple[Confirmation, ...] = ()
        self._attributions: tuple[Attribution, ...] = ()
        self._idle_samples: list[Sample] = []
        self._restarts: list[Restart] = []
        self._outages: list[Outage] = []
        self._stop: Stop | None = None
        self._phase = PhaseName.WARM_UP
        self._memory_due = 0
        self._warmed: set[int] = set()
        """Processes whose pools have been filled."""
        self._libraries: set[str] = set()
        self._aborted = ""
        self._decided_early = ""
        self._budget_exhausted = ""
        self._started = time.monotonic()

    @contextmanager
    def phase(self, name: PhaseName) -> Iterator[None]:
        """Everything measured inside belongs to phase ``name``."""
        answers = self._load.answers
        self._phase = name
        answers.phase = name
        started, before = time.monotonic(), answers.requests
        try:
            yield
        finally:
            self._log.read(name)
            self._phases.append(
                Phase(
                    name=name,
                    started=started,
                    seconds=time.monotonic() - started,
                    requests=answers.requests - before,
                )
            )
        self._check_limits()
        if pids := strangers(answers.served, self._server.service):
            raise ServiceFailed(
                f"in phase {name}: process {', '.join(map(str, pids))} answered at "
                f"{self._server.urls[0]} and is none of this cell's Apache: something else on this "
                "machine uses its port"
            )

    def _check_limits(self) -> None:
        """Raise :class:`CannotRun` where a limit of this machine has been reached.

        What is written then is lost, and what fails then says nothing about the subject.
        """
        problems = [
            limits.why_full(self._server.error_log.parent),
            limits.why_full(self._evidence.path),
        ]
        if self._load.answers.failed:
            problems.append(limits.why_no_port())
        if self._phase == PhaseName.WARM_UP:  # later on, the subject may have used it up
            problems += [limits.explain_log_line(line.text) for line in self._log.lines]
        if reached := next(filter(None, problems), ""):
            raise CannotRun(f"in phase {self._phase}: {reached}")

    def warm_up(self) -> None:
        """Go on until every interpreter of every process has served, then fill pools and caches.

        Each burst holds as many requests inside as there are workers, and lets all go at the same
        instant; each then keeps a connection busy, so that every worker thread has its own at once
        and the pool of every interpreter is full.
        """
        for burst in range(1, _MOST_BURSTS + 1):
            self._watch(self._phase, burst, _MOST_BURSTS)
            for target in self._load.targets:
                # The first of them wait until the application is loaded.
                self._hold_all(target, self._plan.start_deadline if burst == 1 else None)
                if self._load.hopeless():
                    break
            if self._load.answers.succeeded == 0:
                self._aborted = "no request of the first burst was answered as it should be"
            else:
                self._aborted = self._load.hopeless()
            if self._aborted:
                return
            # An application may make its clients in its first request: the second burst meets them.
            if burst > 1 and self._saturated():
                break
        self._warm_newcomers()
        self._sampler.read(self._phase, memory=True)  # what it needs itself is loaded by this
        self._load.mixed(self._plan.warm_up, self._plan.connections)
        self._warm_newcomers()
        self._sample(memory=True)

    def work(self, requests: int, connections: int) -> None:
        """``requests`` requests in rounds, with a sample after each round.

        Ends early where the judge is sure of a leak already.
        """
        done = 0
        for size in rounds(requests, self._plan.round):
            if self._aborted or self._decided_early or self._over_budget(requests - done):
                return
            self._warm_newcomers()
            self._watch(self._phase, done, requests)
            self._load.mixed(size, connections)
            done += size
            self._sample(memory=self._load.answers.requests >= self._memory_due)
            self._decided_early = leaks.certain_leak(
                self._checkpoints, len(self._load.targets), *self._workers
            )

    def _over_budget(self, left: int) -> bool:
        """Whether there is no time for the ``left`` requests of this phase."""
        if self._time_is_up():
            self._budget_exhausted = (
                f"the limit of {self._plan.max_seconds:g} s was reached with {left:,} requests of "
                f"the {self._phase} phase to go"
            )
        return bool(self._budget_exhausted)

    def _time_is_up(self) -> bool:
        budget = self._plan.max_seconds
        return budget is not None and time.monotonic() - self._started > budget

    def _warm_newcomers(self) -> None:
        """Fill the pools of processes that have come since, as those of the first were filled."""
        living = self._server.living().items()
        workers = {pid for pid, role in living if role is Role.WORKER}
        if self._warmed and workers - self._warmed:
            for target in self._load.targets:
                self._hold_all(target)
        self._warmed |= workers

    def cool_down(self) -> None:
        """Leave the server alone for a while, and see what it still holds on to then."""
        if self._aborted:
            return
        self._watch(self._phase, 0, 1)
        time.sleep(self._plan.cool_down)
        self._sample(memory=True)

    def watch_idle(self) -> None:
        """Leave the server alone for long, and read what it has again and again."""
        if self._aborted:
            return
        began = time.monotonic()
        for number in range(_QUIET_READINGS + 1):
            self._watch(self._phase, number, _QUIET_READINGS)
            due = began + self._plan.idle_seconds * number / _QUIET_READINGS
            time.sleep(max(0.0, due - time.monotonic()))
            self._idle_samples.append(self._sampler.read(self._phase))

    def extra_requests(self) -> int:
        """How many more requests are likely to decide what the judge can't decide yet.

        0 if there is nothing of that kind, if something leaks for certain, or if each of it takes
        more than may be added.
        """
        if self._aborted or self._decided_early or self._budget_exhausted:
            return 0
        observed = self.observed()
        if leaks.leak_rates(observed).keys() - leaks.to_confirm(observed) or memory.grows(observed):
            return 0
        added = sum(one.requests for one in self._phases if one.name == PhaseName.EXTRA_LOAD)
        left = self._plan.extra_requests - added
        wanted = (*leaks.more_to_decide(observed), memory.more_to_decide(observed))
        return max((more for more in wanted if more <= left), default=0)

    def confirm(self) -> None:
        """Where something grows that may be a pool which fills as requests happen to overlap, fill
        all pools, and see whether it goes on."""
        if self._aborted or self._decided_early or self._budget_exhausted:
            return
        suspects = leaks.to_confirm(self.observed())
        if suspects:
            self._watch(self._phase, 0, 1)
            until_full(self._fill_pools, self._sampler.counts)
            self._confirmations = confirm(
                suspects, self._load, self._sampler, self._plan, self._phase, self._time_is_up
            )

    def diagnose(self) -> None:
        """Where something leaks, a little more load shows what it is, and through which URL."""
        if self._aborted:
            return
        observed = self.observed()
        rates = leaks.leak_rates(observed)
        if rates:
            self._watch(self._phase, 0, 1)
            self._attributions = attribute(rates, self._load, self._sampler, self._phase)
        if memory.grows(observed):
            self._watch(self._phase, 0, 1)
            self._grown = object_growth(self._load, self._sampler)

    def fail_over(self) -> None:
        """Do to the deployment each harm that fits it, under load, until one is not recovered from.

        Not after a leak was found: it would go on in each of them.
        """
        if self._aborted or self._decided_early:
            return
        faults = self._failover.faults()
        if faults:
            self._failover.fill_all_pools(self._fill_pools)
        for done, fault in enumerate(faults):
            self._watch(self._phase, done, len(faults))
            self._outages.append(self._failover.outage(fault, self._fill_pools))
            self._log.read(self._phase)
            if self._outages[-1].recovered is None:
                self._aborted = f"requests were not answered again after '{fault.name}'"
                return

    def _fill_pools(self) -> None:
        for target in self._load.targets:
            self._hold_all(target)

    def restart(self) -> None:
        """Restart gracefully, under load."""
        self._replace(self._trials.graceful(self._rate()))

    def reload(self) -> None:
        """Have mod_wsgi replace its daemon process, under load. In embedded mode no process goes:
        the script is loaded again in the same interpreter."""
        if self._server.daemon:
            self._replace(self._trials.reload(self._rate()))

    def _replace(self, restarts: Iterator[Restart]) -> None:
        for done in range(self._plan.restarts):
            if self._aborted:
                return
            self._watch(self._phase, done, self._plan.restarts)
            restart = next(restarts)
            self._load.expect(restart.refused)  # it is judged with the restart
            self._restarts.append(restart)
            self._log.read(self._phase)
            self._aborted = self._load.hopeless()

    def stop(self) -> None:
        """Stop the server, and wait until the deployment has seen its connections go."""
        self._watch(self._phase, 0, 1)
        self._stack_collector.settle()
        stopped = self._server.stop(
            self._plan.stop_deadline,
            self._plan.stop_patience,
            lambda: self._stack_collector.take_ending(self._phase),
        )
        limit = time.monotonic() + self._plan.disconnect_timeout
        left = self._sampler.counts().connections
        while left and time.monotonic() < limit:
            time.sleep(_FAREWELL_STEP)
            left = self._sampler.counts().connections
        self._stop = Stop(seconds=stopped.seconds, leftover=stopped.leftover, connections_left=left)

    def observed(self, *, complete: bool = False) -> Observed:
        """All of it so far; ``complete`` with what the processes left, when the server is gone."""
        evidence = self._evidence
        answers = self._load.answers
        if complete:
            self._log.finish(self._phase)
        identities = answers.identities()
        events = tuple(map(self._event, self._server.service.events()))
        return Observed(
            plan=self._plan,
            urls=self._server.urls,
            phases=tuple(self._phases),
            requests=answers.requests,
            identities=identities,
            loaded=read_loaded(evidence, identities) if complete else (),
            failures=answers.failures(),
            problems=answers.problems(),
            elsewhere=answers.elsewhere,
            samples=tuple(self._checkpoints),
            workers=self._workers,
            owned=self._owned,
            decided_early=self._decided_early,
            budget_exhausted=self._budget_exhausted,
            object_growth=self._grown,
            confirmations=self._confirmations,
            attributions=self._attributions,
            events=events,
            log=tuple(self._log.lines),
            log_lines_dropped=self._log.dropped,
            fatal_traces=read_fatal_traces(evidence) if complete else (),
            stacks=self._stack_collector.stacks(events) if complete else (),
            unfinished=read_unfinished(evidence) if complete else (),
            leftover_threads=read_leftover_threads(evidence) if complete else (),
            missing=self._missing() if complete else (),  # after all that notes some
            libraries=tuple(sorted(self._libraries)),
            idle_samples=tuple(self._idle_samples),
            restarts=tuple(self._restarts),
            outages=tuple(self._outages),
            stop=self._stop,
            aborted=self._aborted,
            requests_per_second=self._rate(),
            serving_seconds=self._load.seconds(),
            latencies=self._load.latencies(),
            load_timeline=self._load.timeline(),
        )

    def _missing(self) -> tuple[MissingEvidence, ...]:
        if self._log.damaged:
            self._evidence.note("log", self._log.damaged)
        return self._evidence.missing()

    def _hold_all(self, target: Target, deadline: float | None = None) -> None:
        processes, threads = self._workers
        until = time.monotonic() + _HOLD
        held = self._load.commands.on(target, until=until, occupy=_OCCUPY)
        self._load.burst(held, processes * threads, deadline or self._plan.request_deadline)

    def _saturated(self) -> bool:
        processes, threads = self._workers
        workers = self._load.answers.workers()
        return len(workers) == len(self._load.targets) and all(
            len(served) >= processes and min(served.values()) >= threads
            for served in workers.values()
        )

    def _sample(self, *, memory: bool) -> None:
        if memory:
            self._memory_due = self._load.answers.requests + self._plan.memory_every
            self._note_libraries()
        self._log.read(self._phase)
        self._checkpoints.append(self._sampler.read(self._phase, memory=memory))
        self._aborted = self._load.hopeless()

    def _note_libraries(self) -> None:
        for pid, role in self._server.living().items():
            if role is Role.WORKER:
                self._libraries |= loaded_libraries(pid)

    def _event(self, event: ProcessEvent) -> Event:
        return Event(
            phase=self._phase_at(event.time),
            time=event.time,
            kind=event.kind,
            pid=event.pid,
            role=self._server.role(event.pid),
            exit=event.exit,
            signal=event.signal,
            core=event.core,
        )

    def _phase_at(self, moment: float) -> str:
        """The phase that ``moment`` is in; what came before the first is the start."""
        return next(
            (phase.name for phase in reversed(self._phases) if phase.started <= moment), "start"
        )

    def _rate(self) -> float | None:
        """Requests per second of the parallel phase, without its samples."""
        done = sum(phase.requests for phase in self._phases if phase.name == PhaseName.PARALLEL)
        seconds = self._load.seconds(PhaseName.PARALLEL)
        return done / seconds if seconds else None


def strangers(served: Collection[int], service: Service) -> tuple[int, ...]:
    """Which of the processes that answered are alive, and neither the service nor below it.

    One that is gone may have been too short-lived to be seen. A birth is seen a little later than
    it happens.
    """
    limit = time.monotonic() + _BIRTH_DEADLINE
    while True:
        known = {event.pid for event in service.events()}
        unknown = tuple(pid for pid in sorted(served) if pid not in known and pid_exists(pid))
        if not unknown or time.monotonic() > limit:
            return unknown
        time.sleep(_BIRTH_STEP)
