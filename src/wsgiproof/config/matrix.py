"""Expand a configuration into the cells to run, and exclusions with their reasons.

This is pure: the values of the axes have been resolved before (:class:`ResolvedAxes`). Every
combination of the axes becomes either a cell or an :class:`Excluded`, exactly once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import product

import msgspec
from packaging.version import Version

from wsgiproof.config.axes import ALL_AXES, axes_of
from wsgiproof.config.model import Combination, Config
from wsgiproof.errors import UsageError
from wsgiproof.provision.toolchain import Apache, BuildSpec, Python, Source
from wsgiproof.records.cell import (
    AxisValue,
    Cell,
    InterpreterKind,
    Loading,
    Mode,
    Mpm,
    Resolution,
)
from wsgiproof.records.plan import ExtraPhase
from wsgiproof.records.run import Excluded
from wsgiproof.subjects.axis import Axis, version_value
from wsgiproof.subjects.backend import Backends
from wsgiproof.subjects.registry import SUBJECTS

_OWN_GIL = (3, 12)
"""The first Python in which an interpreter can have its own GIL (PEP 684)."""
_INTERPRETER_DIRECTIVES = Version("6.0")
"""The first mod_wsgi with WSGIPerInterpreterGIL and WSGIFreeThreading (its release notes,
6.0.0)."""

SourceOrReason = Source | str
"""What a value resolves to for a Python, or the reason why it does not support that Python."""


class ResolvedAxes(msgspec.Struct, frozen=True, kw_only=True):
    """The resolved values of the axes, on this machine and on the package index."""

    pythons: Mapping[str, Python]
    """By the value of the axis; each with its name."""
    sources: Mapping[str, Mapping[tuple[str, str], SourceOrReason]]
    """Of each axis of versions: by the name of the Python, and the value of the axis."""
    apaches: Mapping[str, Apache]
    """By the value of the axis."""
    backends: Backends


Candidate = Mapping[str, str]
"""One combination of requested values, by axis."""


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """The cells, in the order in which they will be run, and all excluded combinations."""

    cells: tuple[Cell, ...]
    specs: Mapping[str, BuildSpec]
    """By the id of the cell."""
    excluded: tuple[Excluded, ...] = ()


def expand(config: Config, resolved: ResolvedAxes) -> Matrix:
    """Return all combinations of ``config``, as cells with exact versions or as exclusions.

    Raises :class:`UsageError` if no cell is left, or if a value of an axis is in no cell.
    """
    cells: dict[str, Cell] = {}
    specs: dict[str, BuildSpec] = {}
    excluded: list[Excluded] = []
    used: set[tuple[str, str]] = set()
    for candidate in candidates(config):
        reason = why_excluded(candidate, config, resolved)
        if reason:
            excluded.append(_excluded(candidate, reason))
            continue
        used |= set(candidate.items())
        cell = _cell(candidate, config, resolved)
        if cell.id in cells:
            excluded.append(_excluded(candidate, f"it is the same as {cell.id}"))
        else:
            cells[cell.id], specs[cell.id] = cell, _spec(candidate, config, resolved)
    _check_axes(config, used, excluded)
    ordered = sorted(cells.values(), key=_rank)
    chosen, others = _select(ordered, config.only)
    return Matrix(cells=chosen, specs=specs, excluded=(*excluded, *others))


def candidates(config: Config) -> Iterator[Candidate]:
    """Yield every combination once: those of the axes, then those of each ``include``."""
    seen: set[tuple[str, ...]] = set()
    names = [axis.name for axis in axes_of(SUBJECTS[config.subject])]
    for table in (Combination(), *config.include):
        for values in product(*(table.axes.get(name) or config.axis(name) for name in names)):
            if values not in seen:
                seen.add(values)
                yield dict(zip(names, values, strict=True))


def why_excluded(candidate: Candidate, config: Config, resolved: ResolvedAxes) -> str:
    """Return why this combination is not a cell; empty if it is one."""
    for exclusion in config.exclude:
        if _matches(candidate, exclusion, resolved):
            return exclusion.reason or "it is excluded by the configuration"
    python = resolved.pythons[candidate["python"]]
    for axis in resolved.sources:
        source = resolved.sources[axis][python.name, candidate[axis]]
        if isinstance(source, str):
            return source
    mod_wsgi = _source("mod_wsgi", candidate, resolved)
    return (
        _why_no_interpreter(InterpreterKind(candidate["interpreter"]), python, mod_wsgi)
        or _why_no_mpm(Mpm(candidate["mpm"]), resolved.apaches[candidate["httpd"]])
        or _why_not_lazy(candidate, config)
        or _why_no_threads(candidate, config)
        or _why_no_resolution(python, config)
        or resolved.backends.why_not(candidate, _versions(candidate, resolved), config.control)
        or _why_no_phase(candidate, config, resolved)
    )


def _why_no_interpreter(kind: InterpreterKind, python: Python, mod_wsgi: Source) -> str:
    if kind is InterpreterKind.OWN_GIL:
        if tuple(map(int, python.version.split(".")[:2])) < _OWN_GIL:
            return f"Python {python.version} has no interpreters with their own GIL (PEP 684)"
        if python.free_threaded:
            return f"Python {python.version} is built without a GIL"
    elif kind is InterpreterKind.FREE_THREADED:
        if not python.free_threaded:
            return f"Python {python.version} is not built with --disable-gil"
    else:
        return ""
    if Version(mod_wsgi.version) < _INTERPRETER_DIRECTIVES:
        return f"mod_wsgi {mod_wsgi.version} has no directive for {kind} interpreters"
    return ""


def _why_no_mpm(mpm: Mpm, apache: Apache) -> str:
    which = f"Apache {apache.name}" if apache.name else "this Apache"
    return "" if mpm in apache.mpms else f"{which} has no MPM '{mpm}'"


def _why_not_lazy(candidate: Candidate, config: Config) -> str:
    if config.httpd_conf:  # it says how scripts are loaded, and is run anyway
        return ""
    unseen = candidate["interpreter"] == InterpreterKind.MAIN and (
        candidate["mode"] == Mode.EMBEDDED and candidate["mpm"] == Mpm.PREFORK
    )
    if candidate["loading"] == Loading.LAZY and unseen:
        return (
            "when the main interpreter of an embedded process with one thread loads a script can't "
            "be seen"
        )
    return ""


def _why_no_threads(candidate: Candidate, config: Config) -> str:
    if (
        config.threads > 1
        and candidate["mode"] == Mode.EMBEDDED
        and candidate["mpm"] == Mpm.PREFORK
    ):
        return "a child of the MPM prefork has one thread: --threads needs another --mpm"
    return ""


def _why_no_resolution(python: Python, config: Config) -> str:
    if config.resolution is not Resolution.HIGHEST and python.version.startswith("2."):
        return f"pip, which installs for Python {python.version}, has no --resolution"
    return ""


def _why_no_phase(candidate: Candidate, config: Config, resolved: ResolvedAxes) -> str:
    """Return why this combination has none of the phases that were asked for; empty if it has one,
    or if none was asked for."""
    reasons = [_why_without(phase, candidate, config, resolved) for phase in config.phases]
    return "; ".join(reasons) if reasons and all(reasons) else ""


def _why_without(
    phase: ExtraPhase, candidate: Candidate, config: Config, resolved: ResolvedAxes
) -> str:
    if phase is ExtraPhase.RELOAD and config.httpd_conf:
        return "the phase reload touches the script, and yours is left alone"
    if phase is ExtraPhase.RELOAD and candidate["mode"] == Mode.EMBEDDED:
        return "the phase reload needs daemon mode: embedded mode reloads in the same process"
    return resolved.backends.why_no_faults(candidate) if phase is ExtraPhase.FAILOVER else ""


def _source(axis: str, candidate: Candidate, resolved: ResolvedAxes) -> Source:
    python = resolved.pythons[candidate["python"]]
    source = resolved.sources[axis][python.name, candidate[axis]]
    assert isinstance(source, Source)
    return source


def _versions(candidate: Candidate, resolved: ResolvedAxes) -> dict[str, str]:
    python = resolved.pythons[candidate["python"]]
    versions = {axis: _source(axis, candidate, resolved).version for axis in resolved.sources}
    return {"python": python.version, **versions}


def _spec(candidate: Candidate, config: Config, resolved: ResolvedAxes) -> BuildSpec:
    subject = SUBJECTS[config.subject]
    return BuildSpec(
        python=resolved.pythons[candidate["python"]],
        mod_wsgi=_source("mod_wsgi", candidate, resolved),
        packages={
            axis.package: _source(axis.name, candidate, resolved)
            for axis in subject.axes
            if axis.package
        },
        extras={package: names for package, names in subject.extras(candidate).items() if names},
        variables=dict(subject.build_variables),
    )


def _cell(candidate: Candidate, config: Config, resolved: ResolvedAxes) -> Cell:
    python = resolved.pythons[candidate["python"]]
    mod_wsgi = _source("mod_wsgi", candidate, resolved)
    apache = resolved.apaches[candidate["httpd"]]
    interpreter = InterpreterKind(candidate["interpreter"])
    main = interpreter is InterpreterKind.MAIN
    return Cell(
        python=python.version,
        python_name=python.name,
        mod_wsgi=mod_wsgi.version,
        mod_wsgi_path=mod_wsgi.path,
        mod_wsgi_commit=mod_wsgi.commit,
        httpd=apache.version if apache.asked else "",
        httpd_path=apache.asked,
        httpd_name=apache.name,
        subject=config.subject,
        of_subject=tuple(
            _value(axis, candidate, resolved) for axis in SUBJECTS[config.subject].axes
        ),
        mode=Mode(candidate["mode"]),
        mpm=Mpm(candidate["mpm"]),
        interpreter=interpreter,
        loading=Loading(candidate["loading"]),
        sub_interpreters=1 if main else config.sub_interpreters,
        virtual_hosts=config.virtual_hosts,
        processes=config.processes,
        min_processes=config.min_processes if candidate["mode"] == Mode.EMBEDDED else 0,
        threads=config.threads,
        maximum_requests=config.maximum_requests,
        resolution=config.resolution,
        control=config.control,
        app=config.app,
        httpd_conf=config.httpd_conf,
    )


def _value(axis: Axis, candidate: Candidate, resolved: ResolvedAxes) -> AxisValue:
    if not axis.package:
        return resolved.backends.value(axis.name, candidate)
    source = _source(axis.name, candidate, resolved)
    return version_value(axis.name, source.version, source.path, source.commit)


def _rank(cell: Cell) -> tuple[object, ...]:
    """Sort cells that are likely to fail first: rare interpreters, new versions, embedded mode."""
    kinds = (
        InterpreterKind.OWN_GIL,
        InterpreterKind.FREE_THREADED,
        InterpreterKind.SHARED_GIL,
        InterpreterKind.MAIN,
    )
    versions = [cell.mod_wsgi, cell.python]
    others: list[str] = []
    for one in cell.of_subject:
        (versions if ALL_AXES[one.axis].package else others).append(one.value)
    newest = [tuple(-number for number in Version(one).release) for one in versions]
    return (kinds.index(cell.interpreter), *newest, *others, cell.mode != Mode.EMBEDDED)


def _excluded(candidate: Candidate, reason: str) -> Excluded:
    axes = {axis: ALL_AXES[axis].shown(value) for axis, value in candidate.items()}
    return Excluded(axes=axes, reason=reason)


def _matches(candidate: Candidate, exclusion: Combination, resolved: ResolvedAxes) -> bool:
    for axis, patterns in exclusion.axes.items():
        names = _names(candidate, axis, resolved)
        if patterns and not any(
            fnmatchcase(name, pattern) for pattern in patterns for name in names
        ):
            return False
    return True


def _names(candidate: Candidate, axis: str, resolved: ResolvedAxes) -> set[str]:
    """Return all names of a value of an axis: as requested, and what it resolves to."""
    value = candidate[axis]
    python = resolved.pythons[candidate["python"]]
    if axis == "python":
        return {value, python.name, python.version, python.short}
    if axis == "httpd":
        return {value, resolved.apaches[value].version}
    if axis in resolved.sources:
        source = resolved.sources[axis][python.name, value]
        return {value, source.version} if isinstance(source, Source) else {value}
    return {value, resolved.backends.value(axis, candidate).value}


def _check_axes(config: Config, used: set[tuple[str, str]], excluded: Sequence[Excluded]) -> None:
    """Raise :class:`UsageError` for a value that was asked for and is in no cell, since it would
    silently not be tested; for a default only if there is no cell at all."""
    for axis in axes_of(SUBJECTS[config.subject]):
        asked = axis.name in config.axes
        for value in config.axis(axis.name):
            if (axis.name, value) in used or (used and not asked):
                continue
            shown = axis.shown(value)
            reasons = dict.fromkeys(one.reason for one in excluded if one.axes[axis.name] == shown)
            why = "; ".join(list(reasons)[:3]) or "nothing is left to combine it with"
            # What is not shown is the usual value.
            what = f"{axis.name} {shown or value} is in" if value and asked else "there is"
            raise UsageError(f"{what} no cell at all: {why}")


def _select(cells: Sequence[Cell], only: Sequence[str]) -> tuple[tuple[Cell, ...], list[Excluded]]:
    """Return the cells that ``only`` selects, and exclusions for the others."""
    for pattern in only:
        if not any(fnmatchcase(cell.id, pattern) for cell in cells):
            raise UsageError(
                f"no cell matches '{pattern}': 'wsgiproof list' shows their names, "
                f"such as {cells[0].id}"
            )
    chosen = [cell for cell in cells if not only or any(fnmatchcase(cell.id, one) for one in only)]
    ids = {cell.id for cell in chosen}
    others = [
        Excluded(
            axes={
                axis: ALL_AXES[axis].shown(str(value))
                for axis, value in cell.axes.items()
                if axis in ALL_AXES
            },
            reason="it is not selected",
            cell=cell.id,
        )
        for cell in cells
        if cell.id not in ids
    ]
    return tuple(chosen), others
