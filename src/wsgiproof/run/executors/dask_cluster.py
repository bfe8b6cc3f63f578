"""Have the workers of a Dask cluster do tasks, one at a time in each of them.

Dask knows which workers there are, carries values, and notices who is lost. Which worker gets which
task is decided here, one at a time for each worker: a task only goes where it can be done, and one
that was lost with its worker goes to another one. No more is in flight than there are workers,
however many tasks there are. What a task is, such as a cell, is known to its :class:`Chore`.

Only the modules :mod:`wsgiproof.run.executors.dask_* <wsgiproof.run.executors>` import Dask.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import queue
import secrets
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Generic, Protocol, TypeVar

from wsgiproof.errors import CannotRun, UsageError, one_line
from wsgiproof.process.signals import interrupts_deferred
from wsgiproof.provision.sent import SentFile, describe_file, read_to_send
from wsgiproof.records.reading import Note
from wsgiproof.run.executors.dask_local import local_cluster
from wsgiproof.run.executors.dask_worker import Sealed, ask
from wsgiproof.run.executors.host import Order, Survey

LOCAL = "local"
"""In place of an address: workers on this machine, which end with the run."""
_CONNECT_DEADLINE = 15.0
"""Seconds for a scheduler to answer."""
_WORKERS_DEADLINE = 120.0
"""Seconds without any worker after which a run ends; a nanny replaces its worker within five."""
_PREPARED_WITHIN = 300.0
"""Seconds in which a new worker answers, before it gets no tasks: it may be busy with the task of
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
"""How often a task that was lost is tried elsewhere."""
_GRACE = 20.0
"""Seconds after a worker was lost in which another may take its place, before a task that none of
the others can do is given up."""
_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class Chore(Protocol[_Task, _Result]):
    """What is to be done: a kind of tasks, and what becomes of them."""

    kind: str
    """What a task is called."""

    def name(self, task: _Task) -> str:
        """Return the name of a task, for Dask's dashboard."""

    def needs(self, task: _Task) -> object:
        """Return a value that is the same for all tasks that need the same of a machine."""

    def paths(self, task: _Task) -> Sequence[str]:
        """Return the files of this machine that a task needs."""

    def order(self, task: _Task, files: Mapping[str, SentFile]) -> Order:
        """Return what a worker gets. ``files`` are those of :meth:`paths`."""

    def begun(self, task: _Task) -> None:
        """Take down that a task begins, once for each."""

    def heard(self, task: _Task, host: str, event: str, content: Sequence[Any]) -> None:
        """Take a message about a task from a worker on this machine; it may say anything."""

    def waits(self, task: _Task, why: str) -> None:
        """Take down what a task waits for."""

    def keep(self, task: _Task, facts: Mapping[str, str], content: Any) -> _Result:
        """Return the result of a task, once it is saved. ``facts`` are those of its machine.

        Raises :class:`UsageError` if it is damaged, and :class:`CannotRun` if it can't be saved.
        """

    def again(self, task: _Task, why: str) -> _Task:
        """Return a task for another try, since this one was lost."""

    def give_up(self, task: _Task, why: str) -> _Result:
        """Return the result of a task that can't be done."""

    def ended(self, result: _Result) -> None:
        """Take down that a task has a result."""


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
        try:
            client.close(timeout=_CONNECT_DEADLINE)
        finally:  # else its finalizer would wait once more, and print a traceback
            client.status = "closed"


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
    configuration gives some loggers a level of their own."""
    for name in ("distributed", "tornado", *logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _connect(distributed: Any, address: str, security: Any) -> Any:
    with warnings.catch_warnings():
        # Of versions that differ; those that matter are refused.
        warnings.simplefilter("ignore")
        try:
            return _made_client(distributed.Client, address, security)
        except AssertionError as error:  # of Dask, whose thread has to start within ten seconds
            raise CannotRun("Dask did not start on this machine, which is too busy") from error
        except (OSError, TimeoutError) as error:
            raise CannotRun(f"no Dask scheduler answers at {address}: {error}") from error
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"--dask {address}: give 'local', or the address of a Dask scheduler, such as "
                "tcp://10.0.0.1:8786"
            ) from error


def _made_client(kind: Any, address: str, security: Any) -> Any:
    """Return a client that is connected. One that can't be would else be closed by its finalizer,
    which waits for half a minute, and prints a traceback."""
    client = kind.__new__(kind)
    try:
        client.__init__(address, security=security, timeout=_CONNECT_DEADLINE, set_as_default=False)
    except BaseException:
        client.status = "closed"
        raise
    return client


class _Work(Generic[_Task]):
    """A task that has no result yet."""

    def __init__(self, task: _Task, needs: object) -> None:
        self.task = task
        self.needs = hashlib.sha256(pickle.dumps(needs)).digest()
        self.lost_on: list[str] = []
        """The names of the hosts that it was lost on."""
        self.begun = False


class _Host(Generic[_Task]):
    """A worker of Dask: what it is, and what it does now."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.facts: dict[str, str] = {}
        self.reasons: dict[bytes, str] = {}
        """Why it can't do tasks with these needs; empty if it can."""
        self.missing: tuple[SentFile, ...] = ()
        self.ready = False
        self.asked_at = 0.0
        """When it was asked something before it was ready."""
        self.refused = ""
        """Why it gets no tasks at all."""
        self.future: Any = None
        self.work: _Work[_Task] | None = None

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
        """Whether it can take a task."""
        return self.ready and self.future is None


class DaskCluster(Generic[_Task, _Result]):
    """Has the workers of a Dask cluster do tasks. It is an :class:`Executor` of cells if that is
    its chore."""

    def __init__(
        self,
        client: Any,
        chore: Chore[_Task, _Result],
        note: Note,
        function: Callable[[str, Sealed, str], tuple[str, Any]] = ask,
    ) -> None:
        """``function`` is what runs in a worker.

        Raises :class:`CannotRun` if no worker joins in time, or if one has another wsgiproof or
        Python than this.
        """
        self._client = client
        self._chore = chore
        self._note = note
        self._function = function
        self._topic = f"wsgiproof-{secrets.token_hex(6)}"
        self._waiting: deque[_Work[_Task]] = deque()
        self._hosts: dict[str, _Host[_Task]] = {}
        self._works: dict[str, tuple[_Host[_Task], _Work[_Task]]] = {}
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

    def submit(self, task: _Task) -> None:
        """Take a task."""
        work = _Work(task, self._chore.needs(task))
        self._waiting.append(work)
        for path in self._chore.paths(task):
            if path not in self._files:
                self._files[path] = describe_file(path)
        if work.needs not in self._orders:
            self._orders[work.needs] = self._order(task)

    def _order(self, task: _Task) -> Order:
        files = {path: self._files[path] for path in self._chore.paths(task)}
        return self._chore.order(task, files)

    def results(self) -> Iterator[_Result]:
        """Have the tasks done, and yield each result as soon as it is complete and saved.

        Raises :class:`CannotRun` if the scheduler or all workers are lost.
        """
        while self._waiting or self._works:
            if time.monotonic() - self._looked_at >= _LOOK_EVERY:
                yield from self._finish(self._look())
            yield from self._finish(self._give_up())
            self._place()
            yield from self._finish(self._listen())

    def _finish(self, results: Iterable[_Result]) -> Iterator[_Result]:
        for result in results:
            self._chore.ended(result)
            yield result

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

    def _look(self) -> list[_Result]:
        """Look which workers have come and gone; return the results of tasks that are given up."""
        addresses = self._addresses()
        self._looked_at = time.monotonic()
        lost = [host for address, host in self._hosts.items() if address not in addresses]
        results = [result for host in lost for result in self._lose_host(host)]
        joined = addresses - set(self._hosts)
        if joined:
            for address, why in self._join(joined):
                self._note(f"the worker {address} gets no {self._chore.kind}s: it {why}")
        if lost or joined:
            self._changed_at = time.monotonic()
        self._refuse_silent()
        if not self._usable():
            self._check_patience()
        return results

    def _refuse_silent(self) -> None:
        """Give no tasks to workers that do not answer what a new one is asked."""
        for host in self._usable():
            waiting = not host.ready and host.future is not None
            if waiting and time.monotonic() - host.asked_at > _PREPARED_WITHIN:
                self._forget(host)
                host.refused = f"did not answer in {_PREPARED_WITHIN:.0f} s"
                self._note(
                    f"the worker {host.title} gets no {self._chore.kind}s: it {host.refused}"
                )

    def _check_patience(self) -> None:
        """Raise :class:`CannotRun` if there was no worker to use for too long."""
        if refused := [f"{host.title} {host.refused}" for host in self._hosts.values()]:
            raise CannotRun(f"no worker can be used: {'; '.join(refused)}")
        if time.monotonic() - self._changed_at > _WORKERS_DEADLINE:
            raise CannotRun("the cluster has no worker any more: --resume finishes the run")

    def _usable(self) -> list[_Host[_Task]]:
        return [host for host in self._hosts.values() if not host.refused]

    def _lose_host(self, host: _Host[_Task]) -> list[_Result]:
        del self._hosts[host.address]
        work = self._forget(host)
        return self._lost(work, host, "was lost: it ended, or can't be reached") if work else []

    def _forget(self, host: _Host[_Task]) -> _Work[_Task] | None:
        """Forget the task of a host; return the work that it was for, if it was for one."""
        work, host.work = host.work, None
        if host.future is not None:
            self._works.pop(host.future.key, None)
            with suppress(Exception):
                host.future.cancel()
            host.future = None
        return work

    # --- placing -------------------------------------------------------------------------------

    def _give_up(self) -> list[_Result]:
        """Return the results of waiting tasks that no worker can do."""
        hosts = self._usable()
        if not hosts or not all(host.ready for host in hosts):
            return []
        if self._changed_at > self._began_at and time.monotonic() - self._changed_at < _GRACE:
            return []
        hopeless = {
            needs for needs in self._orders if all(host.reasons.get(needs, "") for host in hosts)
        }
        given_up = [work for work in self._waiting if work.needs in hopeless] if hopeless else []
        results = []
        for work in given_up:
            self._waiting.remove(work)
            reasons = "; ".join(
                dict.fromkeys(f"{host.name}: {host.reasons[work.needs]}" for host in hosts)
            )
            why = f"no worker can run this {self._chore.kind}: {reasons}"
            results.append(self._without(work, why))
        return results

    def _place(self) -> None:
        """Give each worker that does nothing something to do."""
        for host in self._usable():
            if host.future is not None:
                continue
            if not host.ready:
                self._prepare(host)
            elif (work := self._next_for(host)) is not None:
                self._begin(host, work)

    def _prepare(self, host: _Host[_Task]) -> None:
        """Ask a new worker what it is, and send it the files that it lacks."""
        host.asked_at = time.monotonic()
        if not host.facts:
            request = (tuple(self._orders.values()), tuple(self._files.values()))
            self._send(host, "survey", request, "survey")
            return
        file, *_ = host.missing
        path = next(path for path, one in self._files.items() if one == file)
        self._send(host, "store", (file, read_to_send(path)), f"store-{file.name}")

    def _next_for(self, host: _Host[_Task]) -> _Work[_Task] | None:
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

    def _begin(self, host: _Host[_Task], work: _Work[_Task]) -> None:
        if not work.begun:
            work.begun = True
            self._chore.begun(work.task)
        self._chore.waits(work.task, f"waiting for {host.name}")
        host.work = work
        self._send(host, self._chore.kind, self._order(work.task), self._chore.name(work.task))
        self._works[host.future.key] = host, work

    def _send(self, host: _Host[_Task], kind: str, request: object, name: str) -> None:
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

    def _listen(self) -> list[_Result]:
        """Take what has happened; waits a short time at most."""
        results: list[_Result] = []
        with suppress(queue.Empty):
            key, event, content = self._events.get(timeout=_PAUSE)
            if event == "future":
                results += self._ended(key)
            elif key in self._works:
                host, work = self._works[key]
                self._chore.heard(work.task, host.name, event, content)
        return results

    def _ended(self, key: str) -> list[_Result]:
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
            results = self._lost(work, host, one_line(str(why)))
            if kind == "failed":  # its disk may be full: it is asked again what it can do
                host.facts, host.ready = {}, False
            return results
        try:
            return [self._chore.keep(work.task, host.facts, content)]
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

    def _prepared(self, host: _Host[_Task], kind: str, content: Any) -> None:
        """Take what a worker says it is, or that it has a file."""
        if kind != "done":
            host.refused = one_line(str(content)) or "did not answer"
            self._note(f"the worker {host.title} gets no {self._chore.kind}s: {host.refused}")
            self._changed_at = time.monotonic()
        elif isinstance(content, Survey):
            host.facts = content.facts
            host.reasons = dict(zip(self._orders, content.reasons, strict=True))
            host.missing = content.missing
        else:
            host.missing = host.missing[1:]
        host.ready = bool(host.facts) and not host.missing and not host.refused

    def _lost(self, work: _Work[_Task], host: _Host[_Task], why: str) -> list[_Result]:
        """Try a task elsewhere that a worker has not finished; return its result if that was tried
        often enough."""
        reason = f"{host.title}: {why}"
        work.lost_on.append(host.name)
        if len(work.lost_on) > _MOST_LOSSES:
            return [self._without(work, reason)]
        work.task = self._chore.again(work.task, reason)
        self._chore.waits(work.task, f"waiting for another worker, since {reason}")
        self._waiting.appendleft(work)
        return []

    def _without(self, work: _Work[_Task], reason: str) -> _Result:
        if not work.begun:
            self._chore.begun(work.task)
        return self._chore.give_up(work.task, reason)

    # --- the end -------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop what all workers do, and wait until they say that they have."""
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
