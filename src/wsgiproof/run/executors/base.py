"""The protocol of what runs cells."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Protocol

from wsgiproof.records.run import CellRecord
from wsgiproof.run.cell import Job


class Executor(Protocol):
    """Runs cells somewhere. Their records and logs are in the output directory of the run, wherever
    a cell ran."""

    @property
    def slots(self) -> int:
        """The number of cells that it runs at the same time."""

    def hosts(self) -> tuple[str, ...]:
        """Return the names of the machines on which it runs cells now."""

    def submit(self, job: Job) -> None:
        """Take a job. It starts nothing and waits for nothing."""

    def results(self) -> Iterator[CellRecord]:
        """Run all jobs that it has taken, and yield each record as soon as it is complete and
        saved.

        Raises :class:`wsgiproof.errors.CannotRun` if a record can't be written, or if it can run no
        more cells.
        """

    def cancel(self) -> None:
        """End everything that it has started, within a bounded time; nothing is left of a cell that
        has no record yet. It may be called twice, and does nothing then."""


def run_jobs(jobs: Sequence[Job], executor: Executor) -> Generator[CellRecord]:
    """Run the jobs, and yield each record as soon as it is complete.

    Closing the iterator stops the running cells. Raises as :meth:`Executor.results`.
    """
    try:
        for job in jobs:
            executor.submit(job)
        yield from executor.results()
    finally:
        executor.cancel()
