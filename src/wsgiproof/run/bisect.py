"""Find the version of a package that changed a verdict: run cells of fewer and fewer versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
from packaging.version import Version

from wsgiproof.analysis.bisection import Bisection, Says, bisection, choose, watched
from wsgiproof.config.axes import MOD_WSGI, axes_of
from wsgiproof.config.model import Config
from wsgiproof.errors import CannotRun, UsageError
from wsgiproof.judge.finding import count
from wsgiproof.provision.git import is_git
from wsgiproof.provision.index import releases
from wsgiproof.provision.source import is_path
from wsgiproof.provision.toolchain import Source
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.reading import Note
from wsgiproof.records.run import CellRecord, RunRecord
from wsgiproof.records.writing import Results
from wsgiproof.run.cell import Job, Progress
from wsgiproof.run.executors.base import Executor, run_jobs
from wsgiproof.run.planning import HostSetup, RunPlan, make_context, plan, preflight
from wsgiproof.run.preflight import slots
from wsgiproof.run.resolve import resolve_axes
from wsgiproof.run.session import begin, make_executor, opened
from wsgiproof.subjects.axis import Axis
from wsgiproof.subjects.registry import SUBJECTS

_RANGE = ".."


class Bisected(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a bisection, and the record of the cells that it ran."""

    result: Bisection
    record: RunRecord
    output: Path
    """The directory of the record."""
    failing: CellRecord
    """The cell beside the change that fails."""


def bisect(
    config: Config,
    command: str,
    progress: Progress,
    *,
    check: str = "",
    resume: Path | None = None,
    own_file: bool = False,
    note: Note,
) -> Bisected:
    """Find the version at which a cell begins to fail, or to pass.

    One axis of ``config`` has a range of versions, such as ``5.0.2..6.1.1``; all others have one
    value, so that there is one cell for each version. ``check`` is the check to watch; without it,
    these are the checks by which the two ends differ. The cells are in the output directory as
    those of a run are, and ``resume`` is the directory of a bisection that was interrupted.

    Raises :class:`UsageError` before anything is started if the configuration has no such range,
    and :class:`CannotRun` if an end can't be judged or if both are alike.
    """
    axis, old, new = range_of(config)
    if resume:
        config = msgspec.structs.replace(config, output=str(resume))
    setup = preflight(config.with_axes(**{axis.name: (old, new)}))
    versions = _versions(axis, old, new, setup)
    jobs, run_plan = _jobs(config, axis, versions, setup, own_file=own_file)
    note(f"{axis.title} {old} to {new}: {len(versions)} versions")
    with opened(config, [*jobs.values()], resume, note) as (client, output, done, _):
        there = {record.cell.id for record in done}
        planned = tuple(job for job in run_plan.jobs if job.cell.id in there)
        begun = begin(command, setup, msgspec.structs.replace(run_plan, jobs=planned), done)
        results = Results(begun, output)
        context = make_context(setup, output, progress)

        def executor_of(number: int) -> Executor[Job, CellRecord]:
            return make_executor(client, config, context, number, progress, note)

        cells = _Cells(jobs, done, results, executor_of, progress, output)
        result = _search(axis, cells, slots(config), check, note)
        failing = result.after if result.says is Says.FAIL else result.before
        return Bisected(
            result=result,
            record=results.finish(),
            output=output,
            failing=cells.records[failing],
        )


def range_of(config: Config) -> tuple[Axis, str, str]:
    """Return the axis that has a range of versions, and the two ends.

    Raises :class:`UsageError` if there is not exactly one.
    """
    found = [
        (axis, value)
        for axis in axes_of(SUBJECTS[config.subject])
        if axis.package
        for value in config.values(axis.name)
        if _RANGE in value.replace("../", "")
    ]
    if len(found) != 1:
        options = " or ".join(
            axis.option for axis in axes_of(SUBJECTS[config.subject]) if axis.package
        )
        raise UsageError(f"give one range of versions, OLD..NEW, by {options}")
    ((axis, value),) = found
    old, _, new = value.partition(_RANGE)
    if not old or not new or is_path(value) or is_git(value):
        raise UsageError(
            f"{axis.option} {value}: a range is two versions of the package index, OLD..NEW; for "
            "the commits of a checkout there is 'git bisect run'"
        )
    return axis, old, new


def _versions(axis: Axis, old: str, new: str, setup: HostSetup) -> tuple[str, ...]:
    """Return the versions between the two, ends included, in their order."""
    if len(setup.machine.pythons) != 1:
        raise UsageError("a bisection needs one --python")
    (python,) = setup.machine.pythons
    ends = []
    for value in (old, new):
        source = setup.resolved.sources[axis.name][python.name, value]
        if isinstance(source, str):
            raise UsageError(f"{axis.option} {value}: {source}")
        ends.append(source.version)
    if Version(ends[0]) >= Version(ends[1]):
        raise UsageError(f"{axis.option} {old}{_RANGE}{new}: {ends[0]} is not older than {ends[1]}")
    return releases(axis.package, ends[0], ends[1], python)


def _jobs(
    config: Config, axis: Axis, versions: Sequence[str], setup: HostSetup, *, own_file: bool
) -> tuple[dict[str, Job], RunPlan]:
    """Return the job of each version that can be a cell, in their order, and the plan of all.

    Raises :class:`UsageError` if a version would be several cells, or an end none.
    """
    config = config.with_axes(**{axis.name: tuple(versions)})
    resolved = resolve_axes(config, setup.machine, setup.cache)
    run_plan = plan(config, msgspec.structs.replace(setup, resolved=resolved), own_file=own_file)
    found: dict[str, Job] = {}
    for job in run_plan.jobs:
        version = _source(axis, job).version
        if version in found:
            raise UsageError(
                "a bisection has one cell for each version, and these differ in more: "
                f"{found[version].cell.id}, {job.cell.id}"
            )
        found[version] = job
    for end in (versions[0], versions[-1]):
        if end not in found:
            excluded = [one.reason for one in run_plan.matrix.excluded]
            raise UsageError(f"{axis.title} {end} is no cell: {'; '.join(excluded[:3])}")
    return {version: found[version] for version in versions if version in found}, run_plan


def _source(axis: Axis, job: Job) -> Source:
    return job.spec.mod_wsgi if axis is MOD_WSGI else job.spec.packages[axis.package]


class _Cells:
    """The cells of a bisection: runs those that are asked for, and has their records."""

    def __init__(
        self,
        jobs: Mapping[str, Job],
        done: Sequence[CellRecord],
        results: Results,
        executor_of: Callable[[int], Executor[Job, CellRecord]],
        progress: Progress,
        output: Path,
    ) -> None:
        self._jobs = jobs
        self._versions = {job.cell.id: version for version, job in jobs.items()}
        self._results = results
        self._executor_of = executor_of
        self._progress = progress
        self._output = output
        self.records = {self._versions[record.cell.id]: record for record in done}
        """The records that there are, by version."""
        self.slots = 0
        """How many cells the last executor ran at the same time."""

    @property
    def versions(self) -> tuple[str, ...]:
        """All versions, in their order."""
        return tuple(self._jobs)

    def run(self, versions: Sequence[str]) -> None:
        """Run the cells of these versions, unless they have records."""
        left = [self._jobs[version] for version in versions if version not in self.records]
        if not left:
            return
        self._results.plan([job.cell.id for job in left])
        executor = self._executor_of(len(left))
        self.slots = executor.slots
        self._progress.begin([job.cell for job in left], self._output, executor.slots)
        with closing(run_jobs(left, executor)) as records:
            for record in records:
                self._results.add(record)
                self.records[self._versions[record.cell.id]] = record


def _search(axis: Axis, cells: _Cells, most: int, check: str, note: Note) -> Bisection:
    """Run the two ends, then versions between them until the change is between two neighbours.

    ``most`` is how many cells run at the same time on this machine.
    """
    versions = cells.versions
    ends = (versions[0], versions[-1])
    cells.run(ends)
    for end in ends:
        if (record := cells.records[end]).verdict in (Verdict.ERROR, Verdict.SKIPPED):
            raise CannotRun(f"{axis.title} {end} could not be run: {record.reason}")
    checks = watched(cells.records[ends[0]], cells.records[ends[1]], check)
    while True:
        result = bisection(axis.name, versions, cells.records, checks)
        if not result.untried:
            return result
        note(
            f"the change of {', '.join(checks)} is after {result.before} and up to {result.after}: "
            f"{count(len(result.untried), 'version')} to choose from"
        )
        cells.run(choose(result.untried, max(most, cells.slots)))
