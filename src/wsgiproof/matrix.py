"""From what was asked for to the cells that will be run, with a reason for each that will not.

Pure: what the values of the axes stand for (:class:`ResolvedAxes`) has been found out before. Every
combination of the axes is accounted for, as a cell or as an :class:`Excluded`, and none twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import product

import msgspec
from packaging.version import Version

from wsgiproof.cell import DEPLOYED, Cell, InterpreterKind, Mode, Mpm, Topology
from wsgiproof.config import AXES, URI, Combination, Config
from wsgiproof.errors import UsageError
from wsgiproof.records import Excluded
from wsgiproof.toolchain import BuildSpec, Python, Source
from wsgiproof.uri import is_uri

_OWN_GIL = (3, 12)
"""The first Python with interpreters that have a GIL of their own (PEP 684)."""
_KINDS_OF_MOD_WSGI = Version("6.0")
"""The first with WSGIPerInterpreterGIL and WSGIFreeThreading (its release notes, 6.0.0)."""

Answer = Source | str
"""What a value stands for, or why it does not go together with a Python."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A MongoDB: one that we start, or a deployment that is there."""

    name: str
    """What ids call it; empty for the usual one."""
    version: str
    topology: Topology | None = None
    """None: of either kind, as we start it."""


class ResolvedAxes(msgspec.Struct, frozen=True, kw_only=True):
    """What the values of the axes stand for, on this machine and on the package index."""

    pythons: Mapping[str, Python]
    """By the value of the axis; each with its name."""
    mod_wsgis: Mapping[tuple[str, str], Answer]
    """By the name of the Python, and the value of the axis."""
    pymongos: Mapping[tuple[str, str], Answer]
    mpms: Sequence[Mpm]
    """Those of the Apache at hand."""
    servers: Mapping[str, Server]
    """By the value of the axis."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One combination, as it was asked for."""

    python: str
    mod_wsgi: str
    pymongo: str
    topology: Topology
    mode: Mode
    mpm: Mpm
    interpreter: InterpreterKind
    mongodb: str


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """The cells, in the order in which they will be run, and every combination that is none."""

    cells: tuple[Cell, ...]
    specs: Mapping[str, BuildSpec]
    """By the id of the cell."""
    excluded: tuple[Excluded, ...] = ()


def expand(config: Config, resolved: ResolvedAxes) -> Matrix:
    """All combinations of ``config``, as cells with exact versions or as exclusions.

    Raises :class:`UsageError` if no cell is left, or if a value of an axis is in none.
    """
    cells: dict[str, Cell] = {}
    specs: dict[str, BuildSpec] = {}
    excluded: list[Excluded] = []
    alive: set[tuple[str, str]] = set()
    for point in points(config):
        reason = why_not(point, config, resolved)
        if reason:
            excluded.append(_excluded(point, reason))
            continue
        alive |= set(_values(point))
        cell = _cell(point, config, resolved)
        if cell.id in cells:
            excluded.append(_excluded(point, f"it is the same as {cell.id}"))
        else:
            cells[cell.id], specs[cell.id] = cell, _spec(point, resolved)
    _check_axes(config, resolved, alive, excluded)
    ordered = sorted(cells.values(), key=_rank)
    chosen, others = _select(ordered, config.only)
    return Matrix(cells=chosen, specs=specs, excluded=(*excluded, *others))


def points(config: Config) -> Iterator[Point]:
    """Every combination, each once: the axes' own, then those of each ``include``."""
    seen: set[Point] = set()
    for table in (Combination(), *config.include):
        axes = [getattr(table, axis) or config.axis(axis) for axis in AXES]
        for values in product(*axes):
            point = Point(**dict(zip(AXES, values, strict=True)))
            if point not in seen:
                seen.add(point)
                yield point


def why_not(point: Point, config: Config, resolved: ResolvedAxes) -> str:
    """Why this combination can't be, or is not to be, a cell; empty if it is one."""
    for exclusion in config.exclude:
        if _matches(point, exclusion, resolved):
            return exclusion.reason or "it is excluded by the configuration"
    python = resolved.pythons[point.python]
    for answers, value in (
        (resolved.mod_wsgis, point.mod_wsgi),
        (resolved.pymongos, point.pymongo),
    ):
        answer = answers[python.name, value]
        if isinstance(answer, str):
            return answer
    spec = _spec(point, resolved)
    return (
        _no_such_kind(point.interpreter, python, spec.mod_wsgi)
        or _no_such_mpm(point.mpm, resolved)
        or _no_such_deployment(point, spec.pymongo, resolved)
    )


def _no_such_kind(kind: InterpreterKind, python: Python, mod_wsgi: Source) -> str:
    if kind is InterpreterKind.OWN_GIL:
        if tuple(map(int, python.version.split(".")[:2])) < _OWN_GIL:
            return f"Python {python.version} has no interpreters with a GIL of their own (PEP 684)"
        if python.free_threaded:
            return f"Python {python.version} is built without a GIL"
    elif kind is InterpreterKind.FREE_THREADED:
        if not python.free_threaded:
            return f"Python {python.version} is not built with --disable-gil"
    else:
        return ""
    if Version(mod_wsgi.version) < _KINDS_OF_MOD_WSGI:
        return f"mod_wsgi {mod_wsgi.version} can't be told to have {kind} interpreters"
    return ""


def _no_such_mpm(mpm: Mpm, resolved: ResolvedAxes) -> str:
    return "" if mpm in resolved.mpms else f"this Apache has no MPM '{mpm}'"


def _no_such_deployment(point: Point, pymongo: Source, resolved: ResolvedAxes) -> str:
    if point.topology is Topology.NONE:
        return ""
    server = resolved.servers[point.mongodb]
    if server.topology not in (None, point.topology):
        return f"the deployment at hand is a {server.topology}"
    return not_spoken(pymongo.version, server.version)


_APP_NAME = Version("3.4")
"""The first PyMongo that names the application as it connects, which is how its connections are
told from others; it came with MongoDB 3.4. 2.7.2 refuses a URI with an appName."""
_OP_MSG = Version("3.7")
"""The first that speaks OP_MSG. Measured: MongoDB 6.0.5 refuses 3.6.1 ("Unsupported OP_QUERY
command: insert"), and serves 3.7.2."""
_WITHOUT_OP_QUERY = Version("5.1")
"""The first MongoDB that understands nothing else (MongoDB manual, "Legacy Opcodes")."""


def not_spoken(pymongo: str, mongodb: str) -> str:
    """Why this PyMongo can't be tested against this MongoDB; empty if it can.

    An empty ``mongodb`` stands for a version that nobody knows.
    """
    advice = "test its encoding and decoding alone, with '--topology none'"
    if Version(pymongo) < _APP_NAME:
        return f"PyMongo {pymongo} is older than {_APP_NAME} and knows no appName: {advice}"
    if mongodb and Version(pymongo) < _OP_MSG and Version(mongodb) >= _WITHOUT_OP_QUERY:
        return (
            f"PyMongo {pymongo} is older than {_OP_MSG} and can't speak to MongoDB {mongodb}: "
            f"{advice}"
        )
    return ""


def _spec(point: Point, resolved: ResolvedAxes) -> BuildSpec:
    python = resolved.pythons[point.python]
    mod_wsgi = resolved.mod_wsgis[python.name, point.mod_wsgi]
    pymongo = resolved.pymongos[python.name, point.pymongo]
    assert isinstance(mod_wsgi, Source)
    assert isinstance(pymongo, Source)
    return BuildSpec(python=python, mod_wsgi=mod_wsgi, pymongo=pymongo)


def _cell(point: Point, config: Config, resolved: ResolvedAxes) -> Cell:
    spec = _spec(point, resolved)
    deployed = point.topology is not Topology.NONE
    alone = point.interpreter is InterpreterKind.MAIN
    return Cell(
        python=spec.python.version,
        python_name=spec.python.name,
        mod_wsgi=spec.mod_wsgi.version,
        mod_wsgi_path=spec.mod_wsgi.path,
        pymongo=spec.pymongo.version,
        pymongo_path=spec.pymongo.path,
        topology=point.topology,
        mode=point.mode,
        mpm=point.mpm,
        interpreter=point.interpreter,
        mongodb=resolved.servers[point.mongodb].name if deployed else "",
        sub_interpreters=1 if alone else config.sub_interpreters,
        maximum_requests=config.maximum_requests,
        control=config.control,
        app=config.app,
    )


def _rank(cell: Cell) -> tuple[object, ...]:
    """The likely to fail come first: rare kinds, new versions, and embedded mode."""
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


def _excluded(point: Point, reason: str) -> Excluded:
    axes = {axis: _shown(value) for axis, value in _values(point)}
    return Excluded(axes=axes, reason=reason)


def _shown(value: str) -> str:
    """A value as it was asked for, but for a URI, which may hold a password."""
    return URI if is_uri(value) else value


def _matches(point: Point, exclusion: Combination, resolved: ResolvedAxes) -> bool:
    for axis in AXES:
        patterns = getattr(exclusion, axis)
        names = _called(point, axis, resolved)
        if patterns and not any(
            fnmatchcase(name, pattern) for pattern in patterns for name in names
        ):
            return False
    return True


def _called(point: Point, axis: str, resolved: ResolvedAxes) -> set[str]:
    """All that a value of an axis is called: as it was asked for, and what it stands for."""
    asked = str(getattr(point, axis))
    python = resolved.pythons[point.python]
    if axis == "python":
        return {asked, python.name, python.version, python.short}
    if axis == "mongodb":
        server = resolved.servers.get(asked)
        return {asked, server.name} if server else {asked}
    answers = {"mod_wsgi": resolved.mod_wsgis, "pymongo": resolved.pymongos}.get(axis, {})
    answer = answers.get((python.name, asked))
    return {asked, answer.version} if isinstance(answer, Source) else {asked}


def _values(point: Point) -> Iterator[tuple[str, str]]:
    for axis in AXES:
        yield axis, str(getattr(point, axis))


def _check_axes(
    config: Config,
    resolved: ResolvedAxes,
    alive: set[tuple[str, str]],
    excluded: Sequence[Excluded],
) -> None:
    """A value of an axis that is in no cell would be a test that silently is none."""
    for axis in AXES:
        for value in config.axis(axis):
            if (axis, str(value)) not in alive and not _is_detected(axis, value, config, resolved):
                shown = _shown(value)
                reasons = dict.fromkeys(one.reason for one in excluded if one.axes[axis] == shown)
                told = "; ".join(list(reasons)[:3]) or "nothing is left to combine it with"
                what = f"{axis} {shown} is in" if value else "there is"
                raise UsageError(f"{what} no cell at all: {told}")


def _is_detected(axis: str, value: str, config: Config, resolved: ResolvedAxes) -> bool:
    """Whether nobody asked for this value, and the deployments that are there are of another."""
    there = {resolved.servers[one].topology for one in config.values("mongodb")}
    usual = axis == "topology" and config.topology == DEPLOYED
    return usual and None not in there and value not in there


def _select(cells: Sequence[Cell], only: Sequence[str]) -> tuple[tuple[Cell, ...], list[Excluded]]:
    """Those that ``only`` asks for, and the others, which are left out for that reason."""
    for pattern in only:
        if not any(fnmatchcase(cell.id, pattern) for cell in cells):
            raise UsageError(
                f"no cell matches '{pattern}': 'wsgiproof list' shows their names, "
                f"such as {cells[0].id}"
            )
    chosen = [cell for cell in cells if not only or any(fnmatchcase(cell.id, one) for one in only)]
    left = {cell.id: cell.axes for cell in cells if cell not in chosen}
    others = [
        Excluded(
            axes={axis: str(axes[axis]) for axis in AXES},
            reason="it is not selected",
            cell=name,
        )
        for name, axes in left.items()
    ]
    return tuple(chosen), others
