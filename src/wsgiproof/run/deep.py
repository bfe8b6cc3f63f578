"""The deep tier of an audit: each distribution as a subject in real Apache with mod_wsgi.

It is a run of the subject ``package`` with a cell for each distribution and kind of interpreters.
The application of each cell is made by :mod:`wsgiproof.audit.application`, and the environment is
that of the fast tier. Where something fails, two controls follow: the same application in the main
interpreter, and an application that does nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name

from wsgiproof.audit.application import Script, script_for
from wsgiproof.audit.processes import Prober
from wsgiproof.config.matrix import Matrix, expand
from wsgiproof.config.model import Config
from wsgiproof.errors import CannotRun, one_line
from wsgiproof.judge.deep import advise_deep, agreement, judge_cell
from wsgiproof.process.account import server_account, unused_accounts
from wsgiproof.provision.python import choose_all
from wsgiproof.provision.toolchain import Installed, Python
from wsgiproof.records.audit import (
    FAILURES,
    Audit,
    Distribution,
    Environment,
    Outcome,
    Result,
    Tier,
)
from wsgiproof.records.cell import InterpreterKind, Mode
from wsgiproof.records.run import CellRecord, RunRecord
from wsgiproof.records.writing import Results, held, make_output
from wsgiproof.run.cell import Job, Progress
from wsgiproof.run.executors.base import run_jobs
from wsgiproof.run.executors.workers import local_executor
from wsgiproof.run.planning import HostSetup, RunPlan, make_context, plan, preflight
from wsgiproof.run.preflight import slots
from wsgiproof.run.session import begin
from wsgiproof.subjects.package.subject import PACKAGE

DEEP = "deep"
"""The directory of the run, below that of the audit."""
_APPS = "apps"
_PLAIN = re.compile(r"[a-z0-9-]{1,60}")
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+t?")
_ANSWER = r"\Aworks\Z"
"""What the application answers if it finds nothing wrong."""


class DeepRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How the deep tier is run."""

    kinds: tuple[InterpreterKind, ...]
    mod_wsgi: str = ""
    """Empty for the newest."""
    sub_interpreters: int = 2
    requests: int | None = None
    """For each cell; None for those of the quick profile."""


class Deep:
    """The deep tier of one audit.

    Making it checks the machine, before anything is started. Raises a
    :class:`wsgiproof.errors.WsgiproofError` if Apache can't be run with these Pythons and kinds.
    """

    def __init__(self, request: DeepRequest, pythons: Sequence[Python]) -> None:
        self._kinds = request.kinds
        axes = {
            "python": tuple(one.path for one in pythons),
            "mode": (Mode.DAEMON,),
            "interpreter": request.kinds,
        }
        self._config = Config(
            subject=PACKAGE.name,
            axes=axes | ({"mod_wsgi": (request.mod_wsgi,)} if request.mod_wsgi else {}),
            sub_interpreters=request.sub_interpreters,
            requests=request.requests,
            expect_body=_ANSWER,
        )
        self._setup: HostSetup = preflight(self._config)
        expand(self._config, self._setup.resolved)
        # By their names, which are different in this run.
        self._pythons = [self._setup.resolved.pythons[one.path] for one in pythons]

    def run(self, audit: Audit, directory: Path, progress: Progress) -> tuple[Audit, RunRecord]:
        """Return the audit with what its distributions do in Apache, and the record of that run,
        which is in :data:`DEEP` below the directory of the audit.

        The environments of the audit are those of the Pythons, in their order.
        """
        output = make_output(directory / DEEP)
        with held(output):
            pairs = list(zip(self._pythons, audit.environments, strict=True))
            apps, seconds = output / _APPS, audit.timeout
            tried = [self._prepared(python, one, apps, seconds) for python, one in pairs]
            run = _Run(audit.command, self._setup, output, slots(self._config), progress)
            for jobs_of in (self._jobs, self._controls):
                jobs = [job for one in tried for job in jobs_of(one, run.records)]
                run.cells_of([*{job.cell.id: job for job in jobs}.values()])
            record = run.finish()
        environments = [self._judged(one, run.records) for one in tried]
        return msgspec.structs.replace(audit, environments=tuple(environments)), record

    def _prepared(
        self, python: Python, environment: Environment, apps: Path, timeout: float
    ) -> _Tried:
        """Return the application of each distribution, in a file of its own."""
        home = Path(environment.path).parent.parent
        directory = apps / python.name
        directory.mkdir(parents=True, exist_ok=True)
        prober = Prober(python=Path(environment.path), timeout=timeout)
        (account,) = unused_accounts(1)
        scripts: dict[str, Script] = {}
        for one in _audited(environment):
            scripts[one.name] = script = script_for(one, prober, account)
            if script.text:
                _app(directory, one.name).write_text(script.text)
        packages = {str(canonicalize_name(o.name)): o.version for o in environment.distributions}
        return _Tried(
            python=python,
            environment=environment,
            installed=Installed(home=str(home), packages=packages),
            directory=directory,
            scripts=scripts,
        )

    def _jobs(self, tried: _Tried, records: Sequence[CellRecord]) -> list[Job]:
        return [
            job
            for name, script in tried.scripts.items()
            if script.text
            for job in self._planned(tried, _app(tried.directory, name), self._kinds)
        ]

    def _planned(
        self, tried: _Tried, app: Path | None, kinds: Sequence[InterpreterKind]
    ) -> tuple[Job, ...]:
        """Return the jobs of an application; None is the one that does nothing."""
        config = msgspec.structs.replace(
            self._config.with_axes(python=(tried.python.path,), interpreter=tuple(kinds)),
            app=str(app) if app else "",
            expect_body=_ANSWER if app else "",
        )
        jobs = plan(config, self._setup, installed=tried.installed).jobs
        return tuple(msgspec.structs.replace(job, alone=False) for job in jobs)

    def _controls(self, tried: _Tried, records: Sequence[CellRecord]) -> list[Job]:
        """Return the controls of what has failed, that were not run yet."""
        jobs: dict[str, Job] = {}
        alone: dict[InterpreterKind, None] = {}
        for one in self._results(tried, records):
            if one.outcome in FAILURES:
                alone[one.kind] = None
                app = _app(tried.directory, one.name)
                main = self._planned(tried, app, [InterpreterKind.MAIN])
                jobs |= {job.cell.id: job for job in main}
        if alone:
            jobs |= {job.cell.id: job for job in self._planned(tried, None, [*alone])}
        done = {record.cell.id for record in records}
        return [job for id, job in jobs.items() if id not in done]

    def _results(self, tried: _Tried, records: Sequence[CellRecord]) -> list[Result]:
        """Return the result of each distribution in each kind, with the controls that there are."""
        by_place = _by_place(tried, records)
        results = []
        for one in _audited(tried.environment):
            script, app = tried.scripts[one.name], str(_app(tried.directory, one.name))
            for kind in self._kinds:
                record = by_place.get((app, kind))
                if record is None:
                    results.append(_not_tried(one, kind, script.why_none))
                    continue
                main = by_place.get((app, InterpreterKind.MAIN))
                judged = judge_cell(
                    one,
                    record,
                    exercised=script.exercised,
                    main=None if kind is InterpreterKind.MAIN else main,
                    alone=by_place.get(("", kind)),
                )
                results.append(_placed(judged))
        return results

    def _in_main(self, tried: _Tried, records: Sequence[CellRecord]) -> list[Result]:
        """Return the result in the main interpreter of each distribution that was tried there."""
        by_place = _by_place(tried, records)
        results = []
        for one in _audited(tried.environment):
            app = str(_app(tried.directory, one.name))
            if record := by_place.get((app, InterpreterKind.MAIN)):
                exercised = tried.scripts[one.name].exercised
                results.append(_placed(judge_cell(one, record, exercised=exercised)))
        return results

    def _judged(self, tried: _Tried, records: Sequence[CellRecord]) -> Environment:
        results = self._results(tried, records)
        environment = msgspec.structs.replace(
            tried.environment,
            deep=tuple(results),
            deep_control=tuple(self._in_main(tried, records)),
            agreement=agreement(tried.environment.results, results),
        )
        more = [advice for kind in self._kinds if (advice := advise_deep(environment, kind))]
        return msgspec.structs.replace(environment, advice=(*environment.advice, *more))


class _Tried(msgspec.Struct, frozen=True, kw_only=True):
    """An environment with the applications of its distributions."""

    python: Python
    environment: Environment
    installed: Installed
    directory: Path
    scripts: dict[str, Script]
    """By the name of the distribution."""


class _Run:
    """The record of the run, complete and up to date after each cell."""

    def __init__(
        self, command: str, setup: HostSetup, output: Path, number: int, progress: Progress
    ) -> None:
        self.records: list[CellRecord] = []
        self._jobs: list[Job] = []
        self._command = command
        self._setup = setup
        self._output = output
        self._number = number
        self._progress = progress

    def cells_of(self, jobs: Sequence[Job]) -> None:
        """Run the cells of these jobs as well."""
        self._jobs += jobs
        results = self._results()
        self._progress.begin([job.cell for job in jobs], self._output, self._number)
        context = make_context(self._setup, self._output, self._progress)
        executor = local_executor(context, self._number, len(jobs), self._progress)
        with closing(run_jobs(jobs, executor)) as records:
            for record in records:
                self.records.append(record)
                results.add(record)

    def finish(self) -> RunRecord:
        """Mark the run as complete, and return its record."""
        return self._results().finish()

    def _results(self) -> Results:
        planned = RunPlan(matrix=Matrix(cells=(), specs={}), jobs=tuple(self._jobs))
        return Results(begin(self._command, self._setup, planned, self.records), self._output)


def pythons_of(audit: Audit) -> tuple[Python, ...]:
    """Return the Python of this machine for each environment of an audit, by its version.

    What an environment says itself is its base is not run, and a version that is none, such as a
    path, is refused. Raises :class:`CannotRun` for that, and as
    :func:`wsgiproof.provision.python.choose_all`.
    """
    versions = [one.python.removeprefix("Python ") for one in audit.environments]
    for version in versions:
        if not _VERSION.fullmatch(version):
            raise CannotRun(f"'{one_line(version)}' is not the version of a Python")
    return choose_all(versions, server_account())


def _audited(environment: Environment) -> list[Distribution]:
    return [one for one in environment.distributions if one.name in environment.audited]


def _app(directory: Path, name: str) -> Path:
    """Return the file of a distribution's application. Metadata may name it anything."""
    normal = str(canonicalize_name(name))
    if not _PLAIN.fullmatch(normal):
        normal = f"package-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:12]}"
    return directory / f"{normal}.py"


def _by_place(
    tried: _Tried, records: Sequence[CellRecord]
) -> dict[tuple[str, InterpreterKind], CellRecord]:
    """Return the records on the Python of an environment, by application and kind."""
    return {
        (record.cell.app, record.cell.interpreter): record
        for record in records
        if record.cell.python_name == tried.python.name
    }


def _placed(result: Result) -> Result:
    """Return a result with the directory of its cell below that of the audit."""
    return msgspec.structs.replace(result, cell=f"{DEEP}/{result.cell}")


def _not_tried(one: Distribution, kind: InterpreterKind, why: str) -> Result:
    return Result(
        name=one.name,
        version=one.version,
        kind=kind,
        tier=Tier.DEEP,
        outcome=Outcome.UNKNOWN,
        reason=why or "its cell was not run",
    )
