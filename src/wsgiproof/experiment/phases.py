"""Runs the phases of one cell, and takes samples while there are no requests.

This module decides when load runs and when resources are read. :mod:`wsgiproof.judge` decides what
they mean, from the :class:`~wsgiproof.records.observed.Observed` that this module returns. It is
also asked in between whether it is already certain, and what to measure again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

from psutil import pid_exists

from wsgiproof import limits
from wsgiproof.errors import CannotRun, ServiceFailed
from wsgiproof.experiment.diagnosis import attribute, cache_trial, confirm, object_growth
from wsgiproof.experiment.failover import Failover
from wsgiproof.experiment.load import MOST_FILLS, Load, rounds, until_full
from wsgiproof.experiment.restarts import Restarts
from wsgiproof.experiment.sampler import Sampler
from wsgiproof.experiment.stack_collector import StackCollector
from wsgiproof.judge import leaks, memory
from wsgiproof.judge.resources import Resource, Resources
from wsgiproof.load.target import Target
from wsgiproof.observe.evidence import Evidence
from wsgiproof.observe.fatal_traces import read_fatal_traces, read_leftover_threads, read_loaded
from wsgiproof.observe.in_flight import read_unfinished
from wsgiproof.observe.log import LogFollower
from wsgiproof.observe.processes import ProcessorWaits, loaded_libraries
from wsgiproof.observe.starvation import Starvation
from wsgiproof.process.supervise import ProcessEvent, Service
from wsgiproof.provision.toolchain import Application
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
    Restart,
    Role,
    Sample,
    Stop,
)
from wsgiproof.records.plan import ExtraPhase, LoadPlan, PhaseName
from wsgiproof.server.apache import Server
from wsgiproof.subjects.base import Backend

_HOLD = 0.15
"""Seconds that the requests of a warm-up burst wait inside, so that all have arrived by then."""
_OCCUPY = 0.1
"""Seconds for which each of them then keeps a connection to the deployment busy."""
_FILLS = 3
"""How often the pools are filled at most before they count as full."""
_MOST_BURSTS = 20
_DISCONNECT_STEP = 0.02
_BIRTH_DEADLINE = 3.0
"""Seconds within which the guard reports a new process."""
_BIRTH_STEP = 0.05
_DRAIN_STEP = 0.5
"""Seconds between two looks at the counts in a drain."""
_DRAINS = 2
"""Times that load is added and drained again, at most, if growth was temporary."""
_CHANCE = 0.25
"""More requests may decide if they are at least this share of what is likely to."""
_IDLE_SAMPLES = 6
"""Samples of phase ``idle``, after the first."""
_AFTER_PAUSE = 2
"""Requests for each URL at the end of phase ``idle``."""

OnProgress = Callable[[str, int, int], None]
"""Called with the phase, the steps done in it, and how many there are."""


def run_experiment(
    server: Server,
    deployment: Backend,
    app_name: str,
    workers: tuple[int, int],
    application: Application,
    plan: LoadPlan,
    resources: Resources,
    on_progress: OnProgress,
) -> Observed:
    """Put ``server`` under load according to ``plan``, stop it, and return all measurements.

    ``workers`` is how many processes run the application, and how many request threads each has.
    ``application`` has the directory in which they leave their evidence. ``resources`` are those
    that the judge looks at.
    """
    experiment = _Experiment(
        server, deployment, app_name, workers, application, plan, resources, on_progress
    )
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
        experiment.fill_again()
        experiment.confirm()
        experiment.try_caches()
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
    experiment.settle()
    with experiment.phase(PhaseName.STOP):
        experiment.stop()
    return experiment.observed(complete=True)


class _Experiment:
    """The measurements so far, and the steps that measure more.

    A step does nothing once the experiment is aborted, decided early, or out of time.
    """

    def __init__(
        self,
        server: Server,
        deployment: Backend,
        app_name: str,
        workers: tuple[int, int],
        application: Application,
        plan: LoadPlan,
        resources: Resources,
        on_progress: OnProgress,
    ) -> None:
        self._server = server
        self._evidence = Evidence(application.evidence)
        self._subject = application.identity
        self._stack_collector = StackCollector(server, self._evidence)
        self._backend = deployment
        self._resources = resources
        self._workers = workers
        self._plan = plan
        self._on_progress = on_progress
        starvation = Starvation(lambda: (os.getpid(), *server.living(), *deployment.pids()))
        self._load = Load(
            server,
            plan,
            application,
            lambda: self._stack_collector.take_soon(self._phase),
            starvation,
        )
        self._sampler = Sampler(server, deployment, app_name, workers, self._load, application)
        self._replacements = Restarts(
            server, self._load, self._sampler, plan, workers, self._stack_collector
        )
        self._failover = Failover(server, deployment, self._load, self._sampler, plan)
        self._log = LogFollower(server.error_log)
        self._phases: list[Phase] = []
        self._samples: list[Sample] = []
        self._full_pools: list[Sample] = []
        self._object_growth: tuple[ObjectGrowth, ...] = ()
        self._confirmations: tuple[Confirmation, ...] = ()
        self._attributions: tuple[Attribution, ...] = ()
        self._drained: list[Sample] = []
        self._cache_trials: list[CacheTrial] = []
        self._outlived_drain: bool | None = None
        """Whether growth beyond any pool was still there after a drain; None if there was none."""
        self._idle_samples: list[Sample] = []
        self._restarts: list[Restart] = []
        self._outages: list[Outage] = []
        self._stop: Stop | None = None
        self._phase = PhaseName.WARM_UP
        self._memory_due = 0
        self._warmed: set[int] = set()
        """The processes whose pools have been filled."""
        self._libraries: set[str] = set()
        self._aborted = ""
        self._decided_early = ""
        self._budget_exhausted = ""
        self._started = time.monotonic()

    @contextmanager
    def phase(self, name: PhaseName) -> Iterator[None]:
        """Record everything that is measured in the block under phase ``name``.

        Raises :class:`CannotRun` if this machine reached a limit in it, and :class:`ServiceFailed`
        if another server answered.
        """
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
        if pids := foreign_processes(answers.served, self._server.service):
            raise ServiceFailed(
                f"in phase {name}: process {', '.join(map(str, pids))} answered at "
                f"{self._server.urls[0]} and does not belong to this cell's Apache: another "
                "program on this machine uses its port"
            )

    def _check_limits(self) -> None:
        """Raise :class:`CannotRun` if this machine has reached one of its limits.

        Data may be lost then, and failures say nothing about the subject.
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
        """Send bursts until every interpreter of every process has served; fill pools and caches.

        Each burst holds as many requests inside as there are worker threads, and releases them at
        the same instant. Each then keeps a connection busy, so that every worker thread has its own
        connection and the pool of every interpreter is full.
        """
        for burst in range(1, _MOST_BURSTS + 1):
            self._on_progress(self._phase, burst, _MOST_BURSTS)
            for target in self._load.targets:
                # The first requests wait until the application is loaded.
                self._hold_all(target, self._plan.start_deadline if burst == 1 else None)
                if self._load.hopeless():
                    break
            if self._load.answers.succeeded == 0:
                self._aborted = "no request of the first burst was answered correctly"
            else:
                self._aborted = self._load.hopeless()
            if self._aborted:
                return
            # An application may make its clients in its first request: the second burst finds them.
            if burst > 1 and self._saturated():
                break
        self._warm_newcomers()
        self._sampler.read(self._phase, memory=True)  # loads what the measurement itself needs
        self._load.mixed(self._plan.warm_up, self._plan.connections)
        self._warm_newcomers()
        self._full_pools.append(self._read_full())
        self._sample(memory=True)

    def work(self, requests: int, connections: int) -> None:
        """Make ``requests`` requests in rounds, with a sample after each round.

        The load ends early if the judge is already certain of a leak.
        """
        done = 0
        for size in rounds(requests, self._plan.round):
            if self._aborted or self._decided_early or self._over_budget(requests - done):
                return
            self._warm_newcomers()
            self._on_progress(self._phase, done, requests)
            self._load.mixed(size, connections)
            done += size
            self._sample(memory=self._load.answers.requests >= self._memory_due)
            self._decided_early = self._certain_leak()

    def _certain_leak(self) -> str:
        """Return what certainly leaks, as a sentence; empty if nothing does.

        Growth beyond any pool has to be there after a drain, and to continue in another round.
        """
        if self._outlived_drain is False or not (grown := self._beyond_any_pool()):
            return ""
        if not self._plan.drain:
            return grown
        if self._outlived_drain:
            return f"{grown}, and still there after {self._plan.drain:g} seconds without a request"
        self._drain(lambda sample: not self._beyond_any_pool(sample))
        self._sample(memory=False)
        self._outlived_drain = bool(self._beyond_any_pool())
        return ""

    def _beyond_any_pool(self, *now: Sample) -> str:
        samples = (*self._samples, *now)
        return leaks.certain_leak(self._resources, samples, len(self._load.targets), *self._workers)

    def _drain(self, over: Callable[[Sample], bool]) -> None:
        """Make no requests for as long as the plan's drain, or until ``over()`` is true.

        Then each interpreter gets a request, so that it can drop what has expired.
        """
        ends = time.monotonic() + self._plan.drain
        while (left := ends - time.monotonic()) > 0:
            time.sleep(min(left, _DRAIN_STEP))
            if over(self._sampler.read(self._phase)):
                break
        self._sampler.touch()

    def _over_budget(self, left: int) -> bool:
        """Return whether the time is over with ``left`` requests of this phase to go."""
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
        """Fill the pools of processes that have started since, as those of the first were."""
        living = self._server.living().items()
        workers = {pid for pid, role in living if role is Role.WORKER}
        if self._warmed and workers - self._warmed:
            for target in self._load.targets:
                self._hold_all(target)
        self._warmed |= workers

    def cool_down(self) -> None:
        """Make no requests for a while, and take a sample of what the server still holds."""
        if self._aborted:
            return
        self._on_progress(self._phase, 0, 1)
        time.sleep(self._plan.cool_down)
        self._sample(memory=True)
        if not self._plan.drain or self._decided_early or self._aborted:
            return
        observed = self.observed()
        growing, memory_grows = (
            leaks.growing(self._resources, observed),
            memory.seems_to_grow(observed),
        )
        if growing or memory_grows:
            self._drain(self._has_returned(growing, self._samples[0], memory_grows))
            self._sample(memory=True)

    def watch_idle(self) -> None:
        """Make no requests for a long time, and take samples at intervals."""
        if self._aborted:
            return
        began = time.monotonic()
        for number in range(_IDLE_SAMPLES + 1):
            self._on_progress(self._phase, number, _IDLE_SAMPLES)
            due = began + self._plan.idle_seconds * number / _IDLE_SAMPLES
            time.sleep(max(0.0, due - time.monotonic()))
            self._idle_samples.append(self._sampler.read_idle(self._phase))
        # The first request after a long pause may find connections closed, or take long.
        self._load.mixed(_AFTER_PAUSE * len(self._load.targets), 1)

    def extra_requests(self) -> int:
        """Return how many more requests may decide what the judge can't decide yet.

        0 if nothing is undecided, if something certainly leaks, or if the requests that may still
        be added have no chance to decide. What is likely to be needed is an estimate, so fewer
        requests are added, too.
        """
        if self._aborted or self._decided_early or self._budget_exhausted:
            return 0
        observed = self.observed()
        unsure = {
            *leaks.to_confirm(self._resources, observed),
            *leaks.to_confirm_alone(self._resources, observed),
        }
        if leaks.leak_rates(self._resources, observed).keys() - unsure or memory.seems_to_grow(
            observed
        ):
            return 0
        added = sum(one.requests for one in self._phases if one.name == PhaseName.EXTRA_LOAD)
        left = self._plan.extra_requests - added
        needed = (*leaks.more_to_decide(self._resources, observed), memory.more_to_decide(observed))
        return affordable(needed, left)

    def fill_again(self) -> None:
        """Fill all pools as at the end of the warm-up: they show now what they have lost."""
        if not self._aborted:
            self._on_progress(self._phase, 0, 1)
            self._full_pools.append(self._read_full())

    def confirm(self) -> None:
        """If a count grows that may be a pool, fill all pools and see whether it keeps growing.

        Some pools fill only when requests happen to overlap.
        """
        if self._aborted or self._decided_early or self._budget_exhausted:
            return
        self._drain_again()
        for alone in (False, True):
            observed = self.observed()
            suspects = (
                leaks.to_confirm_alone(self._resources, observed)
                if alone
                else leaks.to_confirm(self._resources, observed)
            )
            # What has been confirmed as a leak is one, whatever requests that are alone would show.
            leaking = leaks.leak_rates(self._resources, observed)
            confirmed = {one.check for one in self._confirmations if one.check in leaking}
            needed = {check: least for check, least in suspects.items() if check not in confirmed}
            if not needed:
                continue
            self._on_progress(self._phase, 0, 1)
            confirmations, samples = confirm(
                self._resources,
                needed,
                self._read_full(MOST_FILLS),
                self._load,
                self._read_full,
                self._plan,
                self._time_is_up,
                alone=alone,
            )
            self._confirmations += confirmations
            self._full_pools += samples

    def _drain_again(self) -> None:
        """If a part of some growth was temporary, add load and compare what is there after drains.

        The first value is that of the cool-down.
        """
        self._drained = self._samples[-1:]
        for _ in range(_DRAINS):
            observed = self.observed()
            growing, memory_grows = (
                leaks.to_drain(self._resources, observed),
                memory.to_drain(observed),
            )
            if not (growing or memory_grows) or self._aborted or self._time_is_up():
                break
            self._on_progress(self._phase, 0, 1)
            half = (self._plan.parallel + self._plan.serial) // 2
            self._load.mixed(half, self._plan.connections)
            self._drain(self._has_returned(growing, self._drained[0], memory_grows))
            self._drained.append(self._sampler.read(self._phase, memory=True))
            self._aborted = self._load.hopeless()
        if len(self._drained) == 1:
            self._drained = []

    @staticmethod
    def _has_returned(
        growing: Sequence[Resource], before: Sample, memory_grows: bool
    ) -> Callable[[Sample], bool]:
        """Return what ends a drain: the counts are back. Memory takes requests to read."""
        return lambda now: not memory_grows and leaks.have_returned(growing, before, now)

    def try_caches(self) -> None:
        """If memory grows as a cache does that is not full, see whether it continues when it is.

        One URL after the other gets enough requests to fill a cache of its interpreters, until
        memory grows behind one. There is no trial after a count was found to leak: that takes
        memory, too.
        """
        if self._aborted or self._decided_early or self._budget_exhausted:
            return
        observed = self.observed()
        if leaks.leak_rates(self._resources, observed) or not memory.to_try(observed):
            return
        for target in self._load.targets:
            self._on_progress(self._phase, 0, 1)
            trial = cache_trial(
                target, self._load, self._sampler, self._plan, self._workers[0], self._time_is_up
            )
            self._cache_trials.append(trial)
            self._aborted = self._load.hopeless()
            if self._aborted or not trial.full or memory.trial_continues(trial, observed):
                return

    def diagnose(self) -> None:
        """If something leaks, find out with a little more load what it is, and in which URL."""
        if self._aborted:
            return
        observed = self.observed()
        rates = leaks.leak_rates(self._resources, observed)
        if rates:
            self._on_progress(self._phase, 0, 1)
            alone = any(one.alone for one in self._confirmations)
            self._attributions = attribute(
                self._resources,
                rates,
                self._load,
                self._sampler,
                self._phase,
                1 if alone else self._plan.connections,
            )
        if memory.grows(observed):
            self._on_progress(self._phase, 0, 1)
            self._object_growth = object_growth(self._load, self._sampler)

    def fail_over(self) -> None:
        """Inject each fault that the deployment allows, until the server does not recover from one.

        After a leak was found there are no faults: it would continue in each of them.
        """
        if self._aborted or self._decided_early:
            return
        faults = self._failover.faults()
        if faults:
            self._failover.fill_all_pools(self._fill_pools)
        for done, fault in enumerate(faults):
            self._on_progress(self._phase, done, len(faults))
            self._outages.append(self._failover.outage(fault, self._fill_pools))
            self._log.read(self._phase)
            if self._outages[-1].recovered is None:
                self._aborted = f"requests were not answered again after '{fault.name}'"
                return

    def _read_full(self, most: int = _FILLS) -> Sample:
        """Fill all pools, unless requests only fail, and return a sample.

        ``most`` is how often they are filled at most.
        """

        def fill() -> None:
            if not self._load.hopeless():
                self._fill_pools()

        until_full(fill, self._sampler.pools, most)
        return self._sampler.read(self._phase)

    def _fill_pools(self) -> None:
        for target in self._load.targets:
            self._hold_all(target)

    def restart(self) -> None:
        """Restart gracefully, under load."""
        self._replace(self._replacements.graceful(self._rate()))

    def reload(self) -> None:
        """Make mod_wsgi replace its daemon process, under load.

        Embedded mode replaces no process: it loads the script again in the same interpreter.
        """
        if self._server.daemon:
            self._replace(self._replacements.reload(self._rate()))

    def _replace(self, restarts: Iterator[Restart]) -> None:
        for done in range(self._plan.restarts):
            if self._aborted:
                return
            self._on_progress(self._phase, done, self._plan.restarts)
            restart = next(restarts)
            self._load.expect(restart.refused)  # the check "restart" judges them
            self._restarts.append(restart)
            self._log.read(self._phase)
            self._aborted = self._load.hopeless()

    def settle(self) -> None:
        """Wait until no stacks are being read, so that the stop begins with its phase."""
        self._stack_collector.settle()

    def stop(self) -> None:
        """Stop the server, and wait until the backend has seen its connections close."""
        self._on_progress(self._phase, 0, 1)
        with ProcessorWaits(self._server.living()) as waits:
            stopped = self._server.stop(
                self._plan.stop_deadline,
                self._plan.stop_patience,
                lambda: self._stack_collector.take_ending(self._phase),
            )
        limit = time.monotonic() + self._plan.disconnect_timeout
        left = self._sampler.connections()
        while left and time.monotonic() < limit:
            time.sleep(_DISCONNECT_STEP)
            left = self._sampler.connections()
        self._stop = Stop(
            seconds=stopped.seconds,
            leftover=stopped.leftover,
            connections_left=left,
            processor_waits=waits.noticeable(),
        )

    def observed(self, *, complete: bool = False) -> Observed:
        """Return all measurements so far.

        If ``complete``, the server has stopped, and the evidence of its processes is included.
        """
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
            loaded=read_loaded(evidence, identities, self._subject) if complete else (),
            failures=answers.failures(),
            answers=answers.answers(),
            starved=round(self._load.starved, 3),
            problems=answers.problems(),
            elsewhere=answers.elsewhere,
            samples=tuple(self._samples),
            workers=self._workers,
            backend=self._backend.title,
            owned=self._backend.owned,
            decided_early=self._decided_early,
            budget_exhausted=self._budget_exhausted,
            full_pools=tuple(self._full_pools),
            object_growth=self._object_growth,
            confirmations=self._confirmations,
            attributions=self._attributions,
            drained=tuple(self._drained),
            cache_trials=tuple(self._cache_trials),
            events=events,
            log=tuple(self._log.lines),
            log_lines_dropped=self._log.dropped,
            fatal_traces=read_fatal_traces(evidence) if complete else (),
            stacks=self._stack_collector.stacks(events) if complete else (),
            unfinished=read_unfinished(evidence) if complete else (),
            leftover_threads=read_leftover_threads(evidence) if complete else (),
            missing=self._missing() if complete else (),  # last: reading the others adds to it
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
        self._samples.append(self._sampler.read(self._phase, memory=memory))
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
        """Return the phase at ``moment``; ``start`` is before the first one."""
        return next(
            (phase.name for phase in reversed(self._phases) if phase.started <= moment),
            PhaseName.START,
        )

    def _rate(self) -> float | None:
        """Return the requests per second of the parallel phase, without its samples."""
        done = sum(phase.requests for phase in self._phases if phase.name == PhaseName.PARALLEL)
        seconds = self._load.seconds(PhaseName.PARALLEL)
        return done / seconds if seconds else None


def affordable(needed: Iterable[int], left: int) -> int:
    """Return how many requests to add if at most ``left`` may be, and ``needed`` are likely to do.

    ``needed`` are estimates, so fewer requests may do, too, if they are not far fewer.
    """
    return max((min(more, left) for more in needed if left >= _CHANCE * more), default=0)


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
