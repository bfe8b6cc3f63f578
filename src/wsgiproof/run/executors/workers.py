"""Run several cells at the same time, each in a worker process.

Workers are processes and not threads, so that the load client of one cell does not wait for the GIL
of another, and so that Ctrl-C interrupts each of them. Each worker has its own backends: one
under the load of another cell would answer late, and the sessions of two cells can't be
distinguished. A worker dies with its parent (prctl(2), ``PR_SET_PDEATHSIG``), and its guards then
end what it has started.

If a worker dies, its cell is an ``error``. The same is true if another process pauses it (SIGSTOP)
or if it sends nothing for long: it is killed, and a new worker replaces it.

:mod:`multiprocessing` is not used: it starts another process that unblocks SIGINT, and passes on
the whole environment.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec

from wsgiproof import limits
from wsgiproof.errors import CannotRun
from wsgiproof.process.environ import COMPILE, DOWNLOAD, WORKER, child_environment
from wsgiproof.process.guard import PR_SET_PDEATHSIG, prctl, read_stat
from wsgiproof.process.leftovers import await_orphans, become_reaper, current_run, join_current
from wsgiproof.process.signals import ignore_interrupts, install_handlers, interrupts_deferred
from wsgiproof.process.spawn import run_name, spawn
from wsgiproof.records.cell import Cell
from wsgiproof.records.directory import keep
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.run import CellRecord
from wsgiproof.run.cell import Job, NullWatcher, Progress, RunContext, RunningBackends, run_cell

_LOOK_EVERY = 0.5
"""Seconds between two checks of workers that send nothing."""
_PAUSE_LIMIT = 2.0
"""Seconds that a worker may be paused; after that, its measurements are worthless."""
_HEARTBEAT_EVERY = 5.0
"""Seconds between two heartbeats of a worker."""
_HEARTBEAT_LIMIT = 120.0
"""Seconds without a heartbeat after which a worker is killed: no machine is that slow."""
_STOP_DEADLINE = 20.0
"""Seconds that all interrupted workers may take to stop their servers; they need one or two."""
_ORPHANS_DEADLINE = 8.0
"""Seconds for the guards of a killed worker to end its servers."""
_SEND_TIMEOUT = 30.0
"""Seconds for a worker to receive a message. A worker waits for its parent without limit, since
that may be paused; if the parent dies, so does the worker."""
_HEADER = struct.Struct("=Q")

_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); " \
    "from wsgiproof.run.executors.workers import serve; serve(*map(int, sys.argv[2:]))"  # fmt: skip
"""The code of a worker's interpreter: use the parent's path, and receive jobs over a descriptor."""


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
            worker.interrupt()
        self._finish()

    def _finish(self) -> None:
        """End all workers, and everything that they have started, within a bounded time."""
        if not self._workers:
            return
        with interrupts_deferred():
            workers, self._workers = self._workers, []
            until = time.monotonic() + _STOP_DEADLINE
            for worker in workers:
                worker.disconnect()
            for worker in workers:
                if not worker.wait(until):
                    worker.kill()
            await_orphans(_ORPHANS_DEADLINE)


def _ready(workers: Sequence[Worker]) -> list[Worker]:
    """Return the workers that have sent something, or that have to be killed; waits a short time at
    most."""
    poller = select.poll()
    for worker in workers:
        poller.register(worker.descriptor, select.POLLIN)
    ready = {descriptor for descriptor, _ in poller.poll(round(_LOOK_EVERY * 1000))}
    return [worker for worker in workers if worker.descriptor in ready or worker.why_lost()]


class Worker:
    """The parent's side of one worker: its job, and the messages about it."""

    def __init__(self, context: RunContext) -> None:
        self.job: Job | None = None
        self.alive = True
        self._context = context
        self._socket, self._worker_socket = socket.socketpair()
        self._channel = _Channel(self._socket, _SEND_TIMEOUT)
        self._process: Any = None
        self._received_at = time.monotonic()
        self._paused_since: float | None = None

    @property
    def descriptor(self) -> int:
        """A descriptor that is readable when the worker has sent something, or has ended."""
        return self._socket.fileno()

    def start(self) -> None:
        """Start the worker. Raises :class:`CannotRun` if it can't be started."""
        run = current_run()
        inherited = [self._worker_socket.fileno(), *([] if run.lock is None else [run.lock])]
        # Blocked in the worker until it has its handlers.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = spawn(
                [
                    *(sys.executable, "-I", "-X", f"utf8={sys.flags.utf8_mode}", "-c", _START),
                    *(json.dumps(sys.path), str(self._worker_socket.fileno()), str(os.getpid())),
                ],
                env=child_environment(DOWNLOAD, COMPILE, WORKER),
                pass_fds=inherited,
            )
        except OSError as error:
            raise CannotRun(f"cannot start a worker: {error.strerror}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self._worker_socket.close()
        context = msgspec.structs.replace(self._context, watcher=NullWatcher())
        with suppress(OSError):  # it died: receive() will notice that
            self._channel.send((run_name(), run.lock, run.group, context))

    def begin(self, job: Job, progress: Progress) -> None:
        """Send the worker a job."""
        self.job = job
        self._received_at = time.monotonic()
        progress.cell_started(job.cell)
        with suppress(OSError):
            self._channel.send(job)

    def why_lost(self) -> str:
        """Return why the worker has to be killed; empty if it is still working."""
        now = time.monotonic()
        stat = read_stat(self._process.pid)
        if stat is None or stat.state != "T":
            self._paused_since = None
        elif self._paused_since is None:
            self._paused_since = now
        elif now - self._paused_since > _PAUSE_LIMIT:
            return "was paused (SIGSTOP), which falsifies its measurements, and has been killed"
        if now - self._received_at > _HEARTBEAT_LIMIT:
            return f"sent no heartbeat for {_HEARTBEAT_LIMIT:.0f} s, and has been killed"
        return ""

    def receive(self, progress: Progress) -> CellRecord | None:
        """Pass on the messages about the job; return its record, if it is complete."""
        job = self.job
        assert job is not None
        try:
            messages = self._channel.receive()
        except (EOFError, OSError):
            return self._died(job)
        reason = "" if messages else self.why_lost()
        if reason:
            self.kill()
            return self._lost(job, reason)
        for kind, content in messages:
            self._received_at = time.monotonic()
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
        self.kill()
        return self._lost(job, f"ended with exit code {self._process.returncode}")

    def _lost(self, job: Job, why: str) -> CellRecord:
        self.alive, self.job = False, None
        self.disconnect()
        record = job.record(Verdict.ERROR, f"the process that ran this cell {why}", job.tries)
        keep(record, self._context.output)
        return record

    def interrupt(self) -> None:
        """Have the worker stop its servers and end; a paused one can't, and is killed."""
        if self._process is None or self._process.poll() is not None:
            return
        stat = read_stat(self._process.pid)
        self._process.send_signal(
            signal.SIGKILL if stat is not None and stat.state == "T" else signal.SIGINT
        )

    def disconnect(self) -> None:
        """Close the connection, which ends a worker without a job."""
        self._socket.close()
        self._worker_socket.close()

    def wait(self, until: float) -> bool:
        """Wait until the worker has ended; return False at ``until``, a time of time.monotonic(),
        or if it is paused."""
        while self._process is not None and self._process.poll() is None:
            stat = read_stat(self._process.pid)
            if time.monotonic() > until or (stat is not None and stat.state == "T"):
                return False
            time.sleep(0.01)
        return True

    def kill(self) -> None:
        """End the worker at once. Its guards, which become children of this process, end its
        servers."""
        self.alive = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class _Channel:
    """Messages over a socket: pickled values, each after its length."""

    def __init__(self, end: socket.socket, seconds: float | None) -> None:
        self._end = end
        self._end.settimeout(seconds)
        self._received = b""
        self._sending = threading.Lock()

    def send(self, message: object) -> None:
        """Send a message. Raises OSError if the other side has ended, or does not read."""
        content = pickle.dumps(message)
        with self._sending:
            self._end.sendall(_HEADER.pack(len(content)) + content)

    def receive(self) -> list[Any]:
        """Return all complete messages that have arrived, maybe none. Raises EOFError at the end.

        It never waits for the rest of a message, since the other side may be paused in the middle
        of one. Only for a socket with a timeout.
        """
        try:
            # Not recv(), which waits until the timeout.
            part = os.read(self._end.fileno(), 1 << 20)
        except BlockingIOError:
            return []
        if not part:
            raise EOFError
        self._received += part
        return list(self._complete())

    def wait(self) -> Any:
        """Wait for the next message, without a limit. Raises EOFError at the end."""
        while True:
            message = next(self._complete(), None)
            if message is not None:
                return message
            select.select([self._end], [], [])
            part = self._end.recv(1 << 20)
            if not part:
                raise EOFError
            self._received += part

    def _complete(self) -> Iterator[Any]:
        while len(self._received) >= _HEADER.size:
            (size,) = _HEADER.unpack_from(self._received)
            end = _HEADER.size + size
            if len(self._received) < end:
                return
            message = pickle.loads(self._received[_HEADER.size : end])
            self._received = self._received[end:]
            yield message


class _Sender:
    """The watcher in a worker, which sends everything to the parent."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel

    def step(self, cell: Cell, text: str) -> None:
        """Send that a step begins which takes seconds or minutes."""
        self._channel.send(("step", (text,)))

    def watch(self, cell: Cell, phase: str, done: int, total: int) -> None:
        """Send how many of a phase's requests are done."""
        self._channel.send(("watch", (phase, done, total)))


def serve(descriptor: int, parent: int) -> None:
    """Run a worker: receive jobs and run them until the parent disconnects."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    os.setsid()  # the terminal sends Ctrl-C only to the parent, which passes it on once
    # A shell starts background commands with SIGINT ignored, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    install_handlers()
    become_reaper()
    channel = _Channel(socket.socket(fileno=descriptor), None)
    with suppress(KeyboardInterrupt, ConnectionError, EOFError):
        try:
            with ExitStack() as stack:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
                name, lock, group, context = channel.wait()
                _join(name, lock, group)
                threading.Thread(target=_send_heartbeats, args=(channel,), daemon=True).start()
                context = msgspec.structs.replace(context, watcher=_Sender(channel))
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


def _send_heartbeats(channel: _Channel) -> None:
    """Send a heartbeat at regular intervals."""
    with suppress(OSError):
        while True:
            channel.send(("alive", ()))
            time.sleep(_HEARTBEAT_EVERY)


def _serve_jobs(channel: _Channel, context: RunContext, backends: RunningBackends) -> None:
    """Run one job after the other, until the parent disconnects or a record can't be written."""
    while True:
        job = channel.wait()
        try:
            channel.send(("record", run_cell(job, context, backends)))
        except CannotRun as error:
            channel.send(("failed", str(error)))
            return
