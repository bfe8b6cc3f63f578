"""Run cells on a Dask cluster, one at a time in each of its workers.

Dask knows which workers there are, carries values, and notices who is lost. Which worker gets which
cell is decided here, one cell at a time for each worker: a cell only goes where it can run, and one
that was lost with its worker goes to another one. No more is in flight than there are workers,
however many cells a run has.

Nothing outside this module and :mod:`wsgiproof.run.executors.dask_worker` imports Dask.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import queue
import secrets
import shutil
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from wsgiproof.config.model import Config
from wsgiproof.errors import CannotRun, UsageError, describe, one_line
from wsgiproof.process.signals import interrupts_deferred
from wsgiproof.provision.sent import SentFile, describe_file, read_to_send
from wsgiproof.records.directory import BACKENDS, TRIES, Note, keep, read_cells, save_cell
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.parcel import unpack
from wsgiproof.records.run import CellRecord
from wsgiproof.run.cell import Job, Progress, put_aside
from wsgiproof.run.executors.dask_local import local_cluster
from wsgiproof.run.executors.dask_worker import Sealed, ask
from wsgiproof.run.executors.host import Order, Survey, sources_of

LOCAL = "local"
"""In place of an address: workers on this machine, which end with the run."""
_CONNECT_DEADLINE = 15.0
"""Seconds for a scheduler to answer."""
_WORKERS_DEADLINE = 120.0
"""Seconds without any worker after which a run ends; a nanny replaces its worker within five."""
_PREPARED_WITHIN = 300.0
"""Seconds in which a new worker answers, before it gets no cells: it may be busy with the task of
another client, or take what it is sent and start nothing."""
_LOOK_EVERY = 1.0
"""Seconds between two looks at which workers there are."""
_PAUSE = 0.2
_ANSWER_DEADLINE = 30.0
"""Seconds for the scheduler to say which workers there are."""
_FETCH_DEADLINE = 600.0
"""Seconds for what a cell has left to arrive."""
_STOP_DEADLINE = 20.0
"""Seconds for the cells of all workers to stop; they need two or three."""
_MOST_LOSSES = 2
"""How often a cell that was lost is tried elsewhere."""
_GRACE = 20.0
"""Seconds after a worker was lost in which another may take its place, before a cell that none of
the others can run is given up."""
_INCOMING = "incoming"
"""The directory in the output in which archives are unpacked."""
_HOST_FACTS = ("name", "system", "processor", "processors", "user", "apache")
"""What a record says about its host."""


@contextmanager
def connected(address: str, slots: int) -> Iterator[Any]:
    """Connect to the scheduler at ``address``, or start ``slots`` workers on this machine; return
    Dask's client.

    Raises :class:`UsageError` if Dask is not installed, or if that is no address, and
    :class:`CannotRun` if no scheduler answers.
    """
    distributed = _import_dask()
    _silence()
    with ExitStack() as stack:
        target, security = address, None
        if address == LOCAL:
            target, security = stack.enter_context(local_cluster(slots))
        client = _connect(distributed, target, security)
        stack.callback(_close, client)
        yield client


def _close(client: Any) -> None:
    with interrupts_deferred(), warnings.catch_warnings(), suppress(Exception):  # it may be gone
        warnings.simplefilter("ignore")
        client.close(timeout=_CONNECT_DEADLINE)


def _import_dask() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise UsageError(
            "--dask needs Dask distributed: pip install 'wsgiproof[dask]', on each machine"
        ) from error
    return distributed


def _silence() -> None:
    """Keep Dask from the terminal: what it would print there is said in one line here. Its
    configuration gives some of its loggers a level of their own."""
    for name in ("distributed", *logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _connect(distributed: Any, address: str, security: Any) -> Any:
    with warnings.catch_warnings():
        # Of versions that differ; those that matter are refused.
        warnings.simplefilter("ignore")
        try:
            return distributed.Client(
                address, security=security, timeout=_CONNECT_DEADLINE, set_as_default=False
            )
        except AssertionError as error:  # of Dask, whose thread has to start within ten seconds
            raise CannotRun("Dask did not start on this machine, which is too busy") from error
        except (OSError, TimeoutError) as error:
            raise CannotRun(f"no Dask scheduler answers at {address}: {error}") from error
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"--dask {address}: give 'local', or the address of a Dask scheduler, such as "
                "tcp://10.0.0.1:8786"
            ) from error


class _Work:
    """A job that has no record yet."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.needs = _needs(job)
        self.lost_on: list[str] = []
        """The names of the hosts that it was lost on."""
        self.begun = False


def _needs(job: Job) -> bytes:
    """Return a value that is the same for all jobs that need the same of a host."""
    python = job.spec.python
    needs = (python.version, python.free_threaded, job.cell.mpm, job.spec.home, job.backend)
    return hashlib.sha256(pickle.dumps((job.cell.subject, needs))).digest()


class _Host:
    """A worker of Dask: what it is, and what it does now."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.facts: dict[str, str] = {}
        self.reasons: dict[bytes, str] = {}
        """Why it can't run jobs with these needs; empty if it can."""
        self.missing: tuple[SentFile, ...] = ()
        self.ready = False
        self.asked_at = 0.0
        """When it was asked something before it was ready."""
        self.refused = ""
        """Why it gets no cells at all."""
        self.future: Any = None
        self.work: _Work | None = None

    @property
    def name(self) -> str:
        """The name of its machine."""
        return self.facts.get("name", self.address)

    @property
    def title(self) -> str:
        """It, for people."""
        return f"{self.facts['name']} ({self.address})" if self.facts else self.address

    @property
    def idle(self) -> bool:
        """Whether it can take a cell."""
        return self.ready and self.future is None


class DaskCluster:
    """Runs cells in the workers of a Dask cluster."""

    def __init__(
        self,
        client: Any,
        config: Config,
        output: Path,
        progress: Progress,
        note: Note,
        function: Callable[[str, Sealed, str], tuple[str, Any]] = ask,
    ) -> None:
        """``function`` is what runs in a worker.

        Raises :class:`CannotRun` if no worker joins in time, or if one has another wsgiproof or
        Python than this.
        """
        self._client = client
        self._config = config
        self._output = output
        self._progress = progress
        self._note = note
        self._function = function
        self._topic = f"wsgiproof-{secrets.token_hex(6)}"
        self._waiting: deque[_Work] = deque()
        self._hosts: dict[str, _Host] = {}
        self._works: dict[str, tuple[_Host, _Work]] = {}
        """What runs now, by the key of its task."""
        self._events: queue.SimpleQueue[tuple[str, str, Any]] = queue.SimpleQueue()
        """What happened, from threads of Dask: the key of a task, what, and its content."""
        self._files: dict[str, SentFile] = {}
        self._orders: dict[bytes, Order] = {}
        """One for each kind of needs."""
        self._number = 0
        self._began_at = self._looked_at = self._changed_at = time.monotonic()
        client.subscribe_topic(self._topic, self._heard)
        self._await_workers()

    @property
    def slots(self) -> int:
        """One for each worker."""
        return max(1, len(self._hosts))

    def hosts(self) -> tuple[str, ...]:
        """Return the names of the machines whose workers get cells."""
        return tuple(dict.fromkeys(host.name for host in self._hosts.values() if not host.refused))

    def submit(self, job: Job) -> None:
        """Take a job."""
        work = _Work(job)
        self._waiting.append(work)
        for path in sources_of(job):
            if path not in self._files:
                self._files[path] = describe_file(path)
        if work.needs not in self._orders:
            self._orders[work.needs] = self._order(job)

    def _order(self, job: Job) -> Order:
        files = {path: self._files[path] for path in sources_of(job)}
        return Order(job=job, config=self._config, files=files)

    def results(self) -> Iterator[CellRecord]:
        """Run the jobs, and yield each record as soon as it is complete and saved.

        Raises :class:`CannotRun` if the scheduler or all workers are lost.
        """
        while self._waiting or self._works:
            if time.monotonic() - self._looked_at >= _LOOK_EVERY:
                yield from self._finish(self._look())
            yield from self._finish(self._give_up())
            self._place()
            yield from self._finish(self._listen())

    def _finish(self, records: Iterable[CellRecord]) -> Iterator[CellRecord]:
        for record in records:
            self._progress.cell_finished(record)
            yield record

    # --- workers -------------------------------------------------------------------------------

    def _await_workers(self) -> None:
        until = time.monotonic() + _WORKERS_DEADLINE
        while not (addresses := self._addresses()):
            if time.monotonic() > until:
                raise CannotRun(f"no worker has joined the cluster in {_WORKERS_DEADLINE:.0f} s")
            time.sleep(_PAUSE)
        for address, why in self._join(addresses):
            raise CannotRun(f"the worker {address} {why}")

    def _addresses(self) -> set[str]:
        """Return the addresses of all workers. Raises :class:`CannotRun` if the scheduler is
        gone."""
        try:
            if self._client.status == "running":
                return set(self._client.nthreads(callback_timeout=_ANSWER_DEADLINE))
        except Exception as error:
            raise _no_scheduler() from error
        raise _no_scheduler()

    def _join(self, addresses: Iterable[str]) -> list[tuple[str, str]]:
        """Add these workers; return those that get no cells, with the reason."""
        versions = self._versions()
        refused = []
        for address in sorted(addresses):
            host = self._hosts[address] = _Host(address)
            host.refused = _why_other(versions.get("workers", {}).get(address), versions["client"])
            if host.refused:
                refused.append((address, host.refused))
        return refused

    def _versions(self) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = self._client.get_versions(packages=["wsgiproof"])
            return found
        except Exception as error:
            raise _no_scheduler() from error

    def _look(self) -> list[CellRecord]:
        """Look which workers have come and gone; return the records of cells that are given up."""
        addresses = self._addresses()
        self._looked_at = time.monotonic()
        lost = [host for address, host in self._hosts.items() if address not in addresses]
        records = [record for host in lost for record in self._lose_host(host)]
        joined = addresses - set(self._hosts)
        if joined:
            for address, why in self._join(joined):
                self._note(f"the worker {address} gets no cells: it {why}")
        if lost or joined:
            self._changed_at = time.monotonic()
        self._refuse_silent()
        if not self._usable():
            self._check_patience()
        return records

    def _refuse_silent(self) -> None:
        """Give no cells to workers that do not answer what a new one is asked."""
        for host in self._usable():
            waiting = not host.ready and host.future is not None
            if waiting and time.monotonic() - host.asked_at > _PREPARED_WITHIN:
                self._forget(host)
                host.refused = f"did not answer in {_PREPARED_WITHIN:.0f} s"
                self._note(f"the worker {host.title} gets no cells: it {host.refused}")

    def _check_patience(self) -> None:
        """Raise :class:`CannotRun` if there was no worker to use for too long."""
        if refused := [f"{host.title} {host.refused}" for host in self._hosts.values()]:
            raise CannotRun(f"no worker can be used: {'; '.join(refused)}")
        if time.monotonic() - self._changed_at > _WORKERS_DEADLINE:
            raise CannotRun("the cluster has no worker any more: --resume finishes the run")

    def _usable(self) -> list[_Host]:
        return [host for host in self._hosts.values() if not host.refused]

    def _lose_host(self, host: _Host) -> list[CellRecord]:
        del self._hosts[host.address]
        work = self._forget(host)
        return self._lost(work, host, "was lost: it ended, or can't be reached") if work else []

    def _forget(self, host: _Host) -> _Work | None:
        """Forget the task of a host; return the work that it was for, if it was for one."""
        work, host.work = host.work, None
        if host.future is not None:
            self._works.pop(host.future.key, None)
            with suppress(Exception):
                host.future.cancel()
            host.future = None
        return work

    # --- placing -------------------------------------------------------------------------------

    def _give_up(self) -> list[CellRecord]:
        """Return the records of waiting cells that no worker can run."""
        hosts = self._usable()
        if not hosts or not all(host.ready for host in hosts):
            return []
        if self._changed_at > self._began_at and time.monotonic() - self._changed_at < _GRACE:
            return []
        hopeless = {
            needs for needs in self._orders if all(host.reasons.get(needs, "") for host in hosts)
        }
        given_up = [work for work in self._waiting if work.needs in hopeless] if hopeless else []
        records = []
        for work in given_up:
            self._waiting.remove(work)
            reasons = "; ".join(
                dict.fromkeys(f"{host.name}: {host.reasons[work.needs]}" for host in hosts)
            )
            records.append(self._record_error(work, f"no worker can run this cell: {reasons}"))
        return records

    def _place(self) -> None:
        """Give each worker that does nothing something to do."""
        for host in self._usable():
            if host.future is not None:
                continue
            if not host.ready:
                self._prepare(host)
            elif (work := self._next_for(host)) is not None:
                self._begin(host, work)

    def _prepare(self, host: _Host) -> None:
        """Ask a new worker what it is, and send it the files that it lacks."""
        host.asked_at = time.monotonic()
        if not host.facts:
            request = (tuple(self._orders.values()), tuple(self._files.values()))
            self._send(host, "survey", request, "survey")
            return
        file, *_ = host.missing
        path = next(path for path, one in self._files.items() if one == file)
        self._send(host, "store", (file, read_to_send(path)), f"store-{file.name}")

    def _next_for(self, host: _Host) -> _Work | None:
        """Return the first waiting work that a worker can do; one that was lost goes elsewhere, if
        there is another machine for it."""
        for work in self._waiting:
            if host.reasons.get(work.needs, "unknown"):
                continue
            elsewhere = any(
                not one.reasons.get(work.needs, "unknown") and one.name not in work.lost_on
                for one in self._usable()
            )
            if host.name not in work.lost_on or not elsewhere:
                self._waiting.remove(work)
                return work
        return None

    def _begin(self, host: _Host, work: _Work) -> None:
        if not work.begun:
            work.begun = True
            self._progress.cell_started(work.job.cell)
        self._progress.step(work.job.cell, f"waiting for {host.name}")
        host.work = work
        self._send(host, "cell", self._order(work.job), work.job.cell.id)
        self._works[host.future.key] = host, work

    def _send(self, host: _Host, kind: str, request: object, name: str) -> None:
        """Have a worker answer a request. Dask shows the name of a task, and not its arguments."""
        self._number += 1
        key = f"{self._topic}-{self._number}-{name}"
        host.future = self._client.submit(
            self._function,
            kind,
            Sealed(request),
            self._topic,
            key=key,
            workers=[host.address],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )
        host.future.add_done_callback(lambda future: self._events.put((key, "future", None)))

    # --- results -------------------------------------------------------------------------------

    def _heard(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Take a message of a worker, in a thread of Dask."""
        _, message = event
        self._events.put((message["key"], message["event"], message["content"]))

    def _listen(self) -> list[CellRecord]:
        """Take what has happened; waits a short time at most."""
        records: list[CellRecord] = []
        with suppress(queue.Empty):
            key, event, content = self._events.get(timeout=_PAUSE)
            if event == "future":
                records += self._ended(key)
            elif key in self._works:
                self._show(*self._works[key], event, content)
        return records

    def _show(self, host: _Host, work: _Work, event: str, content: Any) -> None:
        if event == "step":
            (text,) = content
            self._progress.step(work.job.cell, f"{one_line(text)} on {host.name}")
        elif event == "watch":
            phase, done, total = content
            phase = f"{one_line(phase)} on {host.name}"
            self._progress.watch(work.job.cell, phase, int(done), int(total))

    def _ended(self, key: str) -> list[CellRecord]:
        """Take the answer of a task that has ended. Raises :class:`CannotRun` if the scheduler is
        gone."""
        host = next(
            (one for one in self._hosts.values() if one.future and one.future.key == key), None
        )
        if host is None:
            return []
        kind, content = self._answer(host.future)
        work = self._forget(host)
        if work is None:
            self._prepared(host, kind, content)
            return []
        if kind != "done":
            why = content if kind in ("failed", "lost") else "did not finish it"
            return self._lost(work, host, one_line(str(why)))
        try:
            return [self._keep(work.job, host, content)]
        except UsageError as error:
            return self._lost(work, host, str(error))

    def _answer(self, future: Any) -> tuple[str, Any]:
        try:
            kind, content = future.result(timeout=_FETCH_DEADLINE)
            return kind, content
        except Exception as error:
            if self._client.status != "running":  # it has cancelled everything
                raise _no_scheduler() from error
            # Its text may quote anything.
            return "lost", f"was lost: Dask reports {type(error).__name__}"

    def _prepared(self, host: _Host, kind: str, content: Any) -> None:
        """Take what a worker says it is, or that it has a file."""
        if kind != "done":
            host.refused = one_line(str(content)) or "did not answer"
            self._note(f"the worker {host.title} gets no cells: {host.refused}")
            self._changed_at = time.monotonic()
        elif isinstance(content, Survey):
            host.facts = content.facts
            host.reasons = dict(zip(self._orders, content.reasons, strict=True))
            host.missing = content.missing
        else:
            host.missing = host.missing[1:]
        host.ready = bool(host.facts) and not host.missing and not host.refused

    def _keep(self, job: Job, host: _Host, content: bytes) -> CellRecord:
        """Unpack what a cell has left, and save its record; return that.

        Raises :class:`UsageError` if it is damaged, and :class:`CannotRun` if it can't be saved.
        """
        place = self._output / _INCOMING
        try:
            shutil.rmtree(place, ignore_errors=True)
            unpack(content, place)
            (record,) = read_cells(place / "cell")
            record = _as_planned(record, job, host)
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

    def _lost(self, work: _Work, host: _Host, why: str) -> list[CellRecord]:
        """Try a cell elsewhere that a worker has not finished; return its record if that was tried
        often enough."""
        reason = f"{host.title}: {why}"
        work.lost_on.append(host.name)
        if len(work.lost_on) > _MOST_LOSSES:
            return [self._record_error(work, reason)]
        job = work.job
        keep(job.record(Verdict.ERROR, reason, job.tries), self._output)
        put_aside(self._output / job.record(Verdict.ERROR, "").directory, self._output)
        work.job = msgspec.structs.replace(job, tries=(*job.tries, reason))
        self._progress.step(job.cell, f"waiting for another worker, since {reason}")
        self._waiting.appendleft(work)
        return []

    def _record_error(self, work: _Work, reason: str) -> CellRecord:
        if not work.begun:
            self._progress.cell_started(work.job.cell)
        record = work.job.record(Verdict.ERROR, reason, work.job.tries)
        keep(record, self._output)
        return record

    # --- the end -------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop the cells of all workers, and wait until they say that they have."""
        with interrupts_deferred(), suppress(Exception):
            self._waiting.clear()
            futures = [host.future for host in self._hosts.values() if host.future is not None]
            running = {future.key for future in futures}
            self._works.clear()
            for host in self._hosts.values():
                host.future = host.work = None
            if running and self._client.status == "running":
                self._client.cancel(futures)
                self._await_ends(running)
            self._client.unsubscribe_topic(self._topic)

    def _await_ends(self, running: set[str]) -> None:
        until = time.monotonic() + _STOP_DEADLINE
        while running and (left := until - time.monotonic()) > 0:
            with suppress(queue.Empty):
                key, event, _ = self._events.get(timeout=min(left, _PAUSE))
                if event == "ended":
                    running.discard(key)


def _no_scheduler() -> CannotRun:
    return CannotRun(
        "the Dask scheduler is gone, or does not answer; cells that have ended are kept, and "
        "--resume finishes the run"
    )


def _why_other(worker: Any, client: Mapping[str, Any]) -> str:
    """Return what keeps a worker from being used by this client: versions that differ."""
    if not isinstance(worker, Mapping):
        return "does not say which versions it has"
    theirs, ours = worker["packages"].get("wsgiproof"), client["packages"].get("wsgiproof")
    if theirs != ours:
        has = f"has wsgiproof {theirs}" if theirs else "has no wsgiproof"
        return f"{has}, and this is {ours}: install the same version on both"
    theirs, ours = _python_of(worker), _python_of(client)
    if theirs != ours:
        return f"runs on Python {theirs}, and this on {ours}: use the same version on both"
    return ""


def _python_of(versions: Mapping[str, Any]) -> str:
    return ".".join(str(versions["host"].get("python", "?")).split(".")[:3])


def _as_planned(record: CellRecord, job: Job, host: _Host) -> CellRecord:
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
        host={name: host.facts[name] for name in _HOST_FACTS if host.facts.get(name)},
    )


def _move(path: Path, directory: Path) -> None:
    """Move a directory to another one, under a new name if its own is taken."""
    directory.mkdir(exist_ok=True)
    target = directory / path.name
    while target.exists():
        target = directory / f"{path.name}-{secrets.token_hex(3)}"
    path.rename(target)
