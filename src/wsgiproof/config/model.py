"""What a user asked for, checked and frozen: the axes of the matrix, and how each cell is run.

The command line and a file (:mod:`wsgiproof.config.file`) give the same value, so these classes
define the JSON schema for editors as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import msgspec

from wsgiproof.config.axes import ALL_AXES, axes_of, owner_of
from wsgiproof.config.known import KnownTable
from wsgiproof.errors import UsageError, did_you_mean
from wsgiproof.records.cell import Cell, Resolution
from wsgiproof.records.known import Known
from wsgiproof.records.plan import ExtraPhase, LoadPlan, least_requests
from wsgiproof.subjects.registry import DEFAULT, SUBJECTS


class Profile(StrEnum):
    """How much load: a check in seconds, or the recipe's own amount."""

    QUICK = "quick"
    FULL = "full"


_CACHE_ENTRIES = 5000
_PLANS = {
    # The numbers of requests, and those that depend on them, follow from the sensitivity.
    Profile.QUICK: LoadPlan(
        parallel=2,
        serial=1,
        sensitivity=250,
        connections=100,
        round=1,
        request_deadline=10.0,
        cache_entries=_CACHE_ENTRIES,
    ),
    Profile.FULL: LoadPlan(
        parallel=25_000,
        serial=25_000,
        connections=100,
        round=2000,
        memory_every=4000,
        cool_down=5.0,
        cache_entries=_CACHE_ENTRIES,
        warm_up=1000,
        crash_bound=0.01,
    ),
}
MOST_SUB_INTERPRETERS = 32
MOST_PROCESSES = 32
MOST_THREADS = 64
MOST_JOBS = 256
_LEAST_WARM_UP = 50
_EXTRA = 1.5
"""How many times the load may be added where the load does not decide. After that the whole later
half is new, so that what has stopped growing is seen to have stopped."""
_EXTRA_IF_SHORT = 5
"""The same for a load that is as short as its sensitivity allows."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,60}")


def _doc(text: str) -> msgspec.Meta:
    """Return the description of a key in the JSON schema."""
    return msgspec.Meta(description=text)


Axes = Mapping[str, tuple[str, ...]]
"""Values by the name of their axis. In a file, each axis is a key of its own."""


class Combination(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Values of some axes. An axis without a value stands for all of its values."""

    axes: Axes = {}

    def __post_init__(self) -> None:
        _check_axes(self.axes)


class Exclusion(Combination, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Combinations that are left out. Versions and paths may be globs."""

    reason: Annotated[str, _doc("Why; 'wsgiproof list' shows it.")] = ""


class Override(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another load, or another limit, for some cells."""

    cells: Annotated[tuple[str, ...], _doc("Globs on the ids of cells.")]
    profile: Profile | None = None
    requests: int | None = None
    connections: int | None = None
    sensitivity: int | None = None
    extra_requests: int | None = None
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        _check_load(self)


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that configures ``wsgiproof run``. An empty axis stands for its default, which
    depends on the machine and on the package index.

    An option of the command line and its key in a file have the same name.
    """

    subject: Annotated[str, _doc("What is tested.")] = DEFAULT.name
    axes: Axes = {}
    """The values that were asked for, of axes that every subject has and of the subject's own."""
    names: Annotated[
        Mapping[str, Mapping[str, str]], _doc("Names of values, by the key of their table.")
    ] = {}
    apxs: Annotated[
        str, _doc("The path of the apxs of the only httpd, which modules are compiled with.")
    ] = ""
    include: Annotated[
        tuple[Combination, ...],
        _doc("More cells: the axes named here replace those above."),
    ] = ()
    exclude: Annotated[tuple[Exclusion, ...], _doc("Combinations that are left out.")] = ()
    only: Annotated[tuple[str, ...], _doc("Globs: run the cells whose id matches one.")] = ()
    sub_interpreters: Annotated[int, _doc("How many of them share each process.")] = 2
    virtual_hosts: Annotated[
        bool, _doc("Whether each of them is that of a virtual host of its own.")
    ] = False
    processes: Annotated[
        int, _doc("Processes that run the application; 0: 1 in daemon mode, else 4 or 2.")
    ] = 0
    min_processes: Annotated[
        int,
        _doc("Processes that Apache keeps without load, in embedded mode; 0: as many as always."),
    ] = 0
    threads: Annotated[
        int, _doc("Request threads in each process; 0: 15 in daemon mode, else 1 or 8.")
    ] = 0
    maximum_requests: Annotated[
        int, _doc("Requests after which each process is replaced; 0: never.")
    ] = 0
    profile: Annotated[Profile, _doc("quick: some 1,400 requests for each cell; full: 50,000.")] = (
        Profile.QUICK
    )
    requests: Annotated[int | None, _doc("Requests for each cell.")] = None
    sensitivity: Annotated[
        int | None,
        _doc("In place of requests: load until a leak of one in so many would show (99 %)."),
    ] = None
    connections: Annotated[int | None, _doc("Requests in flight at once.")] = None
    extra_requests: Annotated[
        int | None,
        _doc("Requests that may be added, at most, where the load does not decide; 0: none."),
    ] = None
    max_seconds: Annotated[
        float | None,
        _doc("Seconds after which the load of a cell is cut short."),
    ] = None
    expect_status: Annotated[
        tuple[int, ...], _doc("Statuses that are right beside those of success (200 to 299).")
    ] = ()
    expect_body: Annotated[str, _doc("A regular expression that each body has to match.")] = ""
    phases: Annotated[tuple[ExtraPhase, ...], _doc("What is tried beyond load and the stop.")] = (
        ExtraPhase.RESTART,
        ExtraPhase.TRIALS,
    )
    restarts: Annotated[
        int, _doc("Graceful restarts in a row, and reloads, where the phases have any.")
    ] = 1
    crash_bound: Annotated[
        float | None,
        _doc("The probability of a crash at the end of a process that the phase trials excludes."),
    ] = None
    idle_seconds: Annotated[float, _doc("Seconds without a request in the phase idle.")] = 30.0
    drain_seconds: Annotated[
        float,
        _doc("Seconds without a request after which growth is a leak; what lives for less is not."),
    ] = 6.0
    fault_seconds: Annotated[
        float, _doc("Seconds that members are paused or gone in the phase failover.")
    ] = 3.0
    max_files: Annotated[
        float, _doc("Files that 100 requests may leave behind without a finding.")
    ] = 1.0
    max_file_growth: Annotated[
        float | None, _doc("Bytes per request by which files may grow; without it, any number.")
    ] = None
    max_slowdown: Annotated[
        float, _doc("How many times as long the last requests may take as the first ones.")
    ] = 2.0
    max_latency: Annotated[
        float | None, _doc("Seconds that a request may take; without it, up to its deadline.")
    ] = None
    overrides: Annotated[
        tuple[Override, ...],
        _doc("Another load for some cells; the last one that matches."),
    ] = ()
    known: Annotated[
        tuple[KnownTable, ...], _doc("Findings that are known: they are shown, and fail nothing.")
    ] = ()
    accept_known_upstream: Annotated[
        bool, _doc("Accept findings that the catalog calls a bug of somebody else.")
    ] = False
    control: Annotated[str, _doc("A planted fault, or its negative control.")] = ""
    app: Annotated[str, _doc("Your WSGI script, in place of the built-in one.")] = ""
    httpd_conf: Annotated[
        str, _doc("Your own httpd.conf, which is run unchanged, in place of wsgiproof's.")
    ] = ""
    url: Annotated[
        tuple[str, ...], _doc("What is requested of the server of httpd_conf: paths, or URLs.")
    ] = ()
    requirement: Annotated[
        tuple[str, ...],
        _doc(
            "Packages to install beside the subject, as in pip's requirements; or the paths of "
            "files "
            "that list them."
        ),
    ] = ()
    constraint: Annotated[
        str, _doc("A constraints file, as for pip, for everything that is installed.")
    ] = ""
    resolution: Annotated[
        Resolution,
        _doc(
            "Which versions of dependencies are installed, as uv's option: lowest-direct is the "
            "oldest that the subject allows of what it needs itself."
        ),
    ] = Resolution.HIGHEST
    home: Annotated[
        str,
        _doc("The working directory of daemon processes, as WSGIDaemonProcess home=; else '/'."),
    ] = ""
    directive: Annotated[
        tuple[str, ...], _doc("Lines for Apache's configuration, after those of wsgiproof.")
    ] = ()
    access_log: Annotated[bool, _doc("Whether Apache logs all requests, in access.log.")] = False
    shared_tmp: Annotated[
        bool,
        _doc(
            "Whether Apache shares /tmp, /var/tmp, /dev/shm and System V objects with the rest of "
            "the machine."
        ),
    ] = False
    output: Annotated[str, _doc("Where results go.")] = ""
    jobs: Annotated[int | None, _doc("Cells that run at the same time.")] = None
    dask: Annotated[
        str, _doc("The address of a Dask scheduler whose workers run the cells; or 'local'.")
    ] = ""
    fail_fast: Annotated[bool, _doc("Stop at the first cell that fails.")] = False
    retry_errors: Annotated[int, _doc("How often a cell that ended in error is tried again.")] = 0

    def __post_init__(self) -> None:
        _check_pool(self)
        _check_load(self)
        _check_axes(self.axes)
        for key, names in self.names.items():
            for name in names:
                if not _NAME.fullmatch(name):
                    raise UsageError(
                        f"{key}: '{name}' can't be a name, which becomes a part of names of "
                        "directories: use letters, digits, '.', '_' and '-'"
                    )
        for one in self.requirement:
            _check_requirement(one)
        _within("--restarts", self.restarts, 1, 100_000)
        _within("--crash-bound", self.crash_bound, 0.001, 0.95)
        _within("--idle-seconds", self.idle_seconds, 1, 24 * 3600)
        _within("--drain-seconds", self.drain_seconds, 0, 3600)
        for one in self.directive:
            if "\n" in one:
                raise UsageError("--directive takes one line: give it once for each line")
        _within("--fault-seconds", self.fault_seconds, 1, 3600)
        _within("--max-files", self.max_files, 0, 1_000_000)
        _within("--max-file-growth", self.max_file_growth, 0, 10**12)
        _within("--max-slowdown", self.max_slowdown, 1, 1_000_000)
        _within("--max-latency", self.max_latency, 0.001, 24 * 3600)
        _within("--jobs", self.jobs, 1, MOST_JOBS)
        _within("--retry-errors", self.retry_errors, 0, 10)
        for status in self.expect_status:
            _within("--expect-status", status, 200, 599)
        try:
            re.compile(self.expect_body.encode())
        except re.error as error:
            raise UsageError(
                f"--expect-body {self.expect_body!r} is not a regular expression: {error}"
            ) from None
        _check_app(self)

    @property
    def directory(self) -> Path | None:
        """Where results go; None stands for a new directory, named by the time."""
        return Path(self.output) if self.output else None

    def check_subject(self) -> None:
        """Raise :class:`UsageError` for an unknown subject, or for an axis of another one.

        A part of a configuration, such as a set, does not have to name the subject.
        """
        if self.subject not in SUBJECTS:
            near = did_you_mean(self.subject, SUBJECTS) or f"; there is {', '.join(SUBJECTS)}"
            raise UsageError(f"there is no subject '{self.subject}'{near}")
        for axes in (self.axes, *(table.axes for table in (*self.include, *self.exclude))):
            for axis in axes:
                if (owner := owner_of(axis)) not in ("", self.subject):
                    raise UsageError(
                        f"{ALL_AXES[axis].option} is an axis of the subject {owner}, and "
                        f"{self.subject} is tested"
                    )

    def axis(self, name: str) -> tuple[str, ...]:
        """Return the values of an axis as they were asked for; its defaults if none was."""
        return tuple(dict.fromkeys(self.axes.get(name, ()))) or ALL_AXES[name].default

    def values(self, name: str) -> tuple[str, ...]:
        """Return the same with the values that only an ``include`` has."""
        more = (value for table in self.include for value in table.axes.get(name, ()))
        return tuple(dict.fromkeys((*self.axis(name), *more)))

    def all_values(self) -> dict[str, tuple[str, ...]]:
        """Return the values of every axis of the subject, by name."""
        return {axis.name: self.values(axis.name) for axis in axes_of(SUBJECTS[self.subject])}

    def with_axes(self, **values: tuple[str, ...]) -> Config:
        """Return this configuration with other values of some axes."""
        return msgspec.structs.replace(self, axes={**self.axes, **values})

    def plan(self, cell: str = "") -> LoadPlan:
        """Return how much load the cell of this id gets, with the overrides that match it.

        A number of requests is the total; the profile decides how it is divided.
        """
        load = self.load(cell)
        plan = _PLANS[load.profile]
        changes: dict[str, Any] = {
            # A reload touches the script, and the user's own is left alone.
            "phases": tuple(
                one for one in self.phases if not (self.httpd_conf and one is ExtraPhase.RELOAD)
            ),
            "restarts": self.restarts,
            "idle_seconds": self.idle_seconds,
            "drain": self.drain_seconds,
            "fault_seconds": self.fault_seconds,
            "expect_status": self.expect_status,
            "expect_body": self.expect_body,
            "max_files": self.max_files,
            "max_file_growth": self.max_file_growth,
            "max_slowdown": self.max_slowdown,
            "max_latency": self.max_latency,
        }
        requests = load.requests
        sensitivity = load.sensitivity or (plan.sensitivity if requests is None else 0)
        changes["sensitivity"] = sensitivity
        if requests is None and sensitivity:
            requests = least_requests(sensitivity)
        if requests is not None:
            parallel = round(requests * plan.parallel / (plan.parallel + plan.serial))
            changes["parallel"] = parallel
            changes["serial"] = requests - parallel
            changes["warm_up"] = min(plan.warm_up, max(_LEAST_WARM_UP, requests // 10))
            # A dozen rounds are enough where each takes longer to read than to serve.
            changes["round"] = max(1, requests // 24, min(25, requests // 12))
            changes["memory_every"] = max(1, requests // 12)
        if self.maximum_requests:
            # One process has as many readings in its life as there are in a whole run.
            life = max(1, self.maximum_requests // 18)
            for reading in ("round", "memory_every"):
                changes[reading] = min(life, changes.get(reading, getattr(plan, reading)))
        if load.connections is not None:
            changes["connections"] = load.connections
        requests = requests or plan.parallel + plan.serial
        short = load.requests is None and sensitivity
        changes["extra_requests"] = round((_EXTRA_IF_SHORT if short else _EXTRA) * requests)
        if load.extra_requests is not None:
            changes["extra_requests"] = load.extra_requests
        if self.crash_bound is not None:
            changes["crash_bound"] = self.crash_bound
        if load.max_seconds is not None:
            changes["max_seconds"] = load.max_seconds
        return msgspec.structs.replace(plan, **changes)

    def known_in(self, cell: Cell) -> tuple[Known, ...]:
        """Return what is known and applies to a cell."""
        return tuple(one for table in self.known if (one := table.in_cell(cell)))

    def load(self, cell: str) -> Config:
        """Return this configuration with the overrides that match the cell."""
        load = {name: getattr(self, name) for name in _LOAD}
        for override in self.overrides:
            if any(fnmatchcase(cell, pattern) for pattern in override.cells):
                given = {n: v for n in _LOAD if (v := getattr(override, n)) is not None}
                load = dict.fromkeys(load) | without_replaced(load, given) | given
        return msgspec.structs.replace(self, **load)


def _check_axes(axes: Axes) -> None:
    """Raise :class:`UsageError` for a value that an axis does not have."""
    for name, values in axes.items():
        choices = ALL_AXES[name].choices
        for value in values:
            if choices and value not in choices:
                near = did_you_mean(value, choices) or f"; there is {', '.join(choices)}"
                raise UsageError(f"'{value}' is not a value of '{name}'{near}")


def _check_requirement(text: str) -> None:
    # Imported here, since it takes a while and few command lines need it.
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        Requirement(text)
    except InvalidRequirement as error:
        raise UsageError(
            f"--requirement {text}: name a package, such as dnspython or 'python-snappy==0.7.3', "
            "or a file that lists packages, such as requirements.txt"
        ) from error


_LOAD = ("profile", "requests", "sensitivity", "connections", "extra_requests", "max_seconds")
"""The fields that say how much load a cell gets."""


def without_replaced(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a configuration without those in place of which ``changes`` say how much
    load there is: a number of requests, a sensitivity, or the profile's."""
    gone: set[str] = set()
    if "requests" in changes or "profile" in changes:
        gone.add("sensitivity")
    if "sensitivity" in changes:
        gone.add("requests")
    return {name: value for name, value in values.items() if name not in gone}


def _check_app(config: Config) -> None:
    """Raise :class:`UsageError` for what only the built-in application can do, with another one."""
    if config.app and config.control:
        raise UsageError(
            "--app and --control exclude each other: faults are planted in the built-in application"
        )
    own = "--app" if config.app else "--httpd-conf" if config.httpd_conf else ""
    for axes in (config.axes, *(table.axes for table in config.include)):
        for axis in axes:
            if own and ALL_AXES[axis].built_in:
                raise UsageError(
                    f"{own} and {ALL_AXES[axis].option} exclude each other: {axis} is what the "
                    "built-in application does"
                )


def _check_pool(config: Config) -> None:
    """Raise :class:`UsageError` for numbers of interpreters, processes and threads that no server
    can have."""
    _within("--sub-interpreters", config.sub_interpreters, 1, MOST_SUB_INTERPRETERS)
    _within("--processes", config.processes, 0, MOST_PROCESSES)
    _within("--min-processes", config.min_processes, 0, MOST_PROCESSES)
    if config.min_processes and config.min_processes >= config.processes:
        raise UsageError(
            f"--min-processes {config.min_processes} needs a larger --processes, the most that "
            "Apache may start under load"
        )
    if config.min_processes and "embedded" not in config.values("mode"):
        raise UsageError(
            f"--min-processes {config.min_processes} needs --mode embedded: the number of daemon "
            "processes is constant"
        )
    _within("--threads", config.threads, 0, MOST_THREADS)
    _within("--maximum-requests", config.maximum_requests, 0, 1_000_000)


def _check_load(load: Config | Override) -> None:
    _within("--sensitivity", load.sensitivity, 1, 1_000_000)
    _within("--requests", load.requests, 1, 100_000_000)
    _within("--connections", load.connections, 1, 10_000)
    _within("--extra-requests", load.extra_requests, 0, 100_000_000)
    _within("--max-seconds", load.max_seconds, 1, 7 * 24 * 3600)


def _within(option: str, value: float | None, least: float, most: float) -> None:
    if value is not None and not least <= value <= most:
        raise UsageError(f"{option} {value}: it has to be from {least} to {most:,}")
