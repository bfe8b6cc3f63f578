"""Running cells: build, services, experiment, judge, record.

:func:`run_cell` is the table of contents of a cell, and :func:`_attempt` is the one place where
exceptions turn into verdicts.
"""

from __future__ import annotations

import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import msgspec

from wsgiproof import limits
from wsgiproof.account import Account
from wsgiproof.build.httpd import build_httpd, httpd_build
from wsgiproof.build.toolchain import build_toolchain
from wsgiproof.cache import Cache
from wsgiproof.cell import Cell, Topology
from wsgiproof.errors import ServiceFailed, WsgiproofError, describe, interrupted
from wsgiproof.experiment.phases import run_experiment
from wsgiproof.judge.verdict import judge_record
from wsgiproof.records import CellRecord, LoadPlan, Observed, Verdict
from wsgiproof.results import CELLS, TRIES, save_cell
from wsgiproof.scratch import scratch_directory
from wsgiproof.services.apache import Server, start_apache
from wsgiproof.services.apache_conf import ERROR_LOG, ApacheConf, workers
from wsgiproof.services.deployment import (
    Deployment,
    NoDeployment,
    connect_deployment,
    start_deployment,
)
from wsgiproof.services.mongod import Mongod
from wsgiproof.services.ports import free_port
from wsgiproof.subjects.application import lay_out
from wsgiproof.toolchain import Application, BuildSpec, Httpd, Toolchain


class Watcher(Protocol):
    """Whoever wants to know how far a cell has come."""

    def step(self, cell: Cell, text: str) -> None:
        """Something begins that takes seconds, or minutes."""

    def watch(self, cell: Cell, phase: str, done: int, total: int) -> None:
        """So many of a phase's requests are done."""


class Silent:
    """Nobody watches."""

    def step(self, cell: Cell, text: str) -> None:
        """Nobody is told."""

    def watch(self, cell: Cell, phase: str, done: int, total: int) -> None:
        """Nobody is told."""


class Progress(Watcher, Protocol):
    """Whoever wants to show how far a whole run has come."""

    def begin(self, cells: Sequence[Cell], output: Path, slots: int) -> None:
        """These cells will be run, ``slots`` at a time, and their records kept in ``output``."""

    def cell_started(self, cell: Cell) -> None:
        """A cell is next."""

    def cell_finished(self, record: CellRecord) -> None:
        """A cell has its verdict."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A cell, and all that decides what comes of it; a value that another process can be given."""

    cell: Cell
    spec: BuildSpec
    server: Mongod | str | None
    """The mongod to start, or the URI of a deployment that is there; None: neither is needed."""
    plan: LoadPlan
    rerun: str
    """The command that runs this cell alone."""
    inputs: str = ""
    """A digest of all that the cell is made of."""
    retries: int = 0
    """How often it is tried again where it ends in ``error``; a verdict never is."""
    tries: tuple[str, ...] = ()
    """Why earlier tries of it ended in ``error``."""

    def record(self, verdict: Verdict, reason: str, tries: tuple[str, ...] = ()) -> CellRecord:
        """Its record where nothing was observed."""
        return CellRecord(
            cell=self.cell,
            verdict=verdict,
            reason=reason,
            rerun=self.rerun,
            directory=f"{CELLS}/{self.cell.id}",
            inputs=self.inputs,
            tries=tries,
        )


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """What all jobs of a run share."""

    account: Account
    httpd: Httpd | None
    """None where the machine has none, and we build our own."""
    cache: Cache
    output: Path
    watcher: Watcher
    choose_port: Callable[[], int] = free_port


class Timer:
    """Seconds by named step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count the time inside under ``name``."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started


class Deployments:
    """One deployment for each topology and mongod, started when a cell first needs it, and shared
    by the cells that run one after the other. One that a cell could not make whole again, or that
    somebody else has done something to, is replaced for the next."""

    def __init__(self, context: RunContext, stack: ExitStack) -> None:
        self._context = context
        self._stack = stack
        self._running: dict[object, Deployment] = {}
        self._ends: dict[object, ExitStack] = {}

    def get(self, job: Job) -> Deployment:
        """The deployment of this cell. Raises :class:`ServiceFailed` if it can't be had."""
        topology, server = job.cell.topology, job.server
        if server is None:
            return NoDeployment()
        scripting = bool(job.cell.app)
        key = (topology, server, scripting)
        if key in self._running and not _is_well(self._running[key]):
            del self._running[key]
            self._ends.pop(key).close()
        if key not in self._running:
            self._context.watcher.step(job.cell, f"starting MongoDB ({topology})")
            self._ends[key] = self._stack.enter_context(ExitStack())
            self._running[key] = (
                self._start(topology, server, self._ends[key], scripting=scripting)
                if isinstance(server, Mongod)
                else self._connect(server, self._ends[key])
            )
        return self._running[key]

    def _connect(self, uri: str, end: ExitStack) -> Deployment:
        deployment = connect_deployment(uri)
        end.callback(deployment.close)
        return deployment

    def _start(
        self, topology: Topology, mongod: Mongod, end: ExitStack, *, scripting: bool
    ) -> Deployment:
        scratch = end.enter_context(scratch_directory())
        logs = self._context.output / "mongodb" / scratch.name
        logs.mkdir(parents=True)
        return end.enter_context(
            start_deployment(
                topology,
                mongod,
                scratch,
                logs,
                self._context.choose_port,
                scripting=scripting,
            )
        )


def _is_well(deployment: Deployment) -> bool:
    """Whether another cell can have it. One that was there is looked at when it gets it."""
    return deployment.healthy and not (deployment.owned and deployment.trouble())


def run_cell(job: Job, context: RunContext, deployments: Deployments) -> CellRecord:
    """Run one cell and keep its record. Never raises for a cell.

    What goes wrong on our side makes the verdict ``error``; Ctrl-C passes through, and so does
    :class:`CannotRun` where the record itself can't be written.
    """
    directory = context.output / CELLS / job.cell.id
    tries = job.tries
    while True:
        record = _run_once(job, context, deployments, directory, tries)
        if record.verdict is not Verdict.ERROR or len(tries) >= len(job.tries) + job.retries:
            return record
        tries = (*tries, record.reason)
        put_aside(directory, context.output)


def put_aside(directory: Path, output: Path) -> None:
    """Keep what a try of a cell has left, out of the way of the next one."""
    aside = next(path for path in tries_of(directory.name, output) if not path.exists())
    aside.parent.mkdir(exist_ok=True)
    directory.rename(aside)


def tries_of(cell: str, output: Path) -> Iterator[Path]:
    """Where the first try of a cell is put that ended in ``error``, then the second, for ever."""
    return (output / TRIES / f"{cell}-{number}" for number in count(1))


def _run_once(
    job: Job, context: RunContext, deployments: Deployments, directory: Path, tries: tuple[str, ...]
) -> CellRecord:
    """Build, start the services, experiment, judge and record one cell."""
    directory.mkdir(parents=True)
    timer = Timer()
    with timer.step("total"):
        record = _attempt(job, context, deployments, directory, timer)
    record = msgspec.structs.replace(record, timings=timer.seconds, tries=tries)
    save_cell(record, directory)
    return record


def _attempt(
    job: Job, context: RunContext, deployments: Deployments, directory: Path, timer: Timer
) -> CellRecord:
    """The steps of a cell, and what becomes of it where one of them fails."""
    record = job.record(Verdict.ERROR, "")
    places: tuple[Path, ...] = ()
    try:
        with timer.step("build"):
            toolchain = build(job, context)
        places = toolchain.places()
        record = msgspec.structs.replace(
            record, toolchain=toolchain.facts(), packages=dict(toolchain.packages)
        )
        with timer.step("deployment"):
            deployment = deployments.get(job)
        observed = _experiment(job, context, toolchain, deployment, directory, timer)
    except Exception as error:
        if interrupted(error):
            raise KeyboardInterrupt from error
        damage = context.cache.discard_damaged(places)
        return msgspec.structs.replace(record, reason=damage or _reason(error, directory))
    judged = judge_record(msgspec.structs.replace(record, observed=observed))
    # What was damaged meanwhile may have failed for that, and has proved nothing if it passed.
    thorough = judged.verdict is not Verdict.PASS
    if damage := context.cache.discard_damaged(places, thorough=thorough):
        return msgspec.structs.replace(record, reason=damage)
    return judged


def _reason(error: Exception, directory: Path) -> str:
    """Why a cell could not be run, in one line. A defect of ours ends the cell, not the run."""
    if isinstance(error, WsgiproofError):
        return str(error)
    if limit := limits.explain(error):
        return limit
    if isinstance(error, OSError):
        return describe(error)
    trace = directory / "defect.txt"
    trace.write_text(traceback.format_exc())
    return f"a defect of wsgiproof: {type(error).__name__}: {error} (see {trace})"


def build(job: Job, context: RunContext) -> Toolchain:
    """All that an Apache of this cell is started from; built, unless it was before."""
    cell = job.cell
    context.watcher.step(cell, f"building mod_wsgi {cell.mod_wsgi} and PyMongo {cell.pymongo}")
    return build_toolchain(job.spec, _httpd(cell, context), context.cache)


def _httpd(cell: Cell, context: RunContext) -> Httpd:
    """The machine's Apache, or ours, which is built the first time."""
    if context.httpd is not None:
        return context.httpd
    if not context.cache.has(httpd_build()):
        context.watcher.step(cell, "building Apache from mod_wsgi-httpd (about 5 minutes, once)")
    return build_httpd(context.cache)


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """The server of one cell, up."""

    server: Server
    application: Application
    name: str
    """The subject's appName, and its database."""


@contextmanager
def serving(
    job: Job,
    context: RunContext,
    toolchain: Toolchain,
    deployment: Deployment,
    run_directory: Path,
    directory: Path,
) -> Iterator[Serving]:
    """The server of one cell, laid out in ``run_directory``, up, and gone with the context.

    ``directory`` gets its configuration and its logs. The subject's database is dropped at the end.
    """
    name = new_name()
    context.watcher.step(job.cell, "starting Apache")
    with ExitStack() as stack:
        stack.callback(deployment.drop, name)
        deployment.prepare(name, every_database=bool(job.cell.app))
        uri = deployment.uri(name)
        application = lay_out(job.cell, run_directory, uri, name, context.account)
        configure = partial(
            ApacheConf.of,
            job.cell,
            toolchain,
            application,
            context.account,
            run_directory=run_directory,
            error_log=directory / ERROR_LOG,
            directives=job.spec.directives,
        )
        server = stack.enter_context(
            start_apache(
                toolchain.httpd, configure, context.choose_port, job.plan.start_deadline, directory
            )
        )
        yield Serving(server=server, application=application, name=name)


def new_name() -> str:
    """For the subject of one server: its appName, and its database."""
    return f"wsgiproof_{uuid.uuid4().hex[:12]}"


def _experiment(
    job: Job,
    context: RunContext,
    toolchain: Toolchain,
    deployment: Deployment,
    directory: Path,
    timer: Timer,
) -> Observed:
    cell = job.cell
    with _Health(deployment, context.account) as health, ExitStack() as stack:
        run_directory = stack.enter_context(scratch_directory(context.account))
        with timer.step("start"):
            up = stack.enter_context(
                serving(job, context, toolchain, deployment, run_directory, directory)
            )
        health.server = up.server

        def watch(phase: str, done: int, total: int) -> None:
            context.watcher.watch(cell, phase, done, total)
            health.look()

        with timer.step("experiment"):
            observed = run_experiment(
                up.server,
                deployment,
                up.name,
                workers(cell),
                up.application,
                job.plan,
                watch,
            )
        timer.seconds["serving"] = observed.serving_seconds
        return observed


class _Health:
    """Whether the services of a cell are well, as a context manager around it.

    Leaving it raises :class:`ServiceFailed` where one has come to harm that the subject did not do:
    nothing is told about the subject then. That also takes the place of what else was raised,
    since it may well have come of it.
    """

    def __init__(self, deployment: Deployment, account: Account) -> None:
        self._deployment = deployment
        self._account = account
        self.server: Server | None = None
        """Apache, once it is up."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, Exception):
            self.look()

    def look(self) -> None:
        """Raise :class:`ServiceFailed` if one of them is not well; the deployment is replaced for
        the next cell then."""
        trouble = self._deployment.trouble()
        if trouble:
            self._deployment.healthy = False
        elif self.server is not None:
            trouble = self.server.trouble(self._account)
        if trouble:
            raise ServiceFailed(trouble)
