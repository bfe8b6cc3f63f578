"""The axes of the matrix in the words of a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath

from wsgiproof.records.cell import Cell, InterpreterKind

VERSIONS = ("python", "mod_wsgi", "pymongo")
"""The axes whose values are versions."""
_NAMES = {"python": "Python", "mod_wsgi": "mod_wsgi", "pymongo": "PyMongo"}


def _python(cell: Cell) -> str:
    named = cell.python_name and not f"{cell.python}.".startswith(f"{cell.python_name}.")
    return f"{cell.python} ({cell.python_name})" if named else cell.python


def _from(version: str, path: str) -> str:
    return f"{version} ({PurePath(path).name})" if path else version


def _sub_interpreters(cell: Cell) -> str:
    alone = cell.interpreter is InterpreterKind.MAIN
    return "" if alone else f"{cell.sub_interpreters} sub interpreters"


def _recycled(cell: Cell) -> str:
    requests = cell.maximum_requests
    return f"replaced after {requests:,} requests" if requests else "never replaced"


AXES: Mapping[str, Callable[[Cell], str]] = {
    "python": _python,
    "mod_wsgi": lambda cell: _from(cell.mod_wsgi, cell.mod_wsgi_path),
    "pymongo": lambda cell: _from(cell.pymongo, cell.pymongo_path),
    "topology": lambda cell: str(cell.topology),
    "mode": lambda cell: str(cell.mode),
    "mpm": lambda cell: str(cell.mpm),
    "interpreter": lambda cell: str(cell.interpreter),
    "mongodb": lambda cell: cell.mongodb or "usual MongoDB",
    "sub_interpreters": _sub_interpreters,
    "maximum_requests": _recycled,
    "control": lambda cell: cell.control or "no control",
    "app": lambda cell: cell.app_name or "wsgiproof's own application",
}
"""For each axis a function that names its value in a cell; empty if it has none."""


def varying(cells: Iterable[Cell]) -> list[str]:
    """Return the axes in which these cells differ."""
    cells = list(cells)
    return [axis for axis in AXES if len(values(axis, cells)) > 1]


def values(axis: str, cells: Iterable[Cell]) -> list[str]:
    """Return the values of an axis in these cells, each once, in their order."""
    return [value for value in dict.fromkeys(map(AXES[axis], cells)) if value]


def title(axis: str) -> str:
    """Return the name of an axis."""
    return _NAMES.get(axis, axis.replace("_", " "))


def named(axis: str, value: str) -> str:
    """Return ``mod_wsgi 5.0.2``, but ``daemon``: most values need no name of their axis."""
    return f"{_NAMES[axis]} {value}" if axis in _NAMES else value
