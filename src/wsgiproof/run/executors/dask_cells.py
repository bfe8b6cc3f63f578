"""Cells as tasks of a Dask cluster: what comes back of each is unpacked, and its record saved."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from wsgiproof.config.model import Config
from wsgiproof.errors import CannotRun, describe, one_line
from wsgiproof.provision.sent import SentFile
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.parcel import unpack
from wsgiproof.records.reading import read_cells
from wsgiproof.records.run import CellRecord
from wsgiproof.records.writing import BACKENDS, TRIES, keep, save_cell
from wsgiproof.run.cell import Job, Progress, put_aside
from wsgiproof.run.executors.ordered_cell import CellOrder, sources_of

_INCOMING = "incoming"
"""The directory in the output in which archives are unpacked."""
_HOST_FACTS = ("name", "system", "processor", "processors", "user", "apache")
"""What a record says about its host."""


class Cells:
    """Runs jobs, and keeps what comes of each in the output directory of a run."""

    kind = "cell"

    def __init__(self, config: Config, output: Path, progress: Progress) -> None:
        self._config = config
        self._output = output
        self._progress = progress

    def name(self, job: Job) -> str:
        """Return the id of the cell."""
        return job.cell.id

    def needs(self, job: Job) -> object:
        """Return the parts of a job that a host may lack."""
        python, cell = job.spec.python, job.cell
        needs = (python.version, python.free_threaded, cell.mpm, job.spec.home, job.backend)
        return cell.subject, cell.httpd_path, cell.httpd, needs

    def paths(self, job: Job) -> Sequence[str]:
        """Return the files that a job needs from this machine."""
        return sources_of(job)

    def order(self, job: Job, files: Mapping[str, SentFile]) -> CellOrder:
        """Return the job with what it needs of this machine."""
        return CellOrder(job=job, config=self._config, files=files)

    def begun(self, job: Job) -> None:
        """Show that a cell begins."""
        self._progress.cell_started(job.cell)

    def heard(self, job: Job, host: str, event: str, content: Sequence[Any]) -> None:
        """Show how far a cell has come."""
        if event == "step":
            (text,) = content
            self._progress.step(job.cell, f"{one_line(text)} on {host}")
        elif event == "watch":
            phase, done, total = content
            self._progress.watch(job.cell, f"{one_line(phase)} on {host}", int(done), int(total))

    def waits(self, job: Job, why: str) -> None:
        """Show what a cell waits for."""
        self._progress.step(job.cell, why)

    def keep(self, job: Job, facts: Mapping[str, str], content: Any) -> CellRecord:
        """Unpack what a cell has left, and save its record; return that."""
        place = self._output / _INCOMING
        try:
            shutil.rmtree(place, ignore_errors=True)
            unpack(content, place)
            (record,) = read_cells(place / "cell")
            record = _as_planned(record, job, facts)
            for path in sorted((place / TRIES).glob("*")):
                path.rename(place / job.cell.id)
                put_aside(place / job.cell.id, self._output)
            for path in sorted((place / BACKENDS).glob("*")):
                _move(path, self._output / BACKENDS)
            save_cell(record, place / "cell")
            (place / "cell").rename(self._output / record.directory)
            shutil.rmtree(place, ignore_errors=True)
        except OSError as error:
            raise CannotRun(f"{self._output} can't be written: {describe(error)}") from error
        return record

    def again(self, job: Job, why: str) -> Job:
        """Put aside that a try was lost."""
        keep(job.record(Verdict.ERROR, why, job.tries), self._output)
        put_aside(self._output / job.record(Verdict.ERROR, "").directory, self._output)
        return msgspec.structs.replace(job, tries=(*job.tries, why))

    def give_up(self, job: Job, why: str) -> CellRecord:
        """Save and return the record of a cell that could not be run."""
        record = job.record(Verdict.ERROR, why, job.tries)
        keep(record, self._output)
        return record

    def ended(self, record: CellRecord) -> None:
        """Show that a cell has a record."""
        self._progress.cell_finished(record)


def _as_planned(record: CellRecord, job: Job, facts: Mapping[str, str]) -> CellRecord:
    """Return the record of a cell as that of the job that was planned here: its paths and its
    digest are those of this machine."""
    planned = job.record(record.verdict, record.reason)
    return msgspec.structs.replace(
        record,
        cell=planned.cell,
        rerun=planned.rerun,
        directory=planned.directory,
        inputs=planned.inputs,
        tries=(*job.tries, *record.tries[len(job.tries) :]),
        host={name: facts[name] for name in _HOST_FACTS if facts.get(name)},
    )


def _move(path: Path, directory: Path) -> None:
    """Move a directory to another one, under a new name if its own is taken."""
    directory.mkdir(exist_ok=True)
    target = directory / path.name
    while target.exists():
        target = directory / f"{path.name}-{secrets.token_hex(3)}"
    path.rename(target)
