"""Several cells at the same time, each worker a process of its own.

A process and not a thread, since a client of one cell must not wait for the interpreter lock of
another's, and since Ctrl-C reaches a process where it stands. Each worker has deployments of its
own: a mongod that another cell loads would answer this one late, and the server's sessions can't be
told apart. A worker dies with us (prctl(2), ``PR_SET_PDEATHSIG``), and its guards then end what it
has started.

A worker that dies is an ``error`` of its cell, and so is one that somebody pauses (SIGSTOP) or that
says nothing for long: it is killed, and another one takes its place.

It is no :mod:`multiprocessing` process: that one starts a process of its own that unblocks SIGINT,
and hands on the whole environment.
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
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec

from wsgiproof import limits
from wsgiproof.cell import Cell
from wsgiproof.environ import COMPILE, DOWNLOAD, WORKER, child_environment
from wsgiproof.errors import CannotRun
from wsgiproof.guard import PR_SET_PDEATHSIG, prctl, read_stat
from wsgiproof.leftovers import become_reaper, current_run, join_current, settle
from wsgiproof.records import CellRecord, Verdict
from wsgiproof.results import keep
from wsgiproof.runner import Deployments, Job, Progress, RunContext, Silent, run_cell
from wsgiproof.signals import held, take_over
from wsgiproof.spawn import run_name, spawn

_LOOK_EVERY = 0.5
"""Seconds between two looks at workers that say nothing."""
_PAUSED = 2.0
"""Seconds that a worker may be stopped by a signal; its measurement is worthless by then."""
_BEAT = 5.0
"""Seconds between two signs of life of a worker."""
_SILENCE = 120.0
"""Seconds without one after which a worker is killed: the machine can't be that slow."""
_FAREWELL = 20.0
"""Seconds that all interrupted workers may take to stop their servers; they need one or two."""
_ORPHANS = 8.0
"""Seconds for the guards of a killed worker to end its servers."""
_SEND = 30.0
"""Seconds for a worker to take a message. A worker waits for us as long as it takes: we may be
paused, and it dies with us."""
_HEADER = struct.Struct("=Q")

_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); " \
    "from wsgiproof.workers import serve; serve(*map(int, sys.argv[2:]))"  # fmt: skip
"""What a worker's interpreter does: with our path, take orders from a descriptor."""


def run_jobs(
    jobs: Sequence[Job], context: RunContext, slots: int, progress: Progress
) -> Generator[CellRecord]:
    """Run each job, ``slots`` of them at a time, and give each record as soon as it is there.

    Closing the iterator stops what is running. Raises :class:`CannotRun` where a record can't be
    written, or no worker can be started.
    """
    if slots == 1 or len(jobs) <= 1:
        return _one_by_one(jobs, context, progress)
    return _several(jobs, context, min(slots, len(jobs)), progress)


def _one_by_one(
    jobs: Sequence[Job], context: RunContext, progress: Progress
) -> Generator[CellRecord]:
    with ExitStack() as stack:
        deployments = Deployments(context, stack)
        for job in jobs:
            progress.cell_started(job.cell)
            record = run_cell(job, context, deployments)
            progress.cell_finished(record)
            yield record


def _several(
    jobs: Sequence[Job], context: RunContext, slots: int, progress: Progress
) -> Generator[CellRecord]:
    waiting = deque(jobs)
    workers: list[Worker] = []
    try:
        for _ in range(slots):
            workers.append(Worker(context))
            workers[-1].start()
            workers[-1].begin(waiting.popleft(), progress)
        while busy := [worker for worker in workers if worker.job is not None]:
            for worker in _ready(busy):
                record = worker.listen(progress)
                if record is None:
                    continue
                progress.cell_finished(record)
                if not worker.alive:
                    workers[workers.index(worker)] = worker = Worker(context)
                    worker.start()
                if waiting:
                    worker.begin(waiting.popleft(), progress)
                yield record
    except BaseException:
        for worker in workers:
            worker.interrupt()
        raise
    finally:
        _finish(workers)


def _ready(workers: Sequence[Worker]) -> list[Worker]:
    """Those that have said something, or that have to be looked at, after a while at most."""
    poller = select.poll()
    for worker in workers:
        poller.register(worker.descriptor, select.POLLIN)
    ready = {descriptor for descriptor, _ in poller.poll(round(_LOOK_EVERY * 1000))}
    return [worker for worker in workers if worker.descriptor in ready or worker.suspect()]


def _finish(workers: Sequence[Worker]) -> None:
    """Have all of them gone, with all that they have started, within a bounded time."""
    with held():
        until = time.monotonic() + _FAREWELL
        for worker in workers:
            worker.dismiss()
        for worker in workers:
            if not worker.wait(until):
                worker.kill()
        settle(_ORPHANS)


class Worker:
    """Our end of one worker: the job that it has, and what it says of it."""

    def __init__(self, context: RunContext) -> None:
        self.job: Job | None = None
        self.alive = True
        self._context = context
        self._owned, self._theirs = socket.socketpair()
        self._channel = _Channel(self._owned, _SEND)
        self._process: Any = None
        self._heard_at = time.monotonic()
        self._paused_since: float | None = None

    @property
    def descriptor(self) -> int:
        """Readable when it has said something, or is gone."""
        return self._owned.fileno()

    def start(self) -> None:
        """Start it. Raises :class:`CannotRun` if that can't be done."""
        run = current_run()
        inherited = [self._theirs.fileno(), *([] if run.lock is None else [run.lock])]
        # Held back in it, until it can deal with it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = spawn(
                [
                    *(sys.executable, "-I", "-X", f"utf8={sys.flags.utf8_mode}", "-c", _START),
                    *(json.dumps(sys.path), str(self._theirs.fileno()), str(os.getpid())),
                ],
                env=child_environment(DOWNLOAD, COMPILE, WORKER),
                pass_fds=inherited,
            )
        except OSError as error:
            raise CannotRun(f"cannot start a worker: {error.strerror}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self._theirs.close()
        context = msgspec.structs.replace(self._context, watcher=Silent())
        with suppress(OSError):  # it died: listen() will say so
            self._channel.send((run_name(), run.lock, run.group, context))

    def begin(self, job: Job, progress: Progress) -> None:
        """Give it this job."""
        self.job = job
        self._heard_at = time.monotonic()
        progress.cell_started(job.cell)
        with suppress(OSError):
            self._channel.send(job)

    def suspect(self) -> str:
        """Why it can't be waited for any longer; empty if it can."""
        now = time.monotonic()
        stat = read_stat(self._process.pid)
        if stat is None or stat.state != "T":
            self._paused_since = None
        elif self._paused_since is None:
            self._paused_since = now
        elif now - self._paused_since > _PAUSED:
            return "was paused (SIGSTOP), which spoils what it measures, and has been killed"
        if now - self._heard_at > _SILENCE:
            return f"gave no sign of life for {_SILENCE:.0f} s, and has been killed"
        return ""

    def listen(self, progress: Progress) -> CellRecord | None:
        """Pass on what it says of its job; its record, once it is there."""
        job = self.job
        assert job is not None
        try:
            messages = self._channel.receive()
        except (EOFError, OSError):
            return self._died(job)
        reason = "" if messages else self.suspect()
        if reason:
            self.kill()
            return self._lost(job, reason)
        for word, said in messages:
            self._heard_at = time.monotonic()
            if word == "step":
                progress.step(job.cell, *said)
            elif word == "watch":
                progress.watch(job.cell, *said)
            elif word == "failed":
                raise CannotRun(said)
            elif word == "record":
                self.job = None
                record: CellRecord = said
                return record
        return None

    def _died(self, job: Job) -> CellRecord:
        """The record of a job whose worker is gone: killed, or out of memory."""
        self.kill()
        return self._lost(job, f"ended with exit code {self._process.returncode}")

    def _lost(self, job: Job, what: str) -> CellRecord:
        self.alive, self.job = False, None
        self.dismiss()
        record = job.record(Verdict.ERROR, f"the process that ran this cell {what}", job.tries)
        keep(record, self._context.output)
        return record

    def interrupt(self) -> None:
        """Have it stop its servers and end; one that is paused can't, and is killed."""
        if self._process is None or self._process.poll() is not None:
            return
        stat = read_stat(self._process.pid)
        self._process.send_signal(
            signal.SIGKILL if stat is not None and stat.state == "T" else signal.SIGINT
        )

    def dismiss(self) -> None:
        """Say that there is nothing more to do."""
        self._owned.close()
        self._theirs.close()

    def wait(self, until: float) -> bool:
        """Wait until it is gone; not for one that is paused. ``until`` is of time.monotonic()."""
        while self._process is not None and self._process.poll() is None:
            stat = read_stat(self._process.pid)
            if time.monotonic() > until or (stat is not None and stat.state == "T"):
                return False
            time.sleep(0.01)
        return True

    def kill(self) -> None:
        """End it at once. Its guards, which come to us, end its servers."""
        self.alive = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class _Channel:
    """Messages over a socket: pickled values, each after its length."""

    def __init__(self, end: socket.socket, seconds: float | None) -> None:
        self._end = end
        self._end.settimeout(seconds)
        self._heard = b""
        self._sending = threading.Lock()

    def send(self, message: object) -> None:
        """Raises OSError if the other side is gone, or does not read."""
        content = pickle.dumps(message)
        with self._sending:
            self._end.sendall(_HEADER.pack(len(content)) + content)

    def receive(self) -> list[Any]:
        """All whole messages that are there, which may be none; raises EOFError at the end.

        It never waits for the rest of one: the other side may be paused in the middle of it. Only
        for an end with a timeout.
        """
        try:
            # Not recv(), which waits as long as the timeout says.
            part = os.read(self._end.fileno(), 1 << 20)
        except BlockingIOError:
            return []
        if not part:
            raise EOFError
        self._heard += part
        return list(self._whole())

    def wait(self) -> Any:
        """The next message, whenever it comes; raises EOFError at the end."""
        while True:
            message = next(self._whole(), None)
            if message is not None:
                return message
            select.select([self._end], [], [])
            part = self._end.recv(1 << 20)
            if not part:
                raise EOFError
            self._heard += part

    def _whole(self) -> Iterator[Any]:
        while len(self._heard) >= _HEADER.size:
            (size,) = _HEADER.unpack_from(self._heard)
            end = _HEADER.size + size
            if len(self._heard) < end:
                return
            message, self._heard = pickle.loads(self._heard[_HEADER.size : end]), self._heard[end:]
            yield message


class _Sender:
    """The watcher inside a worker: passes everything on."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel

    def step(self, cell: Cell, text: str) -> None:
        """Something begins that takes seconds, or minutes."""
        self._channel.send(("step", (text,)))

    def watch(self, cell: Cell, phase: str, done: int, total: int) -> None:
        """So many of a phase's requests are done."""
        self._channel.send(("watch", (phase, done, total)))


def serve(descriptor: int, parent: int) -> None:
    """The whole life of a worker."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    os.setsid()  # Ctrl-C is for our parent, who tells us once
    # A shell starts what is in the background with it ignored, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    take_over()
    become_reaper()
    channel = _Channel(socket.socket(fileno=descriptor), None)
    with suppress(KeyboardInterrupt, ConnectionError, EOFError):
        try:
            with ExitStack() as stack:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
                name, lock, group, context = channel.wait()
                _join(name, lock, group)
                threading.Thread(target=_beat, args=(channel,), daemon=True).start()
                context = msgspec.structs.replace(context, watcher=_Sender(channel))
                _serve_jobs(channel, context, Deployments(context, stack))
        except RuntimeError as error:
            reached = limits.explain(error)
            if not reached:
                raise
            channel.send(("failed", f"cannot start a worker: {reached}"))
        finally:
            # All is stopped: where we are told so only now, the interpreter is on its way down, and
            # would show a traceback.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _join(name: str, lock: int | None, group: Path | None) -> None:
    """Be a part of our parent's run, and keep its lock from the commands that we start."""
    if lock is not None:
        os.set_inheritable(lock, False)
    join_current(name, lock, group)


def _beat(channel: _Channel) -> None:
    """Say now and then that we are alive."""
    with suppress(OSError):
        while True:
            channel.send(("alive", ()))
            time.sleep(_BEAT)


def _serve_jobs(channel: _Channel, context: RunContext, deployments: Deployments) -> None:
    """Run one job after the other, until there is no other or no disk to record them on."""
    while True:
        job = channel.wait()
        try:
            channel.send(("record", run_cell(job, context, deployments)))
        except CannotRun as error:
            channel.send(("failed", str(error)))
            return
