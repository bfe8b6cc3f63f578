"""A complete run: plan it, run its cells and save their results; or resume an interrupted run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import msgspec

import wsgiproof
from wsgiproof.config.model import Config
from wsgiproof.errors import CannotRun, UsageError
from wsgiproof.judge.verdict import judge_record
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.listed import Listed
from wsgiproof.records.reading import (
    Note,
    check_planned,
    ignore_note,
    read_directory,
    reopen_output,
)
from wsgiproof.records.run import CellRecord, RunRecord
from wsgiproof.records.writing import CELLS, Results, held, keep, make_output, now, save_cell
from wsgiproof.run.cell import Job, Progress, RunContext, put_aside, tries_of
from wsgiproof.run.executors.base import Executor, run_jobs
from wsgiproof.run.executors.workers import local_executor
from wsgiproof.run.planning import HostSetup, RunPlan, make_context, plan, preflight
from wsgiproof.run.preflight import Machine, slots
from wsgiproof.subjects.registry import rules_of

_NOT_RUN = "not run, because --fail-fast was given and another cell had failed"


def run(
    config: Config,
    command: str,
    progress: Progress,
    *,
    resume: Path | None = None,
    listed: Listed | None = None,
    own_file: bool = False,
    note: Note = ignore_note,
) -> RunRecord:
    """Run all cells of ``config`` and return the record, which is also in the output directory.

    ``results.json`` is complete and up to date after each cell, so an interruption loses only the
    cells that are running. ``resume`` is the directory of such a run: cells that have a verdict
    there for the same inputs are not run again, and ``note`` is called with what is missing there.
    ``listed`` is the list of a whole matrix, which says which exact versions are meant.

    Raises a :class:`wsgiproof.errors.WsgiproofError` before anything is started if the run can't be
    carried out.
    """
    if resume:
        config = msgspec.structs.replace(config, output=str(resume))
    setup = preflight(config, listed)
    run_plan = plan(config, setup, own_file=own_file)
    with opened(config, run_plan.jobs, resume, note) as (client, output, done, left):
        results = Results(begin(command, setup, run_plan, done), output)
        context = make_context(setup, output, progress)
        executor = make_executor(client, config, context, len(left), progress, note)
        progress.begin([job.cell for job in left], output, executor.slots)
        with closing(run_jobs(left, executor)) as records:
            for record in _until_failure(records, left, output) if config.fail_fast else records:
                results.add(record)
        return results.finish()


@contextmanager
def opened(
    config: Config, jobs: Sequence[Job], resume: Path | None, note: Note
) -> Iterator[tuple[Any, Path, list[CellRecord], list[Job]]]:
    """Open what a run of these jobs writes to, for itself alone.

    Yields Dask's client (None without a cluster), the output directory, the records that it has
    already, and the jobs that are left.
    """
    with ExitStack() as stack:
        client = None
        if config.dask:
            # Imported here, since few runs have a cluster.
            from wsgiproof.run.executors.dask_cluster import connected

            client = stack.enter_context(connected(config.dask, slots(config)))
        output = reopen_output(resume, note) if resume else make_output(config.directory)
        stack.enter_context(held(output))
        if resume:
            check_planned(output, [job.cell.id for job in jobs])
        done, left = split(jobs, output)
        yield client, output, done, left


def make_executor(
    client: Any, config: Config, context: RunContext, jobs: int, progress: Progress, note: Note
) -> Executor[Job, CellRecord]:
    """Return what runs so many jobs: the cluster of ``client``, or this machine if that is None."""
    if client is None:
        return local_executor(context, slots(config), jobs, progress)
    from wsgiproof.run.executors.dask_cells import Cells
    from wsgiproof.run.executors.dask_cluster import DaskCluster

    return DaskCluster(client, Cells(config, context.output, progress), note)


def begin(
    command: str, setup: HostSetup, run_plan: RunPlan, done: Sequence[CellRecord] = ()
) -> RunRecord:
    """Return the record of a run that begins, or resumes with these cells ``done``."""
    return RunRecord(
        wsgiproof=wsgiproof.__version__,
        command=command,
        started=now(),
        finished=None,
        complete=False,
        planned=tuple(job.cell.id for job in run_plan.jobs),
        excluded=run_plan.matrix.excluded,
        host=_host(setup.machine),
        cells=tuple(done),
    )


def _host(machine: Machine) -> dict[str, str]:
    system = os.uname()  # platform.platform() would start a program
    return {
        "system": f"{system.sysname}-{system.release}-{system.machine}",
        "user": machine.account.name,
        "backend": machine.backends.version,
    }


def split(jobs: Sequence[Job], output: Path) -> tuple[list[CellRecord], list[Job]]:
    """Return the records that exist already, and the jobs that are left.

    A record counts if it has the same inputs and a verdict; an ``error`` is not a verdict, and is
    tried again. The directories of all other cells are removed.
    """
    done: list[CellRecord] = []
    left: list[Job] = []
    for job in jobs:
        directory = output / CELLS / job.cell.id
        record = _record_of(job, directory)
        if record is not None and record.verdict not in (Verdict.ERROR, Verdict.SKIPPED):
            done.append(_as_now_known(record, job, directory))
            continue
        if record is not None and record.verdict is Verdict.ERROR:
            put_aside(directory, output)
        _clear(directory)
        left.append(msgspec.structs.replace(job, tries=_tries(job, output)))
    return done, left


def _as_now_known(record: CellRecord, job: Job, directory: Path) -> CellRecord:
    """Return the record of a cell that is kept, judged again if something else is known now."""
    new = job.record(record.verdict, record.reason)
    same = [one.table for one in record.known] == [one.table for one in new.known]
    if same and record.accept_known_upstream == new.accept_known_upstream:
        return record
    changed = msgspec.structs.replace(
        record, known=new.known, accept_known_upstream=new.accept_known_upstream
    )
    judged = judge_record(changed, rules_of(job.cell))
    save_cell(judged, directory)
    return judged


def _clear(directory: Path) -> None:
    """Remove what is left of a cell, which may also be a file."""
    try:
        if directory.is_dir() and not directory.is_symlink():
            shutil.rmtree(directory)
        else:
            directory.unlink(missing_ok=True)
    except OSError as error:
        raise CannotRun(f"{directory} can't be removed: {error.strerror}") from error


def _record_of(job: Job, directory: Path) -> CellRecord | None:
    """Return the record of a job; None if there is none, if it is damaged, or if it has other
    inputs."""
    try:
        record = read_directory(directory)
    except UsageError:
        return None
    return record if record.inputs == job.inputs else None


def _tries(job: Job, output: Path) -> tuple[str, ...]:
    """Return why each try of this job has ended in ``error``. It is read from the earlier tries,
    since the last one may have been interrupted before it could record them."""
    earlier = takewhile(Path.exists, tries_of(job.cell.id, output))
    records = [_record_of(job, directory) for directory in earlier]
    return tuple(record.reason for record in records if record is not None)


def _until_failure(
    records: Generator[CellRecord], jobs: Sequence[Job], output: Path
) -> Iterator[CellRecord]:
    """Yield the records up to the first failure, then one with ``skipped`` for each remaining
    cell."""
    seen: set[str] = set()
    for record in records:
        seen.add(record.cell.id)
        yield record
        if record.verdict is Verdict.FAIL:
            records.close()  # stops the cells that are running
    for job in jobs:
        if job.cell.id not in seen:
            skipped = job.record(Verdict.SKIPPED, _NOT_RUN)
            keep(skipped, output)
            yield skipped
