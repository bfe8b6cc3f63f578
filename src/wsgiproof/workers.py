"""Several cells at the same time, each worker a process of its own.

A process and not a thread, since a client of one cell must not wait for the interpreter lock of
another's, and since Ctrl-C reaches a process where it stands. Each worker has deployments of its
own: a mongod that another cell loads would answer this one late, and the server's sessions can't be
told apart. A worker dies with us (prctl(2), ``PR_SET_PDEATHSIG``), and its guards then end what it
has started.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection, wait

import msgspec

from wsgiproof.cell import Cell
from wsgiproof.errors import CannotRun
from wsgiproof.guard import prctl
from wsgiproof.records import CellRecord, Verdict
from wsgiproof.results import keep
from wsgiproof.runner import Deployments, Job, Progress, Shop, Silent, run_cell

_PR_SET_PDEATHSIG = 1
_FAREWELL = 60.0
"""Seconds that an interrupted worker may take to stop its servers."""


def run_jobs(
    jobs: Sequence[Job], shop: Shop, slots: int, progress: Progress
) -> Generator[CellRecord]:
    """Run each job, ``slots`` of them at a time, and give each record as soon as it is there.

    Closing the iterator stops what is running. Raises :class:`CannotRun` where a record can't be
    written.
    """
    if slots == 1 or len(jobs) <= 1:
        return _one_by_one(jobs, shop, progress)
    return _several(jobs, shop, min(slots, len(jobs)), progress)


def _one_by_one(jobs: Sequence[Job], shop: Shop, progress: Progress) -> Generator[CellRecord]:
    with ExitStack() as stack:
        deployments = Deployments(shop, stack)
        for job in jobs:
            progress.cell_started(job.cell)
            record = run_cell(job, shop, deployments)
            progress.cell_finished(record)
            yield record


def _several(
    jobs: Sequence[Job], shop: Shop, slots: int, progress: Progress
) -> Generator[CellRecord]:
    waiting = deque(jobs)
    workers: list[_Worker] = []
    try:
        for _ in range(slots):
            workers.append(_Worker(shop))
            workers[-1].begin(waiting.popleft(), progress)
        while busy := [worker for worker in workers if worker.job is not None]:
            for ready in wait([worker.pipe for worker in busy]):
                worker = next(one for one in busy if one.pipe is ready)
                record = worker.listen(progress)
                if record is None:
                    continue
                progress.cell_finished(record)
                if not worker.alive:
                    workers[workers.index(worker)] = worker = _Worker(shop)
                if waiting:
                    worker.begin(waiting.popleft(), progress)
                yield record
    except BaseException:
        for worker in workers:
            worker.interrupt()
        raise
    finally:
        for worker in workers:
            worker.finish()


class _Worker:
    """Our end of one worker: the job that it has, and what it says of it."""

    def __init__(self, shop: Shop) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.job: Job | None = None
        self.alive = True
        self._shop = shop
        self._process = context.Process(
            target=_serve,
            args=(theirs, os.getpid(), msgspec.structs.replace(shop, watcher=Silent())),
        )
        with _without_ctrl_c():
            self._process.start()
        theirs.close()

    def begin(self, job: Job, progress: Progress) -> None:
        """Give it this job."""
        self.job = job
        progress.cell_started(job.cell)
        with suppress(OSError):  # it died: listen() will say so
            self.pipe.send(job)

    def listen(self, progress: Progress) -> CellRecord | None:
        """Pass on what it says of its job; its record, once it is there."""
        job = self.job
        assert job is not None
        try:
            word, said = self.pipe.recv()
        except (EOFError, OSError):
            return self._died(job)
        if word == "step":
            progress.step(job.cell, *said)
        elif word == "watch":
            progress.watch(job.cell, *said)
        elif word == "failed":
            raise CannotRun(said)
        else:
            self.job = None
            record: CellRecord = said
            return record
        return None

    def _died(self, job: Job) -> CellRecord:
        """The record of a job whose worker is gone: killed, or out of memory."""
        self._process.join()
        self.alive, self.job = False, None
        reason = f"the process that ran this cell ended with exit code {self._process.exitcode}"
        record = job.record(Verdict.ERROR, reason, job.tries)
        keep(record, self._shop.output)
        return record

    def interrupt(self) -> None:
        """Have it stop its servers and end."""
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGINT)

    def finish(self) -> None:
        """Wait until it has stopped its servers and is gone; its guards stop them if it can't."""
        self.pipe.close()
        self._process.join(_FAREWELL)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Hold SIGINT back, and have what is started here hold it back, until it can deal with it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Sender:
    """The watcher inside a worker: passes everything on."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def step(self, cell: Cell, text: str) -> None:
        """Something begins that takes seconds, or minutes."""
        self._pipe.send(("step", (text,)))

    def watch(self, cell: Cell, phase: str, done: int, total: int) -> None:
        """So many of a phase's requests are done."""
        self._pipe.send(("watch", (phase, done, total)))


def _serve(pipe: Connection, parent: int, shop: Shop) -> None:
    """The whole life of a worker."""
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    os.setsid()  # Ctrl-C is for our parent, who tells us once
    # A shell starts what is in the background with it ignored, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with suppress(KeyboardInterrupt, BrokenPipeError):
        try:
            with ExitStack() as stack:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
                shop = msgspec.structs.replace(shop, watcher=_Sender(pipe))
                _serve_jobs(pipe, shop, Deployments(shop, stack))
        finally:
            # All is stopped: where we are told so only now, the interpreter is on its way down, and
            # would show a traceback.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _serve_jobs(pipe: Connection, shop: Shop, deployments: Deployments) -> None:
    """Run one job after the other, until there is no other or no disk to record them on."""
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(("record", run_cell(job, shop, deployments)))
        except CannotRun as error:
            pipe.send(("failed", str(error)))
            return
