"""One cell to look at: its server, up and left running; or its configuration, to start by hand."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec

from wsgiproof.cell import Mode, Topology
from wsgiproof.config import Config
from wsgiproof.errors import UsageError
from wsgiproof.judge.finding import signal_name, some
from wsgiproof.observe.log import NewLines
from wsgiproof.planning import HostSetup, make_context, plan, preflight
from wsgiproof.records import Role, RunningServer
from wsgiproof.runner import Deployments, Job, Progress, Serving, build, new_name, serving
from wsgiproof.scratch import kept_directory, lasting_directory, scratch_directory
from wsgiproof.services.apache import Server
from wsgiproof.services.apache_conf import ERROR_LOG, HTTPD_CONF, ApacheConf, pool, workers
from wsgiproof.services.deployment import Deployment, connect_deployment
from wsgiproof.services.mongod import Mongod
from wsgiproof.services.ports import LOOPBACK, free_port
from wsgiproof.subjects.application import lay_out
from wsgiproof.toolchain import Httpd

_LOOK_EVERY = 0.1
"""Seconds between two looks at the error log, and at whether Apache is still there."""
_ALL_BORN = 10.0
"""Seconds for all of Apache's children to be there; they need a tenth of one."""
_USUAL_PORT = 27017


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How a server came to its end."""

    died: str = ""
    """How Apache ended by itself; empty: we have stopped it."""
    killed: tuple[int, ...] = ()
    """Processes that did not go within the deadline of the stop."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that can be started by hand."""

    path: Path
    """In a directory with all that it needs, which is left to the user."""
    check: str
    """The command that checks it."""


def serve(
    config: Config,
    output: Path | None,
    progress: Progress,
    up: Callable[[RunningServer], None],
    logged: Callable[[str], None],
) -> End:
    """Have the server of the one cell of ``config`` up until Ctrl-C, or until it ends by itself.

    ``up`` is told once it is there, and ``logged`` each line of its error log. ``output`` keeps its
    configuration and its logs, which else are gone with it. Raises :class:`UsageError` where there
    are more cells, and KeyboardInterrupt if it comes before the server is up.
    """
    setup = preflight(config)
    job = _only_job(config, setup, "served")
    with ExitStack() as stack:
        run_directory = stack.enter_context(scratch_directory(setup.machine.account))
        directory = _kept(output) if output else run_directory
        context = make_context(setup, directory, progress)
        progress.begin([job.cell], directory, 1)
        progress.cell_started(job.cell)
        toolchain = build(job, context)
        deployment = Deployments(context, stack).get(job)
        server = stack.enter_context(
            serving(job, context, toolchain, deployment, run_directory, directory)
        )
        return _until_its_end(job, server, deployment, directory, up, logged)


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
        raise UsageError(f"--output {output}: its name is not UTF-8, as JSON has to be") from error
    return kept_directory(output)


def _until_its_end(
    job: Job,
    serving: Serving,
    deployment: Deployment,
    directory: Path,
    up: Callable[[RunningServer], None],
    logged: Callable[[str], None],
) -> End:
    server = serving.server
    log = NewLines(server.error_log)
    died = ""
    killed: tuple[int, ...] = ()
    try:
        pids = _pids(job, server)
        up(_told(job, serving, deployment, directory, pids))
        while server.alive():
            _pass_on(log.read(), logged)
            time.sleep(_LOOK_EVERY)
        died = _how_it_ended(server)
    except KeyboardInterrupt:
        killed = server.stop(job.plan.stop_deadline).leftover
    _pass_on(log.finish(), logged)
    return End(died=died, killed=killed)


def _pids(job: Job, server: Server) -> dict[Role, tuple[int, ...]]:
    """Its processes, once all that there have to be are there, or after some seconds."""
    children = pool(job.cell)[0] + (job.cell.mode is Mode.DAEMON)
    limit = time.monotonic() + _ALL_BORN
    while True:
        living = sorted(server.living().items())
        found = {role: tuple(pid for pid, its in living if its is role) for role in Role}
        born = len(living) > children and len(found[Role.WORKER]) >= workers(job.cell)[0]
        if born or time.monotonic() > limit:
            return {role: pids for role, pids in found.items() if pids}
        time.sleep(0.02)


def _told(
    job: Job,
    serving: Serving,
    deployment: Deployment,
    directory: Path,
    pids: dict[Role, tuple[int, ...]],
) -> RunningServer:
    server = serving.server
    return RunningServer(
        cell=job.cell.id,
        urls=dict(zip(server.urls, serving.application.groups, strict=True)),
        mongodb=deployment.shown_uri(serving.name),
        database=serving.name if deployment.topology is not Topology.NONE else "",
        pids=pids,
        config=str(directory / HTTPD_CONF),
        error_log=str(server.error_log),
    )


def _pass_on(lines: Iterator[str], logged: Callable[[str], None]) -> None:
    for line in lines:
        logged(line)


def _how_it_ended(server: Server) -> str:
    for event in server.service.events():
        if event.kind == "died" and event.pid == server.pid:
            if event.signal is not None:
                return f"died of {signal_name(event.signal)}"
            if event.exit is not None:
                return f"ended with exit code {event.exit}"
    return "ended, nobody knows how"


def write_conf(
    config: Config, output: Path | None, port: int | None, progress: Progress
) -> Written:
    """Lay the one cell of ``config`` out, and write the configuration of its Apache.

    Nothing is started. All of it is in ``output``, or else in a new directory, and left there.
    """
    setup = preflight(config)
    job = _only_job(config, setup, "configured")
    account = setup.machine.account
    directory = lasting_directory(output, account)
    progress.begin([job.cell], directory, 1)
    progress.cell_started(job.cell)
    toolchain = build(job, make_context(setup, directory, progress))
    name = new_name()
    application = lay_out(job.cell, directory, _uri(job, name), name, account)
    conf = ApacheConf.of(
        job.cell,
        toolchain,
        application,
        account,
        port or free_port(),
        run_directory=directory,
        error_log=directory / ERROR_LOG,
        directives=job.spec.directives,
    )
    file = str(directory / HTTPD_CONF)
    check = _command(toolchain.httpd, "-t", "-f", file)
    notes = (
        f"The directory {shlex.quote(str(directory))} is left to you.",
        f"To check it: {check}",
        f"To start it: {_command(toolchain.httpd, '-DFOREGROUND', '-f', file)}",
        *_deployment_notes(job),
    )
    path = msgspec.structs.replace(conf, notes=notes).write(directory)
    return Written(path=path, check=check)


def _uri(job: Job, name: str) -> str:
    """The deployment of the user, or the place where one of ours would be."""
    if isinstance(job.server, str):
        with closing(connect_deployment(job.server)) as deployment:
            return deployment.uri(name)
    return f"mongodb://{LOOPBACK}:{_USUAL_PORT}/?appName={name}" if job.server else ""


def _deployment_notes(job: Job) -> tuple[str, ...]:
    if not isinstance(job.server, Mongod):
        return ()
    mongod = shlex.quote(str(job.server.path))
    return (
        f"It expects a MongoDB on port {_USUAL_PORT}, such as: "
        f'{mongod} --bind_ip {LOOPBACK} --dbpath "$(mktemp -d)" '
        "(each user of this machine can use that one)",
        "or another one, by its URI in app/settings.json.",
    )


def _command(httpd: Httpd, *arguments: str) -> str:
    settings = [f"{name}={value}" for name, value in httpd.environment().items()]
    return shlex.join([*(["env", *settings] if settings else []), str(httpd.httpd), *arguments])
