"""Run several cells at the same time, each in a worker process.

Workers are processes and not threads, so that the load client of one cell does not wait for the GIL
of another, and so that Ctrl-C interrupts each of them. Each worker has its own backends: one
under the load of another cell would answer late, and the sessions of two cells can't be
distinguished.

If a worker dies, its cell is an ``error``. The same is true if another process pauses it (SIGSTOP)
or if it sends nothing for long: it is killed, and a new worker replaces it.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from wsgiproof import limits
from wsgiproof.errors import CannotRun
from wsgiproof.process.leftovers import await_orphans, current_run, join_current
from wsgiproof.process.signals import ignore_interrupts, interrupts_deferred
from wsgiproof.process.spawn import run_name
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.run import CellRecord
from wsgiproof.records.writing import keep
from wsgiproof.run.cell import Job, NullWatcher, Progress, RunContext, RunningBackends, run_cell
from wsgiproof.run.executors.child import Channel, Child, begin_heartbeats, take_over

_LOOK_EVERY = 0.5
"""Seconds between two checks of workers that send nothing."""
_STOP_DEADLINE = 20.0
"""Seconds that all interrupted workers may take to stop their servers; they need one or two."""
_ORPHANS_DEADLINE = 8.0
"""Seconds for the guards of a killed worker to end its servers."""


def local_executor(
    context: RunContext, slots: int, jobs: int, progress: Progress
) -> InTurn | Workers:
    """Return what runs so many jobs on this machine, ``slots`` of them at a time."""
    if slots == 1 or jobs <= 1:
        return InTurn(context, progress)
    return Workers(context, min(slots, jobs), progress)


class InTurn:
    """Runs one cell after the other, in this process."""

    slots = 1

    def __init__(self, context: RunContext, progress: Progress) -> None:
        self._context = context
        self._progress = progress
        self._waiting: deque[Job] = deque()

    def hosts(self) -> tuple[str, ...]:
        """Return the name of this machine."""
        return (os.uname().nodename,)

    def submit(self, job: Job) -> None:
        """Take a job."""
        self._waiting.append(job)

    def results(self) -> Iterator[CellRecord]:
        """Run the jobs in the order in which they were taken."""
        with ExitStack() as stack:
            backends = RunningBackends(self._context, stack)
            while self._waiting:
                job = self._waiting.popleft()
                self._progress.cell_started(job.cell)
                record = run_cell(job, self._context, backends)
                self._progress.cell_finished(record)
                yield record

    def cancel(self) -> None:
        """Do nothing: a cell ends what it has started when it is interrupted."""


class Workers:
    """Runs ``slots`` cells at the same time, each in a worker process."""

    def __init__(self, context: RunContext, slots: int, progress: Progress) -> None:
        self.slots = slots
        self._context = context
        self._progress = progress
        self._waiting: deque[Job] = deque()
        self._workers: list[Worker] = []

    def hosts(self) -> tuple[str, ...]:
        """Return the name of this machine."""
        return (os.uname().nodename,)

    def submit(self, job: Job) -> None:
        """Take a job."""
        self._waiting.append(job)

    def results(self) -> Iterator[CellRecord]:
        """Run the jobs; those that were taken first start first."""
        for _ in range(self.slots):
            self._workers.append(Worker(self._context))
            self._workers[-1].start()
            self._begin(self._workers[-1])
        while busy := [worker for worker in self._workers if worker.job is not None]:
            for worker in _ready(busy):
                record = worker.receive(self._progress)
                if record is None:
                    continue
                self._progress.cell_finished(record)
                if not worker.alive:
                    fresh = Worker(self._context)
                    self._workers[self._workers.index(worker)] = worker = fresh
                    worker.start()
                self._begin(worker)
                yield record
        self._finish()

    def _begin(self, worker: Worker) -> None:
        if self._waiting:
            worker.begin(self._waiting.popleft(), self._progress)

    def cancel(self) -> None:
        """Interrupt all workers, and end everything that they have started."""
        for worker in self._workers:
            worker.child.interrupt()
        self._finish()

    def _finish(self) -> None:
        """End all workers, and everything that they have started, within a bounded time."""
        if not self._workers:
            return
        with interrupts_deferred():
            workers, self._workers = self._workers, []
            until = time.monotonic() + _STOP_DEADLINE
            for worker in workers:
                worker.child.disconnect()
            for worker in workers:
                if not worker.child.wait(until):
                    worker.child.kill()
            await_orphans(_ORPHANS_DEADLINE)


def _ready(workers: Sequence[Worker]) -> list[Worker]:
    """Return the workers that have sent something, or that have to be killed; waits a short time at
    most."""
    poller = select.poll()
    for worker in workers:
        poller.register(worker.child.descriptor, select.POLLIN)
    ready = {descriptor for descriptor, _ in poller.poll(round(_LOOK_EVERY * 1000))}
    return [
        worker for worker in workers if worker.child.descriptor in ready or worker.child.why_lost()
    ]


class Worker:
    """The parent's side of one worker: its job, and the messages about it."""

    def __init__(self, context: RunContext) -> None:
        self.job: Job | None = None
        self.alive = True
        self.child = Child()
        self._context = context

    def start(self) -> None:
        """Start the worker. Raises :class:`CannotRun` if it can't be started."""
        run = current_run()
        self.child.start(serve, [] if run.lock is None else [run.lock])
        context = msgspec.structs.replace(self._context, watcher=NullWatcher())
        self.child.send((run_name(), run.lock, run.group, context))

    def begin(self, job: Job, progress: Progress) -> None:
        """Send the worker a job."""
        self.job = job
        progress.cell_started(job.cell)
        self.child.send(job)

    def receive(self, progress: Progress) -> CellRecord | None:
        """Pass on the messages about the job; return its record, if it is complete."""
        job = self.job
        assert job is not None
        try:
            messages = self.child.receive()
        except (EOFError, OSError):
            return self._died(job)
        reason = "" if messages else self.child.why_lost()
        if reason:
            self.child.kill()
            return self._lost(job, reason)
        for kind, content in messages:
            if kind == "step":
                progress.step(job.cell, *content)
            elif kind == "watch":
                progress.watch(job.cell, *content)
            elif kind == "failed":
                raise CannotRun(content)
            elif kind == "record":
                self.job = None
                record: CellRecord = content
                return record
        return None

    def _died(self, job: Job) -> CellRecord:
        """Return the record of a job whose worker has died: it was killed, or out of memory."""
        self.child.kill()
        return self._lost(job, f"ended with exit code {self.child.returncode}")

    def _lost(self, job: Job, why: str) -> CellRecord:
        self.alive, self.job = False, None
        self.child.disconnect()
        record = job.record(Verdict.ERROR, f"the process that ran this cell {why}", job.tries)
        keep(record, self._context.output)
        return record


class Sender:
    """The watcher in a worker, which sends everything to the parent."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def step(self, cell: Cell, text: str) -> None:
        """Send that a step begins which takes seconds or minutes."""
        self._channel.send(("step", (text,)))

    def watch(self, cell: Cell, phase: str, done: int, total: int) -> None:
        """Send how many of a phase's requests are done."""
        self._channel.send(("watch", (phase, done, total)))


def serve(descriptor: int, parent: int) -> None:
    """Run a worker: receive jobs and run them until the parent disconnects."""
    channel = take_over(descriptor, parent)
    if channel is None:
        return
    with suppress(KeyboardInterrupt, ConnectionError, EOFError):
        try:
            with ExitStack() as stack:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
                name, lock, group, context = channel.wait()
                _join(name, lock, group)
                begin_heartbeats(channel)
                context = msgspec.structs.replace(context, watcher=Sender(channel))
                _serve_jobs(channel, context, RunningBackends(context, stack))
        except RuntimeError as error:
            limit = limits.explain(error)
            if not limit:
                raise
            channel.send(("failed", f"cannot start a worker: {limit}"))
        finally:
            # Everything is stopped. A SIGINT from now on would interrupt the shutdown of the
            # interpreter, and print a traceback. It is ignored, not only blocked: the thread of the
            # heartbeats could take it.
            ignore_interrupts()


def _join(name: str, lock: int | None, group: Path | None) -> None:
    """Join the parent's run, and do not pass its lock on to commands."""
    if lock is not None:
        os.set_inheritable(lock, False)
    join_current(name, lock, group)


def _serve_jobs(channel: Channel, context: RunContext, backends: RunningBackends) -> None:
    """Run one job after the other, until the parent disconnects or a record can't be written."""
    while True:
        job = channel.wait()
        try:
            channel.send(("record", run_cell(job, context, backends)))
        except CannotRun as error:
            channel.send(("failed", str(error)))
            return
