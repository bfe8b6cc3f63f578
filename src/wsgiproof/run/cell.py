"""Run cells: build, start services, experiment, judge, record.

:func:`run_cell` shows the steps of a cell, and :func:`_attempt` is the only place where exceptions
become verdicts.
"""

from __future__ import annotations

import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import unquote

import msgspec

from wsgiproof import limits
from wsgiproof.errors import ServiceFailed, WsgiproofError, describe, interrupted
from wsgiproof.experiment.context import TRIALS_AT_ONCE, Experiment
from wsgiproof.experiment.phases import run_experiment
from wsgiproof.files import Directory
from wsgiproof.judge.verdict import judge_record
from wsgiproof.process.account import Account
from wsgiproof.provision.assemble import build_toolchain
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.httpd import httpd_build, httpd_of
from wsgiproof.provision.toolchain import Apache, Application, BuildSpec, Toolchain
from wsgiproof.records.cell import MOD_WSGI_HTTPD, Cell
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.known import Known, KnownInCell
from wsgiproof.records.observed import Observed
from wsgiproof.records.plan import LoadPlan
from wsgiproof.records.run import CellRecord
from wsgiproof.records.writing import BACKENDS, CELLS, TRIES, save_cell
from wsgiproof.server.apache import Server, start_apache
from wsgiproof.server.around import AroundConf
from wsgiproof.server.configuration import ACCESS_LOG, ERROR_LOG, ApacheConf, workers
from wsgiproof.server.own_conf import OwnConf
from wsgiproof.server.places import TEMPORARY, private_places
from wsgiproof.server.ports import free_port
from wsgiproof.server.scratch import scratch_directory
from wsgiproof.subjects.application import compile_agent, lay_out
from wsgiproof.subjects.backend import Backend
from wsgiproof.subjects.registry import rules_of, subject_of


class Watcher(Protocol):
    """Follows the progress of a cell."""

    def step(self, cell: Cell, text: str) -> None:
        """Note that a step begins which takes seconds or minutes."""

    def watch(self, cell: Cell, phase: str, done: int, total: int) -> None:
        """Note how many of a phase's requests are done."""


class NullWatcher:
    """A watcher that ignores everything."""

    def step(self, cell: Cell, text: str) -> None:
        """Do nothing."""

    def watch(self, cell: Cell, phase: str, done: int, total: int) -> None:
        """Do nothing."""


class Progress(Watcher, Protocol):
    """Shows the progress of a whole run."""

    def begin(self, cells: Sequence[Cell], output: Path, slots: int) -> None:
        """Show that these cells will be run, ``slots`` at a time, with their records in
        ``output``."""

    def cell_started(self, cell: Cell) -> None:
        """Show that a cell begins."""

    def cell_finished(self, record: CellRecord) -> None:
        """Show that a cell has its verdict."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A cell with everything that its result depends on; a value that can be sent to another
    process."""

    cell: Cell
    spec: BuildSpec
    backend: Any
    """What its backend is started from; None if it needs none."""
    plan: LoadPlan
    rerun: str
    """The command that runs only this cell."""
    inputs: str = ""
    """A digest of everything that the cell is made of."""
    own_conf: OwnConf | None = None
    """The user's own configuration of Apache, which says what is served."""
    urls: tuple[str, ...] = ()
    """The URLs there, as the user gave them."""
    alone: bool = False
    """Whether no two processes of the phase ``trials`` run at the same time: an application of the
    user's own may expect that."""
    retries: int = 0
    """How often it is tried again after an ``error``; never after a verdict."""
    tries: tuple[str, ...] = ()
    """Why earlier tries ended in ``error``."""
    known: tuple[Known, ...] = ()
    """What is known and applies to it. It changes how the cell is judged, and not what happens."""
    accept_known_upstream: bool = False

    def record(self, verdict: Verdict, reason: str, tries: tuple[str, ...] = ()) -> CellRecord:
        """Return a record without observations."""
        return CellRecord(
            cell=self.cell,
            verdict=verdict,
            reason=reason,
            rerun=self.rerun,
            directory=f"{CELLS}/{self.cell.id}",
            inputs=self.inputs,
            tries=tries,
            known=tuple(KnownInCell(table=table) for table in self.known),
            accept_known_upstream=self.accept_known_upstream,
        )


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """What all jobs of a run share."""

    account: Account
    apaches: Mapping[str, Apache]
    """By the value of the axis."""
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


class RunningBackends:
    """The backends of a run: each is started when a cell first needs it, and shared by cells that
    run one after the other. One that could not be restored, or that another process has disturbed,
    is replaced for the next cell."""

    def __init__(self, context: RunContext, stack: ExitStack) -> None:
        self._context = context
        self._stack = stack
        self._running: dict[object, Backend] = {}
        self._stacks: dict[object, ExitStack] = {}

    def get(self, job: Job) -> Backend:
        """Return the backend of this cell. Raises :class:`ServiceFailed` if it does not start or
        answer."""
        subject = subject_of(job.cell)
        key = (subject.name, subject.shared_by(job.cell), job.backend)
        if key in self._running and not _is_usable(self._running[key]):
            del self._running[key]
            self._stacks.pop(key).close()
        if key not in self._running:
            if job.backend is not None:
                self._context.watcher.step(job.cell, f"starting {subject.backend_title}")
            stack = self._stacks[key] = self._stack.enter_context(ExitStack())
            place = _Place(self._context, stack)
            self._running[key] = stack.enter_context(subject.start(job.cell, job.backend, place))
        return self._running[key]


class _Place:
    """Where one backend keeps what it needs, until ``stack`` is closed."""

    def __init__(self, context: RunContext, stack: ExitStack) -> None:
        self._context = context
        self._stack = stack

    def private(self) -> Path:
        return self._stack.enter_context(scratch_directory())

    def shared(self) -> Path:
        account = self._context.account
        directory = self._stack.enter_context(scratch_directory(account))
        user, group = account.ids
        with Directory(directory) as opened:
            opened.make("shared", 0o700, owner=user, group=group).close()
        return directory / "shared"

    def logs(self, name: str) -> Path:
        logs = self._context.output / BACKENDS / name
        logs.mkdir(parents=True)
        return logs

    def port(self) -> int:
        return self._context.choose_port()


def _is_usable(backend: Backend) -> bool:
    """Whether another cell can use a backend. An existing one is checked when the cell prepares
    it."""
    return backend.healthy and not (backend.owned and backend.trouble())


def run_cell(job: Job, context: RunContext, backends: RunningBackends) -> CellRecord:
    """Run one cell and save its record.

    An error of wsgiproof or of the machine makes the verdict ``error``. Raises only
    KeyboardInterrupt, and :class:`CannotRun` if the record itself can't be written.
    """
    directory = context.output / CELLS / job.cell.id
    tries = job.tries
    while True:
        record = _run_once(job, context, backends, directory, tries)
        if record.verdict is not Verdict.ERROR or len(tries) >= len(job.tries) + job.retries:
            return record
        tries = (*tries, record.reason)
        put_aside(directory, context.output)


def put_aside(directory: Path, output: Path) -> None:
    """Move the directory of a try of a cell, so that the next try can use its path."""
    aside = next(path for path in tries_of(directory.name, output) if not path.exists())
    aside.parent.mkdir(exist_ok=True)
    directory.rename(aside)


def tries_of(cell: str, output: Path) -> Iterator[Path]:
    """Yield the directories of the first, the second, ... try of a cell that ended in ``error``;
    endless."""
    return (output / TRIES / f"{cell}-{number}" for number in count(1))


def _run_once(
    job: Job,
    context: RunContext,
    backends: RunningBackends,
    directory: Path,
    tries: tuple[str, ...],
) -> CellRecord:
    """Build, start the services, experiment, judge and record one cell."""
    directory.mkdir(parents=True)
    timer = Timer()
    with timer.step("total"):
        record = _attempt(job, context, backends, directory, timer)
    record = msgspec.structs.replace(record, timings=timer.seconds, tries=tries)
    save_cell(record, directory)
    return record


def _attempt(
    job: Job, context: RunContext, backends: RunningBackends, directory: Path, timer: Timer
) -> CellRecord:
    """Do the steps of a cell, and return its record also if one of them fails."""
    record = job.record(Verdict.ERROR, "")
    places: tuple[Path, ...] = ()
    try:
        with timer.step("build"):
            toolchain = build(job, context)
        places = toolchain.places()
        record = msgspec.structs.replace(
            record, toolchain=toolchain.facts(), packages=dict(toolchain.packages)
        )
        with timer.step("backend"):
            backend = backends.get(job)
        observed = _experiment(job, context, toolchain, backend, directory, timer)
    except Exception as error:
        if interrupted(error):
            raise KeyboardInterrupt from error
        damage = context.cache.discard_damaged(places)
        return msgspec.structs.replace(record, reason=damage or _reason(error, directory))
    judged = judge_record(msgspec.structs.replace(record, observed=observed), rules_of(job.cell))
    # Damage to a build may be the cause of a failure, and a pass proves nothing then.
    thorough = judged.verdict is not Verdict.PASS
    if damage := context.cache.discard_damaged(places, thorough=thorough):
        return msgspec.structs.replace(record, reason=damage)
    return judged


def _reason(error: Exception, directory: Path) -> str:
    """Return in one line why a cell could not be run. A defect of wsgiproof ends the cell, not the
    run."""
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
    """Return everything that the Apache of this cell is started from; build what is not cached."""
    cell = job.cell
    subject = "".join(f" and {name} {one.version}" for name, one in job.spec.packages.items())
    context.watcher.step(cell, f"building mod_wsgi {cell.mod_wsgi}{subject}")
    apache = context.apaches[cell.httpd_path]
    if apache.httpd is None and not context.cache.has(httpd_build()):
        context.watcher.step(cell, f"building Apache from {MOD_WSGI_HTTPD} (about 5 minutes, once)")
    return build_toolchain(job.spec, httpd_of(apache, context.cache), context.cache)


class CellServer(msgspec.Struct, frozen=True, kw_only=True):
    """The running server of one cell."""

    server: Server
    application: Application
    name: str
    """The name by which the subject is known in its backend."""


@contextmanager
def serving(
    job: Job,
    context: RunContext,
    toolchain: Toolchain,
    backend: Backend,
    run_directory: Path,
    directory: Path,
) -> Iterator[CellServer]:
    """Start the server of one cell in ``run_directory``, and end it with the context.

    Its configuration and its logs are in ``directory``. What the subject has in its backend is
    dropped at the end.
    """
    name = new_name()
    context.watcher.step(job.cell, "starting Apache")
    with ExitStack() as stack:
        stack.callback(backend.drop, name)
        backend.prepare(name, for_app=bool(job.cell.own_app))
        connection = backend.connection(job.cell, name)
        application = lay_out(
            job.cell,
            run_directory,
            connection,
            context.account,
            home=job.spec.home,
            attach_to=toolchain.httpd.httpd if job.own_conf else None,
        )
        compile_agent(application, job.spec.python.path, context.account)
        configure = _configure(
            job, toolchain, application, context.account, run_directory, directory
        )
        private = None
        if context.account.dropped and not job.spec.shared_tmp:
            used = _used(job, toolchain, connection)
            private = stack.enter_context(private_places((run_directory, directory), used))
        server = stack.enter_context(
            start_apache(
                toolchain.httpd,
                configure,
                context.choose_port,
                job.plan.start_deadline,
                directory,
                private,
            )
        )
        yield CellServer(server=server, application=application, name=name)


def _used(job: Job, toolchain: Toolchain, connection: Mapping[str, str]) -> Iterator[Path]:
    """Yield what the subject may need beside what wsgiproof lays out for it. A place for temporary
    files is one, if a configuration or an address may name files there."""
    yield from toolchain.places()
    yield from (Path(toolchain.python.prefix), toolchain.httpd.modules)
    yield from map(Path, filter(None, (job.cell.app, job.spec.home)))
    said = " ".join(unquote(value) for value in connection.values())
    yield from (place for place in TEMPORARY if job.own_conf is not None or f"{place}/" in said)


def _configure(
    job: Job,
    toolchain: Toolchain,
    application: Application,
    account: Account,
    run_directory: Path,
    directory: Path,
) -> Callable[[int], ApacheConf]:
    """Return what makes the configuration of one cell for a port."""
    of_cell = (job.cell, toolchain, application, account)
    if job.own_conf is not None:
        return partial(
            AroundConf.around,
            job.own_conf,
            job.urls,
            *of_cell,
            run_directory=run_directory,
            error_log=directory / ERROR_LOG,
            directives=job.spec.directives,
        )
    return partial(
        ApacheConf.of,
        *of_cell,
        run_directory=run_directory,
        error_log=directory / ERROR_LOG,
        access_log=directory / ACCESS_LOG if job.spec.access_log else None,
        process_limit=_trials_at_once(job),
        directives=job.spec.directives,
    )


def _trials_at_once(job: Job) -> int:
    """Return how many processes may run at the same time in the phase ``trials``."""
    return 1 if job.alone or job.cell.processes > 1 else TRIALS_AT_ONCE


def new_name() -> str:
    """Return a new name for the subject in its backend."""
    return f"wsgiproof_{uuid.uuid4().hex[:12]}"


def _experiment(
    job: Job,
    context: RunContext,
    toolchain: Toolchain,
    backend: Backend,
    directory: Path,
    timer: Timer,
) -> Observed:
    cell = job.cell
    with _HealthCheck(backend, context.account) as health, ExitStack() as stack:
        run_directory = stack.enter_context(scratch_directory(context.account))
        with timer.step("start"):
            served = stack.enter_context(
                serving(job, context, toolchain, backend, run_directory, directory)
            )
        health.server = served.server

        def watch(phase: str, done: int, total: int) -> None:
            context.watcher.watch(cell, phase, done, total)
            health.check()

        with timer.step("experiment"):
            observed = run_experiment(
                Experiment(
                    server=served.server,
                    backend=backend,
                    application=served.application,
                    app_name=served.name,
                    workers=workers(cell),
                    workers_vary=cell.min_processes > 0,
                    plan=job.plan,
                    trials_at_once=_trials_at_once(job),
                    resources=rules_of(cell).counted,
                    on_progress=watch,
                )
            )
        timer.seconds["serving"] = observed.serving_seconds
        return observed


class _HealthCheck:
    """Checks that the services of a cell are undisturbed, as a context manager around it.

    Leaving it raises :class:`ServiceFailed` if something other than the subject has disturbed one:
    the cell says nothing about the subject then. That error also replaces any other exception,
    which it may have caused.
    """

    def __init__(self, backend: Backend, account: Account) -> None:
        self._backend = backend
        self._account = account
        self.server: Server | None = None
        """Apache, once it is running."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, Exception):
            self.check()

    def check(self) -> None:
        """Raise :class:`ServiceFailed` if a service was disturbed; a disturbed backend is
        replaced for the next cell."""
        trouble = self._backend.trouble()
        if trouble:
            self._backend.healthy = False
        elif self.server is not None:
            trouble = self.server.trouble(self._account)
        if trouble:
            raise ServiceFailed(trouble)
