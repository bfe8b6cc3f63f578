"""A cell that another machine has planned, and that runs on this one.

The plan names the interpreter, the server and the files of the machine that made it. Here they
become those of this machine: an interpreter of the same version, this machine's Apache and mongod,
and the files that were sent. The build cache is this machine's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from wsgiproof.config.model import Config
from wsgiproof.errors import PrerequisiteMissing
from wsgiproof.process.account import Account, server_account
from wsgiproof.process.leftovers import safe_parent, temporary_directory
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.compiler import find_compiler
from wsgiproof.provision.python import python_like
from wsgiproof.provision.sent import SentFile, path_of
from wsgiproof.provision.toolchain import Apache, BuildSpec, Python, Source
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.parcel import pack
from wsgiproof.records.writing import BACKENDS, CELLS, TRIES
from wsgiproof.run.cell import Job, RunContext, RunningBackends, run_cell
from wsgiproof.run.preflight import check_space, raise_limits, requested_apaches
from wsgiproof.subjects.registry import subject_of

Tell = Callable[[str, tuple[object, ...]], None]
"""Sends a message about the progress: its name, and its content."""
_WATCH_EVERY = 0.5
"""Seconds between two messages about the progress of a phase."""


class CellOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A cell to run here: an :class:`wsgiproof.run.executors.host.Order`."""

    job: Job
    config: Config
    files: Mapping[str, SentFile]
    """By their paths on the machine that planned."""

    def check(self) -> None:
        """Raise a :class:`WsgiproofError` that says what this machine lacks."""
        find_place(self, Cache())

    def carry_out(self, tell: Tell) -> bytes:
        """Run the cell, and return its files, those of its tries and those of its backend,
        packed."""
        return run_order(self, _Watcher(tell))


def sources_of(job: Job) -> list[str]:
    """Return the paths of the files that a job needs from the machine that planned it."""
    spec = job.spec
    archives = [source.archive for source in (spec.mod_wsgi, *spec.packages.values())]
    return [path for path in (job.cell.app, *archives) if path]


def _config_of(order: CellOrder) -> Config:
    """Return what this machine needs to have for a cell."""
    config = msgspec.structs.replace(order.config, jobs=1, include=(), output=str(safe_parent()))
    cell = order.job.cell
    return config.with_axes(mpm=(cell.mpm,), httpd=(cell.httpd_path,))


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine has for one job."""

    account: Account
    apache: Apache
    python: Python
    backend: Any


def find_place(order: CellOrder, cache: Cache) -> Place:
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
    (apache,) = requested_apaches(config, cache)
    if cell.httpd not in ("", apache.version):
        raise PrerequisiteMissing(f"{apache.asked} is Apache {apache.version}, not {cell.httpd}")
    place = Place(
        account=account,
        apache=apache,
        python=python_like(job.spec.python, account),
        backend=subject_of(cell).found_here(job.backend, account),
    )
    check_space(config, cache)
    return place


def _localized(order: CellOrder, place: Place, cache: Cache) -> Job:
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


def run_order(order: CellOrder, watcher: _Watcher) -> bytes:
    """Run a cell, and return its files, those of its tries and those of its backend, packed.

    Raises a :class:`WsgiproofError` if this machine can't run it.
    """
    cache = Cache()
    place = find_place(order, cache)
    with temporary_directory() as output:
        (output / CELLS).mkdir(mode=0o700)
        with ExitStack() as stack:
            job = _localized(order, place, cache)
            context = RunContext(
                account=place.account,
                apaches={job.cell.httpd_path: place.apache},
                cache=cache,
                output=output,
                watcher=watcher,
            )
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

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._sent = (0.0, "")

    def step(self, cell: Cell, text: str) -> None:
        """Send that a step begins."""
        self._tell("step", (text,))

    def watch(self, cell: Cell, phase: str, done: int, total: int) -> None:
        """Send how many of a phase's requests are done."""
        at, before = self._sent
        if phase != before or time.monotonic() - at >= _WATCH_EVERY:
            self._sent = time.monotonic(), phase
            self._tell("watch", (phase, done, total))
