"""The axes of the matrix in the words of a report, from the cells alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath

from wsgiproof.records.cell import Cell, InterpreterKind, Loading, Resolution

_TITLES = {"python": "Python", "mod_wsgi": "mod_wsgi", "httpd": "Apache"}
_SHORT = 10
"""Digits of a commit."""


def _python(cell: Cell) -> str:
    named = cell.python_name and not f"{cell.python}.".startswith(f"{cell.python_name}.")
    return f"{cell.python} ({cell.python_name})" if named else cell.python


def _from(version: str, path: str, commit: str) -> str:
    origin = " ".join([PurePath(path).name, commit[:_SHORT]]).strip()
    return f"{version} ({origin})" if origin else version


def _httpd(cell: Cell) -> str:
    # Two of the same version differ in their paths.
    return f"Apache {cell.httpd} ({cell.httpd_path})" if cell.httpd else "the machine's Apache"


def _sub_interpreters(cell: Cell) -> str:
    alone = cell.interpreter is InterpreterKind.MAIN
    return "" if alone else f"{cell.sub_interpreters} sub interpreters"


def _number(count: int, what: str, whats: str) -> str:
    if not count:
        return f"usual number of {whats}"
    return f"{count} {what if count == 1 else whats}"


def _processes(cell: Cell) -> str:
    told = _number(cell.processes, "process", "processes")
    return f"{cell.min_processes} to {told}" if cell.min_processes else told


def _recycled(cell: Cell) -> str:
    requests = cell.maximum_requests
    return f"replaced after {requests:,} requests" if requests else "never replaced"


_BEFORE: Mapping[str, Callable[[Cell], str]] = {
    "python": _python,
    "mod_wsgi": lambda cell: _from(cell.mod_wsgi, cell.mod_wsgi_path, cell.mod_wsgi_commit),
}
_AFTER: Mapping[str, Callable[[Cell], str]] = {
    "httpd": _httpd,
    "mode": lambda cell: str(cell.mode),
    "mpm": lambda cell: str(cell.mpm),
    "interpreter": lambda cell: str(cell.interpreter),
    "loading": lambda cell: str(cell.loading),
    "sub_interpreters": _sub_interpreters,
    "virtual_hosts": lambda cell: "virtual hosts" if cell.virtual_hosts else "one server",
    "processes": _processes,
    "threads": lambda cell: _number(cell.threads, "thread", "threads"),
    "maximum_requests": _recycled,
    "resolution": lambda cell: f"{cell.resolution} dependencies",
    "control": lambda cell: cell.control or "no control",
    "app": lambda cell: cell.app_name or "wsgiproof's own application",
    "httpd_conf": lambda cell: PurePath(cell.httpd_conf).name or "wsgiproof's own httpd.conf",
}
_COMMON = {**_BEFORE, **_AFTER}
_UNSET_IS_USUAL = frozenset(
    {
        "httpd",
        "virtual_hosts",
        "processes",
        "threads",
        "maximum_requests",
        "control",
        "app",
        "httpd_conf",
    }
)


def axes_of(cells: Iterable[Cell]) -> list[str]:
    """Return the axes of these cells, those of their subjects included, in their order."""
    of_subjects = dict.fromkeys(one.axis for cell in cells for one in cell.of_subject)
    return [*_BEFORE, *of_subjects, *_AFTER]


def value_of(axis: str, cell: Cell) -> str:
    """Return the value of an axis in a cell; empty if it has none."""
    if axis in _COMMON:
        return _COMMON[axis](cell)
    for one in cell.of_subject:
        if one.axis == axis:
            if one.value and not one.label:  # such as 'none', which needs to say of what
                return f"{axis.replace('_', ' ')} {one.value}"
            return _from(one.value, one.path, one.commit) or f"usual {axis}"
    return ""


def origins(cell: Cell) -> list[str]:
    """Return the names of the files and directories that versions come from.

    The same checkout has the same name in each run of a CI system, and rarely the same path.
    """
    paths = [cell.mod_wsgi_path, *(one.path for one in cell.of_subject)]
    return [PurePath(path).name for path in paths if path]


def is_usual(axis: str, cell: Cell) -> bool:
    """Whether the value says nothing worth a word, unless cells differ in it."""
    if axis in _UNSET_IS_USUAL:
        return not getattr(cell, axis)
    if axis == "loading":
        return cell.loading is Loading.EAGER
    if axis == "resolution":
        return cell.resolution is Resolution.HIGHEST
    return axis not in _COMMON and not any(one.label for one in cell.of_subject if one.axis == axis)


def versions(cells: Iterable[Cell]) -> list[str]:
    """Return the axes whose values are versions."""
    cells = list(cells)
    return [*_BEFORE, *(axis for axis in axes_of(cells) if _has_versions(axis, cells))]


def _has_versions(axis: str, cells: Iterable[Cell]) -> bool:
    return axis not in _COMMON and any(cell.value(axis)[:1].isdigit() for cell in cells)


def varying(cells: Iterable[Cell]) -> list[str]:
    """Return the axes in which these cells differ."""
    cells = list(cells)
    return [axis for axis in axes_of(cells) if len(values(axis, cells)) > 1]


def values(axis: str, cells: Iterable[Cell]) -> list[str]:
    """Return the values of an axis in these cells, each once, in their order."""
    return [value for value in dict.fromkeys(value_of(axis, cell) for cell in cells) if value]


def title(axis: str) -> str:
    """Return the name of an axis."""
    return _TITLES.get(axis, axis.replace("_", " "))


def named(axis: str, value: str) -> str:
    """Return ``mod_wsgi 5.0.2``, but ``daemon``: only a version needs the name of its axis."""
    is_version = axis in _BEFORE or (axis not in _COMMON and value[:1].isdigit())
    return f"{title(axis)} {value}" if is_version else value
