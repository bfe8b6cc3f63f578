"""The protocol of what runs jobs."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Protocol, TypeVar

_Job = TypeVar("_Job", contravariant=True)
_Result = TypeVar("_Result", covariant=True)


class Executor(Protocol[_Job, _Result]):
    """Runs jobs somewhere, such as cells. Records and logs of cells are in the output directory of
    the run, wherever a cell ran."""

    @property
    def slots(self) -> int:
        """The number of jobs that it runs at the same time."""

    def hosts(self) -> tuple[str, ...]:
        """Return the names of the machines on which it runs jobs now."""

    def submit(self, job: _Job) -> None:
        """Take a job. It starts nothing and waits for nothing."""

    def results(self) -> Iterator[_Result]:
        """Run all jobs that it has taken, and yield each result as soon as it is complete and
        saved.

        Raises :class:`wsgiproof.errors.CannotRun` if a result can't be written, or if it can run no
        more jobs.
        """

    def cancel(self) -> None:
        """End everything that it has started, within a bounded time; nothing is left of a job that
        has no result yet. It may be called twice, and does nothing then."""


_J = TypeVar("_J")
_R = TypeVar("_R")


def run_jobs(jobs: Sequence[_J], executor: Executor[_J, _R]) -> Generator[_R]:
    """Run the jobs, and yield each result as soon as it is complete.

    Closing the iterator stops the running jobs. Raises as :meth:`Executor.results`.
    """
    try:
        for job in jobs:
            executor.submit(job)
        yield from executor.results()
    finally:
        executor.cancel()
