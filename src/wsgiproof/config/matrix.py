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

from wsgiproof.config.model import AXES, URI, Combination, Config
from wsgiproof.errors import UsageError
from wsgiproof.provision.toolchain import BuildSpec, Python, Source
from wsgiproof.records.cell import DEPLOYED, Cell, InterpreterKind, Mode, Mpm, Topology
from wsgiproof.records.plan import ExtraPhase
from wsgiproof.records.run import Excluded
from wsgiproof.subjects.pymongo.uri import is_uri

_OWN_GIL = (3, 12)
"""The first Python in which an interpreter can have its own GIL (PEP 684)."""
_INTERPRETER_DIRECTIVES = Version("6.0")
"""The first mod_wsgi with WSGIPerInterpreterGIL and WSGIFreeThreading (its release notes,
6.0.0)."""

SourceOrReason = Source | str
"""What a value resolves to for a Python, or the reason why it does not support that Python."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A MongoDB: one that wsgiproof starts, or an existing deployment."""

    name: str
    """Its name in cell ids; empty for the default one."""
    version: str
    topology: Topology | None = None
    """None if wsgiproof starts it, in any topology."""


class ResolvedAxes(msgspec.Struct, frozen=True, kw_only=True):
    """The resolved values of the axes, on this machine and on the package index."""

    pythons: Mapping[str, Python]
    """By the value of the axis; each with its name."""
    mod_wsgis: Mapping[tuple[str, str], SourceOrReason]
    """By the name of the Python, and the value of the axis."""
    pymongos: Mapping[tuple[str, str], SourceOrReason]
    mpms: Sequence[Mpm]
    """Those of the available Apache."""
    servers: Mapping[str, Server]
    """By the value of the axis."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One combination of requested values."""

    python: str
    mod_wsgi: str
    pymongo: str
    topology: Topology
    mode: Mode
    mpm: Mpm
    interpreter: InterpreterKind
    mongodb: str


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
        used |= set(_values(candidate))
        cell = _cell(candidate, config, resolved)
        if cell.id in cells:
            excluded.append(_excluded(candidate, f"it is the same as {cell.id}"))
        else:
            cells[cell.id], specs[cell.id] = cell, _spec(candidate, resolved)
    _check_axes(config, resolved, used, excluded)
    ordered = sorted(cells.values(), key=_rank)
    chosen, others = _select(ordered, config.only)
    return Matrix(cells=chosen, specs=specs, excluded=(*excluded, *others))


def candidates(config: Config) -> Iterator[Candidate]:
    """Yield every combination once: those of the axes, then those of each ``include``."""
    seen: set[Candidate] = set()
    for table in (Combination(), *config.include):
        axes = [getattr(table, axis) or config.axis(axis) for axis in AXES]
        for values in product(*axes):
            candidate = Candidate(**dict(zip(AXES, values, strict=True)))
            if candidate not in seen:
                seen.add(candidate)
                yield candidate


def why_excluded(candidate: Candidate, config: Config, resolved: ResolvedAxes) -> str:
    """Return why this combination is not a cell; empty if it is one."""
    for exclusion in config.exclude:
        if _matches(candidate, exclusion, resolved):
            return exclusion.reason or "it is excluded by the configuration"
    python = resolved.pythons[candidate.python]
    for sources, value in (
        (resolved.mod_wsgis, candidate.mod_wsgi),
        (resolved.pymongos, candidate.pymongo),
    ):
        source = sources[python.name, value]
        if isinstance(source, str):
            return source
    spec = _spec(candidate, resolved)
    return (
        _why_no_interpreter(candidate.interpreter, python, spec.mod_wsgi)
        or _why_no_mpm(candidate.mpm, resolved)
        or _why_no_deployment(candidate, spec.pymongo, resolved)
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


def _why_no_mpm(mpm: Mpm, resolved: ResolvedAxes) -> str:
    return "" if mpm in resolved.mpms else f"this Apache has no MPM '{mpm}'"


def _why_no_deployment(candidate: Candidate, pymongo: Source, resolved: ResolvedAxes) -> str:
    if candidate.topology is Topology.NONE:
        return ""
    server = resolved.servers[candidate.mongodb]
    if server.topology not in (None, candidate.topology):
        return f"the existing deployment is a {server.topology}"
    return why_incompatible(pymongo.version, server.version)


def _why_no_phase(candidate: Candidate, config: Config, resolved: ResolvedAxes) -> str:
    """Return why this combination has none of the phases that were asked for; empty if it has one,
    or if none was asked for."""
    reasons = [_why_without(phase, candidate, resolved) for phase in config.phases]
    return "; ".join(reasons) if reasons and all(reasons) else ""


def _why_without(phase: ExtraPhase, candidate: Candidate, resolved: ResolvedAxes) -> str:
    if phase is ExtraPhase.RELOAD and candidate.mode is Mode.EMBEDDED:
        return "the phase reload needs daemon mode: embedded mode reloads in the same process"
    if phase is ExtraPhase.FAILOVER:
        if candidate.topology is Topology.NONE:
            return "the phase failover needs a deployment"
        if resolved.servers[candidate.mongodb].topology is not None:
            return "the phase failover never harms an existing deployment"
    return ""


_SCRAM = Version("2.8")
"""The first PyMongo that authenticates with SCRAM-SHA-1, which wsgiproof's own deployments ask
for (PyMongo's changelog, "Changes in Version 2.8")."""
_OP_MSG = Version("3.7")
"""The first PyMongo that uses OP_MSG. Measured: MongoDB 6.0.5 refuses 3.6.1 ("Unsupported OP_QUERY
command: insert"), and serves 3.7.2."""
_WITHOUT_OP_QUERY = Version("5.1")
"""The first MongoDB that supports only OP_MSG (MongoDB manual, "Legacy Opcodes")."""


def why_incompatible(pymongo: str, mongodb: str) -> str:
    """Return why this PyMongo can't be tested against this MongoDB; empty if it can.

    An empty ``mongodb`` is an unknown version.
    """
    advice = "test only encoding and decoding, with '--topology none'"
    if Version(pymongo) < _SCRAM:
        return f"PyMongo {pymongo} is older than {_SCRAM} and has no SCRAM-SHA-1: {advice}"
    if mongodb and Version(pymongo) < _OP_MSG and Version(mongodb) >= _WITHOUT_OP_QUERY:
        return (
            f"PyMongo {pymongo} is older than {_OP_MSG} and can't connect to MongoDB {mongodb}: "
            f"{advice}"
        )
    return ""


def _spec(candidate: Candidate, resolved: ResolvedAxes) -> BuildSpec:
    python = resolved.pythons[candidate.python]
    mod_wsgi = resolved.mod_wsgis[python.name, candidate.mod_wsgi]
    pymongo = resolved.pymongos[python.name, candidate.pymongo]
    assert isinstance(mod_wsgi, Source)
    assert isinstance(pymongo, Source)
    return BuildSpec(python=python, mod_wsgi=mod_wsgi, pymongo=pymongo)


def _cell(candidate: Candidate, config: Config, resolved: ResolvedAxes) -> Cell:
    spec = _spec(candidate, resolved)
    deployed = candidate.topology is not Topology.NONE
    main = candidate.interpreter is InterpreterKind.MAIN
    return Cell(
        python=spec.python.version,
        python_name=spec.python.name,
        mod_wsgi=spec.mod_wsgi.version,
        mod_wsgi_path=spec.mod_wsgi.path,
        pymongo=spec.pymongo.version,
        pymongo_path=spec.pymongo.path,
        topology=candidate.topology,
        mode=candidate.mode,
        mpm=candidate.mpm,
        interpreter=candidate.interpreter,
        mongodb=resolved.servers[candidate.mongodb].name if deployed else "",
        sub_interpreters=1 if main else config.sub_interpreters,
        maximum_requests=config.maximum_requests,
        control=config.control,
        app=config.app,
    )


def _rank(cell: Cell) -> tuple[object, ...]:
    """Sort cells that are likely to fail first: rare interpreters, new versions, embedded mode."""
    kinds = (
        InterpreterKind.OWN_GIL,
        InterpreterKind.FREE_THREADED,
        InterpreterKind.SHARED_GIL,
        InterpreterKind.MAIN,
    )
    newest = [
        tuple(-number for number in Version(version).release)
        for version in (cell.mod_wsgi, cell.python, cell.pymongo)
    ]
    return (kinds.index(cell.interpreter), *newest, cell.topology, cell.mode != Mode.EMBEDDED)


def _excluded(candidate: Candidate, reason: str) -> Excluded:
    axes = {axis: _shown(value) for axis, value in _values(candidate)}
    return Excluded(axes=axes, reason=reason)


def _shown(value: str) -> str:
    """Return a requested value; only ``URI`` for a URI, which may contain a password."""
    return URI if is_uri(value) else value


def _matches(candidate: Candidate, exclusion: Combination, resolved: ResolvedAxes) -> bool:
    for axis in AXES:
        patterns = getattr(exclusion, axis)
        names = _names(candidate, axis, resolved)
        if patterns and not any(
            fnmatchcase(name, pattern) for pattern in patterns for name in names
        ):
            return False
    return True


def _names(candidate: Candidate, axis: str, resolved: ResolvedAxes) -> set[str]:
    """Return all names of a value of an axis: as requested, and what it resolves to."""
    value = str(getattr(candidate, axis))
    python = resolved.pythons[candidate.python]
    if axis == "python":
        return {value, python.name, python.version, python.short}
    if axis == "mongodb":
        server = resolved.servers.get(value)
        return {value, server.name} if server else {value}
    sources = {"mod_wsgi": resolved.mod_wsgis, "pymongo": resolved.pymongos}.get(axis, {})
    source = sources.get((python.name, value))
    return {value, source.version} if isinstance(source, Source) else {value}


def _values(candidate: Candidate) -> Iterator[tuple[str, str]]:
    for axis in AXES:
        yield axis, str(getattr(candidate, axis))


def _check_axes(
    config: Config,
    resolved: ResolvedAxes,
    used: set[tuple[str, str]],
    excluded: Sequence[Excluded],
) -> None:
    """Raise :class:`UsageError` for a value of an axis that is in no cell, since it would silently
    not be tested."""
    for axis in AXES:
        for value in config.axis(axis):
            if (axis, str(value)) not in used and not _is_default(axis, value, config, resolved):
                shown = _shown(value)
                reasons = dict.fromkeys(one.reason for one in excluded if one.axes[axis] == shown)
                why = "; ".join(list(reasons)[:3]) or "nothing is left to combine it with"
                what = f"{axis} {shown} is in" if value else "there is"
                raise UsageError(f"{what} no cell at all: {why}")


def _is_default(axis: str, value: str, config: Config, resolved: ResolvedAxes) -> bool:
    """Whether a mode was not requested, or a topology that no existing deployment has."""
    existing = {resolved.servers[one].topology for one in config.values("mongodb")}
    if axis == "mode":
        return config.mode == tuple(Mode)
    default = axis == "topology" and config.topology == DEPLOYED
    return default and None not in existing and value not in existing


def _select(cells: Sequence[Cell], only: Sequence[str]) -> tuple[tuple[Cell, ...], list[Excluded]]:
    """Return the cells that ``only`` selects, and exclusions for the others."""
    for pattern in only:
        if not any(fnmatchcase(cell.id, pattern) for cell in cells):
            raise UsageError(
                f"no cell matches '{pattern}': 'wsgiproof list' shows their names, "
                f"such as {cells[0].id}"
            )
    chosen = [cell for cell in cells if not only or any(fnmatchcase(cell.id, one) for one in only)]
    unselected = {cell.id: cell.axes for cell in cells if cell not in chosen}
    others = [
        Excluded(
            axes={axis: str(axes[axis]) for axis in AXES},
            reason="it is not selected",
            cell=name,
        )
        for name, axes in unselected.items()
    ]
    return tuple(chosen), others
