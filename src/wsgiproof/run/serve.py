"""Serve one cell to look at, or write its configuration, to start it by hand."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec

from wsgiproof.config.model import Config
from wsgiproof.errors import UsageError
from wsgiproof.judge.finding import some
from wsgiproof.observe.log import NewLines
from wsgiproof.process.service import how_it_ended
from wsgiproof.provision.toolchain import Httpd
from wsgiproof.records.cell import Mode
from wsgiproof.records.listed import Listed
from wsgiproof.records.machine import RunningServer
from wsgiproof.records.observed import Role
from wsgiproof.run.cell import (
    CellServer,
    Job,
    Progress,
    RunningBackends,
    build,
    new_name,
    serving,
)
from wsgiproof.run.planning import HostSetup, make_context, plan, preflight
from wsgiproof.server.apache import Server
from wsgiproof.server.configuration import (
    ACCESS_LOG,
    ERROR_LOG,
    HTTPD_CONF,
    ApacheConf,
    pool,
    workers,
)
from wsgiproof.server.ports import free_port
from wsgiproof.server.scratch import kept_directory, lasting_directory, scratch_directory
from wsgiproof.subjects.application import lay_out
from wsgiproof.subjects.backend import Backend
from wsgiproof.subjects.registry import subject_of

_LOOK_EVERY = 0.1
"""Seconds between two reads of the error log, and checks that Apache is still alive."""
_CHILDREN_DEADLINE = 10.0
"""Seconds for Apache to start all of its children; it needs a tenth of one."""


class ServerEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a server ended."""

    died: str = ""
    """How Apache ended by itself; empty if it was stopped."""
    killed: tuple[int, ...] = ()
    """Processes that did not end within the deadline of the stop."""


class WrittenConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that can be started by hand."""

    path: Path
    """The file, in a directory with everything that it needs, which is left to the user."""
    check: str
    """The command that checks it."""


def serve(
    config: Config,
    output: Path | None,
    progress: Progress,
    on_ready: Callable[[RunningServer], None],
    on_log_line: Callable[[str], None],
    listed: Listed | None = None,
) -> ServerEnd:
    """Run the server of the only cell of ``config`` until Ctrl-C, or until it ends by itself.

    ``on_ready`` is called when it is running, and ``on_log_line`` with each line of its error log.
    Its configuration and logs are kept in ``output``; without it they are removed. Raises
    :class:`UsageError` if there are more cells, and KeyboardInterrupt if that comes before the
    server is running.
    """
    setup = preflight(config, listed)
    job = _only_job(config, setup, "served")
    with ExitStack() as stack:
        run_directory = stack.enter_context(scratch_directory(setup.machine.account))
        directory = _kept(output) if output else run_directory
        context = make_context(setup, directory, progress)
        progress.begin([job.cell], directory, 1)
        progress.cell_started(job.cell)
        toolchain = build(job, context)
        backend = RunningBackends(context, stack).get(job)
        server = stack.enter_context(
            serving(job, context, toolchain, backend, run_directory, directory)
        )
        return _follow(job, server, backend, directory, on_ready, on_log_line)


def _only_job(config: Config, setup: HostSetup, what: str) -> Job:
    first, *others = plan(config, setup).jobs
    if others:
        names = some([job.cell.id for job in (first, *others)], 4)
        raise UsageError(
            f"one cell can be {what}, and {len(others) + 1} are selected: name one of them, or "
            f"narrow them down with options such as '--mode daemon': {names}"
        )
    return first


def _kept(output: Path) -> Path:
    try:
        str(output).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"--output {output}: its name is not UTF-8, which JSON requires: name another"
        ) from error
    return kept_directory(output)


def _follow(
    job: Job,
    serving: CellServer,
    backend: Backend,
    directory: Path,
    on_ready: Callable[[RunningServer], None],
    on_log_line: Callable[[str], None],
) -> ServerEnd:
    server = serving.server
    log = NewLines(server.error_log)
    died = ""
    killed: tuple[int, ...] = ()
    try:
        pids = _pids(job, server)
        on_ready(_served(job, serving, backend, directory, pids))
        while server.alive():
            _pass_on(log.read(), on_log_line)
            time.sleep(_LOOK_EVERY)
        died = how_it_ended(server.service.ended())
    except KeyboardInterrupt:
        killed = server.stop(job.plan.stop_deadline).leftover
    _pass_on(log.finish(), on_log_line)
    return ServerEnd(died=died, killed=killed)


def _pids(job: Job, server: Server) -> dict[Role, tuple[int, ...]]:
    """Return the processes of a server by role, once all of them are running, or after some
    seconds."""
    least = job.cell.min_processes
    children = least or pool(job.cell)[0] + (job.cell.mode is Mode.DAEMON)
    needed = least or workers(job.cell)[0]
    if job.own_conf is not None:  # which says how many others there are
        children = needed
    limit = time.monotonic() + _CHILDREN_DEADLINE
    while True:
        living = sorted(server.living().items())
        by_role = {role: tuple(pid for pid, its in living if its is role) for role in Role}
        complete = len(living) > children and len(by_role[Role.WORKER]) >= needed
        if complete or time.monotonic() > limit:
            return {role: pids for role, pids in by_role.items() if pids}
        time.sleep(0.02)


def _served(
    job: Job,
    serving: CellServer,
    backend: Backend,
    directory: Path,
    pids: dict[Role, tuple[int, ...]],
) -> RunningServer:
    server = serving.server
    groups = ("",) * len(server.urls) if job.own_conf else serving.application.groups
    return RunningServer(
        cell=job.cell.id,
        urls=dict(zip(server.urls, groups, strict=True)),
        backend=backend.shown(serving.name),
        pids=pids,
        config=str(directory / HTTPD_CONF),
        error_log=str(server.error_log),
    )


def _pass_on(lines: Iterator[str], on_log_line: Callable[[str], None]) -> None:
    for line in lines:
        on_log_line(line)


def write_conf(
    config: Config,
    output: Path | None,
    port: int | None,
    progress: Progress,
    listed: Listed | None = None,
) -> WrittenConfig:
    """Lay out the only cell of ``config``, and write the configuration of its Apache.

    Nothing is started. All files are in ``output``, or in a new directory, and are left there.
    """
    if config.httpd_conf:
        raise UsageError(
            "--print-config writes a configuration of wsgiproof's, and --httpd-conf names yours"
        )
    setup = preflight(config, listed)
    job = _only_job(config, setup, "configured")
    account = setup.machine.account
    directory = lasting_directory(output, account)
    progress.begin([job.cell], directory, 1)
    progress.cell_started(job.cell)
    toolchain = build(job, make_context(setup, directory, progress))
    connection, backend_notes = subject_of(job.cell).by_hand(job.cell, job.backend, new_name())
    application = lay_out(
        job.cell,
        directory,
        connection,
        account,
        home=job.spec.home,
        core_descriptor=None,
    )
    conf = ApacheConf.of(
        job.cell,
        toolchain,
        application,
        account,
        port or free_port(),
        run_directory=directory,
        error_log=directory / ERROR_LOG,
        access_log=directory / ACCESS_LOG if job.spec.access_log else None,
        directives=job.spec.directives,
    )
    file = str(directory / HTTPD_CONF)
    check = _command(toolchain.httpd, conf, "-t", "-f", file)
    notes = (
        f"The directory {shlex.quote(str(directory))} is left to you.",
        f"To check it: {check}",
        f"To start it: {_command(toolchain.httpd, conf, '-DFOREGROUND', '-f', file)}",
        *backend_notes,
    )
    conf = msgspec.structs.replace(conf, notes=notes, core_directory=application.evidence)
    path = conf.write(directory)
    return WrittenConfig(path=path, check=check)


def _command(httpd: Httpd, conf: ApacheConf, *arguments: str) -> str:
    needed = httpd.environment() | ({"PATH": conf.search_path} if conf.before_4 else {})
    settings = [f"{name}={value}" for name, value in needed.items()]
    return shlex.join([*(["env", *settings] if settings else []), str(httpd.httpd), *arguments])
