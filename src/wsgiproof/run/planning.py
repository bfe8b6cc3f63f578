"""Turn a configuration into jobs: check the machine, resolve versions, and expand the matrix."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

import wsgiproof
from wsgiproof.config.axes import HTTPD, INTERPRETER, LOADING, MOD_WSGI, MODE, MPM, PYTHON, axes_of
from wsgiproof.config.matrix import Matrix, ResolvedAxes, expand
from wsgiproof.config.model import Config
from wsgiproof.config.own_conf import own_conf_of
from wsgiproof.errors import UsageError, describe, did_you_mean
from wsgiproof.files import read_file
from wsgiproof.process.leftovers import safe_parent
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.source import exact_value
from wsgiproof.provision.toolchain import Apache, BuildSpec, Installed
from wsgiproof.records.cell import Cell, InterpreterKind
from wsgiproof.records.listed import Listed
from wsgiproof.run.cell import Job, RunContext, Watcher
from wsgiproof.run.preflight import Machine, Preflight
from wsgiproof.run.resolve import pins_of, resolve_axes
from wsgiproof.server.own_conf import OwnConf
from wsgiproof.subjects.application import check_app, check_syntax
from wsgiproof.subjects.registry import DEFAULT, SUBJECTS, subject_of

_LARGEST_CONSTRAINTS = 1 << 20
"""Bytes of a constraints file; one with every package of the index would have 20 MB."""
_DEFAULTS = Config()


class HostSetup(msgspec.Struct, frozen=True, kw_only=True):
    """What a run uses: the machine, the resolved axes, and the build cache."""

    machine: Machine
    resolved: ResolvedAxes
    cache: Cache
    listed: Listed | None = None
    """The list that says which exact versions are meant, if there is one."""
    own_conf: OwnConf | None = None
    """The user's own configuration of Apache, if there is one."""


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The cells of a run, and their jobs."""

    matrix: Matrix
    jobs: tuple[Job, ...]


def preflight(config: Config, listed: Listed | None = None) -> HostSetup:
    """Check everything that a run needs before anything is started.

    ``listed`` is the list that says which exact versions are meant, if there is one. Raises
    a :class:`wsgiproof.errors.WsgiproofError` if the run can't be carried out.
    """
    safe_parent()
    if config.app:
        check_app(Path(config.app))
    if config.home and not Path(config.home).is_dir():
        raise UsageError(f"--home {config.home}: there is no such directory")
    own_conf = own_conf_of(config, os.environ) if config.httpd_conf else None
    controls = SUBJECTS[config.subject].every_control()
    if config.control and config.control not in controls:
        near = did_you_mean(config.control, controls) or "."
        raise UsageError(
            f"{config.subject} has no control '{config.control}'{near} 'wsgiproof selftest "
            f"--subject {config.subject} --list' lists them all."
        )
    cache = Cache()
    machine = Preflight(config, cache).machine()
    for python in machine.pythons:  # wsgiproof may have compiled it
        cache.use(Path(python.path))
        if config.app:
            check_syntax(Path(config.app), python.path)
    resolved = resolve_axes(config, machine, cache, listed)
    return HostSetup(
        machine=machine, resolved=resolved, cache=cache, listed=listed, own_conf=own_conf
    )


def plan(
    config: Config,
    setup: HostSetup,
    *,
    own_file: bool = False,
    installed: Installed | None = None,
) -> RunPlan:
    """Return the cells of ``config``, and the job of each.

    ``own_file`` says that the configuration came from a file, which a rerun of one cell has to
    ignore. ``installed`` is the environment of all cells, in place of one that is built. Raises
    :class:`UsageError` if no cell is left.
    """
    matrix = expand(config, setup.resolved)
    constraints = _constraints(config)
    additions = {
        "installed": installed,
        "requirements": config.requirement,
        "resolution": config.resolution,
        "home": config.home,
        "directives": config.directive,
        "access_log": config.access_log,
        "shared_tmp": config.shared_tmp,
    }
    jobs = [
        _job(
            cell,
            _constrained(
                msgspec.structs.replace(matrix.specs[cell.id], **additions), constraints, setup
            ),
            setup,
            config,
            own_file=own_file,
        )
        for cell in matrix.cells
    ]
    return RunPlan(matrix=matrix, jobs=tuple(jobs))


def _constraints(config: Config) -> str:
    if not config.constraint:
        return ""
    try:
        return read_file(config.constraint, _LARGEST_CONSTRAINTS, follow=True).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = describe(error) if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"--constraint {config.constraint}: {why}") from error


def _constrained(spec: BuildSpec, constraints: str, setup: HostSetup) -> BuildSpec:
    """Return what to build within the user's constraints, and with the versions of the list."""
    pins = pins_of(spec, setup.listed) if setup.listed else []
    text = "\n".join([constraints, *pins, ""]) if pins else constraints
    return msgspec.structs.replace(spec, constraints=text)


def _job(
    cell: Cell, spec: BuildSpec, setup: HostSetup, config: Config, *, own_file: bool = False
) -> Job:
    """Return a cell with everything that its result depends on."""
    machine = setup.machine
    job = Job(
        cell=cell,
        spec=spec,
        backend=machine.backends.of(cell),
        plan=config.plan(cell.id),
        rerun=_rerun(cell, spec, setup, config, own_file=own_file),
        own_conf=setup.own_conf,
        urls=config.url,
        alone=bool(cell.own_app),
        retries=config.retry_errors,
        known=config.known_in(cell),
        accept_known_upstream=config.accept_known_upstream,
    )
    return msgspec.structs.replace(
        job, inputs=_inputs(job, setup.resolved.apaches[cell.httpd_path])
    )


def make_context(setup: HostSetup, output: Path, watcher: Watcher) -> RunContext:
    """Return what all jobs of a run share."""
    return RunContext(
        account=setup.machine.account,
        apaches=setup.resolved.apaches,
        cache=setup.cache,
        output=output,
        watcher=watcher,
    )


def _inputs(job: Job, apache: Apache) -> str:
    """Return a digest of everything that the cell is made of; it differs between machines."""
    app = Path(job.cell.app).read_bytes() if job.cell.app else b""
    inputs = [
        wsgiproof.__version__,
        job.cell,
        job.spec,
        job.backend,
        job.plan,
        apache.httpd.version if apache.httpd else "",
        str(apache.httpd.httpd) if apache.httpd else "",
        hashlib.sha256(app).hexdigest(),
        job.own_conf,
        job.urls,
    ]
    encoded = msgspec.json.encode(inputs, enc_hook=str)
    return hashlib.sha256(encoded).hexdigest()[:16]


def _rerun(
    cell: Cell,
    spec: BuildSpec,
    setup: HostSetup,
    config: Config,
    *,
    own_file: bool,
) -> str:
    """Return the command that runs only this cell, in the same way.

    The variables that an ``httpd.conf`` of one's own names are left out: a value may be a secret,
    and a record does not keep it. A run without one of them says which it is.
    """
    own = setup.own_conf
    load = config.load(cell.id)
    default = _DEFAULTS
    options: list[tuple[str, object, object]] = [
        ("--subject", cell.subject, DEFAULT.name),
        *_axis_options(cell, spec, setup.machine),
        *(_pool_options(cell) if own is None else [("--httpd-conf", own.path, "")]),
        *(("--url", url, None) for url in config.url),
        ("--control", cell.control, ""),
        ("--app", cell.app, ""),
        ("--apxs", config.apxs, ""),
        *(("--requirement", requirement, None) for requirement in spec.requirements),
        ("--constraint", config.constraint, ""),
        ("--resolution", cell.resolution, default.resolution),
        ("--home", spec.home, ""),
        *(("--directive", directive, None) for directive in spec.directives),
        ("--profile", load.profile, default.profile),
        ("-n", load.requests, None),
        ("--sensitivity", load.sensitivity, None),
        ("-c", load.connections, None),
        ("--extra-requests", load.extra_requests, None),
        ("--max-seconds", load.max_seconds, None),
        ("--phases", ",".join(load.phases) or "none", _default_phases(cell)),
        ("--restarts", load.restarts, default.restarts),
        ("--crash-bound", load.crash_bound, None),
        ("--idle-seconds", load.idle_seconds, default.idle_seconds),
        ("--drain-seconds", load.drain_seconds, default.drain_seconds),
        ("--fault-seconds", load.fault_seconds, default.fault_seconds),
        ("--max-files", load.max_files, default.max_files),
        ("--max-file-growth", load.max_file_growth, None),
        ("--max-slowdown", load.max_slowdown, default.max_slowdown),
        ("--max-latency", load.max_latency, None),
    ]
    given = [(name, str(value)) for name, value, unset in options if value not in (unset, None)]
    words: Sequence[str] = [word for option in given for word in option]
    flags = ["--virtual-hosts"] if cell.virtual_hosts else []
    flags += ["--access-log"] if spec.access_log else []
    flags += ["--shared-tmp"] if spec.shared_tmp else []
    flags += ["--accept-known-upstream"] if config.accept_known_upstream else []
    no_config = ["--no-config"] if own_file else []
    return shlex.join(["wsgiproof", "run", *no_config, *words, *flags])


def _pool_options(cell: Cell) -> Iterator[tuple[str, object, object]]:
    """Yield the options of the processes of a cell, as :func:`_axis_options` does."""
    main = cell.interpreter is InterpreterKind.MAIN
    usual = _DEFAULTS.sub_interpreters
    yield "--sub-interpreters", usual if main else cell.sub_interpreters, usual
    yield "--processes", cell.processes, 0
    yield "--min-processes", cell.min_processes, 0
    yield "--threads", cell.threads, 0
    # A control sets its own value.
    yield "--maximum-requests", 0 if cell.control else cell.maximum_requests, 0


def _axis_options(
    cell: Cell, spec: BuildSpec, machine: Machine
) -> Iterator[tuple[str, object, object]]:
    """Yield the option of each axis with its value, and the value that needs no option."""
    common = {
        PYTHON.name: spec.python.path,
        MOD_WSGI.name: exact_value(spec.mod_wsgi),
        HTTPD.name: cell.httpd_path,
        MODE.name: cell.mode,
        MPM.name: cell.mpm,
        INTERPRETER.name: cell.interpreter,
        LOADING.name: cell.loading,
    }
    for axis in axes_of(subject_of(cell)):
        usual = axis.default[0] if len(axis.default) == 1 else None
        if axis.name in common:
            yield axis.option, common[axis.name], usual
        elif axis.package:
            yield axis.option, exact_value(spec.packages[axis.package]), usual
        else:
            yield axis.option, machine.backends.rerun(axis.name, cell), usual


def _default_phases(cell: Cell) -> str:
    controls = subject_of(cell).every_control() if cell.control else {}
    phases = controls[cell.control].phases if cell.control else _DEFAULTS.phases
    return ",".join(phases) or "none"
