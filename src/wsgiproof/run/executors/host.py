"""Run a cell that another machine has planned, in a process of its own on this one.

The plan names the interpreter, the server and the files of the machine that made it. Here they
become those of this machine: an interpreter of the same version, this machine's Apache and mongod,
and the files that were sent. The build cache is this machine's own.
"""

from __future__ import annotations

import os
import platform
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec

import wsgiproof
from wsgiproof.config.model import Config
from wsgiproof.errors import PrerequisiteMissing, WsgiproofError, describe
from wsgiproof.process.account import Account, server_account
from wsgiproof.process.leftovers import end_run, safe_parent, temporary_directory
from wsgiproof.process.signals import ignore_interrupts, interrupts_deferred
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.compiler import find_compiler
from wsgiproof.provision.httpd import find_httpd
from wsgiproof.provision.python import choose, found_pythons
from wsgiproof.provision.sent import SentFile, is_here, keep_file, path_of
from wsgiproof.provision.toolchain import BuildSpec, Httpd, Python, Source
from wsgiproof.records.cell import Cell
from wsgiproof.records.directory import BACKENDS, CELLS, TRIES
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.parcel import pack
from wsgiproof.run.cell import Job, RunContext, RunningBackends, run_cell
from wsgiproof.run.executors.child import Channel, begin_heartbeats, take_over
from wsgiproof.run.preflight import check_space, raise_limits, requested_httpd
from wsgiproof.subjects.registry import subject_of

_WATCH_EVERY = 0.5
"""Seconds between two messages about the progress of a phase."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A cell to run here."""

    job: Job
    config: Config
    files: Mapping[str, SentFile]
    """By their paths on the machine that planned."""


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What a host is, and what it can run."""

    facts: dict[str, str]
    reasons: tuple[str, ...]
    """Of each order that it was asked about, why it can't run it; empty if it can."""
    missing: tuple[SentFile, ...]
    """The files that it does not have yet."""


def sources_of(job: Job) -> list[str]:
    """Return the paths of the files that a job needs from the machine that planned it."""
    spec = job.spec
    archives = [source.archive for source in (spec.mod_wsgi, *spec.packages.values())]
    return [path for path in (job.cell.app, *archives) if path]


def facts() -> dict[str, str]:
    """Return what this machine is."""
    system = os.uname()
    account = server_account()
    httpd = find_httpd()
    usable = [one.python for one in found_pythons(account) if one.python and not one.problem]
    return {
        "name": system.nodename,
        "system": f"{system.sysname}-{system.release}-{system.machine}",
        "processor": _processor(),
        "processors": str(os.cpu_count() or 1),
        "user": account.name,
        "apache": httpd.version if httpd else "",
        "mpms": " ".join(httpd.mpms) if httpd else "",
        "pythons": " ".join(f"{one.version}{'t' * one.free_threaded}" for one in usable),
        "wsgiproof": wsgiproof.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return ""


def _config_of(order: Order) -> Config:
    """Return what this machine needs to have for a cell."""
    config = msgspec.structs.replace(order.config, jobs=1, include=(), output=str(safe_parent()))
    return config.with_axes(mpm=(order.job.cell.mpm,))


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine has for one job."""

    account: Account
    httpd: Httpd | None
    python: Python
    backend: Any


def find_place(order: Order, cache: Cache) -> Place:
    """Return what this machine has for a job.

    Raises a :class:`WsgiproofError` that says what it lacks.
    """
    safe_parent()
    job, cell, config = order.job, order.job.cell, _config_of(order)
    account = server_account()
    raise_limits(config, account)
    find_compiler()
    if job.spec.home and not Path(job.spec.home).is_dir():
        raise PrerequisiteMissing(f"there is no directory {job.spec.home} (--home)")
    place = Place(
        account=account,
        httpd=requested_httpd(config, cache),
        python=_python_like(job.spec.python, account),
        backend=subject_of(cell).found_here(job.backend, account),
    )
    check_space(config, cache)
    return place


def _python_like(planned: Python, account: Account) -> Python:
    """Return the interpreter of this machine with the version of the planned one."""
    found = choose(planned.version + "t" * planned.free_threaded, account)
    return msgspec.structs.replace(found, name=planned.name, asked=planned.asked)


def survey(orders: Sequence[Order], files: Sequence[SentFile]) -> Survey:
    """Return what this machine is, which orders it can't run, and which files it lacks."""
    cache = Cache()
    reasons = []
    for order in orders:
        try:
            find_place(order, cache)
            reasons.append("")
        except WsgiproofError as error:
            reasons.append(str(error))
        except OSError as error:
            reasons.append(describe(error))
    missing = tuple(file for file in files if not is_here(file, cache))
    return Survey(facts=facts(), reasons=tuple(reasons), missing=missing)


def _localized(order: Order, place: Place, cache: Cache) -> Job:
    """Return the job with the interpreter and the files of this machine. Raises
    :class:`UsageError` if a file was not sent, or has been removed from the cache since."""

    def here(path: str) -> str:
        return str(path_of(order.files[path], cache))

    def source(one: Source) -> Source:
        return msgspec.structs.replace(one, archive=one.archive and here(one.archive))

    job = order.job
    spec: BuildSpec = msgspec.structs.replace(
        job.spec,
        python=place.python,
        mod_wsgi=source(job.spec.mod_wsgi),
        packages={name: source(one) for name, one in job.spec.packages.items()},
    )
    cell = msgspec.structs.replace(job.cell, app=job.cell.app and here(job.cell.app))
    return msgspec.structs.replace(job, cell=cell, spec=spec, backend=place.backend)


def run_order(order: Order, watcher: _Watcher) -> bytes:
    """Run a cell, and return its files, those of its tries and those of its backend, packed.

    Raises a :class:`WsgiproofError` if this machine can't run it.
    """
    cache = Cache()
    place = find_place(order, cache)
    with temporary_directory() as output:
        (output / CELLS).mkdir(mode=0o700)
        with ExitStack() as stack:
            context = RunContext(
                account=place.account,
                httpd=place.httpd,
                cache=cache,
                output=output,
                watcher=watcher,
            )
            job = _localized(order, place, cache)
            record = run_cell(job, context, RunningBackends(context, stack))
        if record.verdict is not Verdict.PASS:  # a full disk explains it, and is this machine's
            check_space(_config_of(order), cache)
        (output / CELLS / job.cell.id).rename(output / "cell")
        for name in (TRIES, BACKENDS):  # both are there, so that the reader need not ask
            (output / name).mkdir(exist_ok=True)
        (output / CELLS).rmdir()
        return pack(output)


class _Watcher:
    """Sends the progress of a cell to the parent, a few times a second at most."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._sent = (0.0, "")

    def step(self, cell: Cell, text: str) -> None:
        """Send that a step begins."""
        self._channel.send(("step", (text,)))

    def watch(self, cell: Cell, phase: str, done: int, total: int) -> None:
        """Send how many of a phase's requests are done."""
        at, before = self._sent
        if phase != before or time.monotonic() - at >= _WATCH_EVERY:
            self._sent = time.monotonic(), phase
            self._channel.send(("watch", (phase, done, total)))


def serve_host(descriptor: int, parent: int) -> None:
    """Answer one request of the parent, which is a worker of Dask, and end.

    This process has a run of its own. Whatever it has started is ended with it.
    """
    channel = take_over(descriptor, parent)
    if channel is None:
        return
    os.umask(0o022)  # as the command's, whoever started the worker
    with suppress(KeyboardInterrupt, ConnectionError, EOFError):
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            kind, content = channel.wait()
            begin_heartbeats(channel)
            channel.send(_answer(kind, content, channel))
        finally:
            with interrupts_deferred():
                end_run()
                ignore_interrupts()


def _answer(kind: str, content: Any, channel: Channel) -> tuple[str, Any]:
    try:
        if kind == "survey":
            return "done", survey(*content)
        if kind == "store":
            file, sent = content
            keep_file(file, sent, Cache())
            return "done", None
        return "done", run_order(content, _Watcher(channel))
    except WsgiproofError as error:
        return "failed", str(error)
    except OSError as error:
        return "failed", describe(error)
