"""What a project needs: the dependencies of its ``pyproject.toml``, as ``uv.lock`` pins them.

Both files are only read. uv sees copies of them in an empty directory, without a network, so that
nothing of the project is run, built or written.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from wsgiproof.errors import UsageError, did_you_mean
from wsgiproof.files import Directory
from wsgiproof.process.leftovers import temporary_directory
from wsgiproof.provision import index

_PYPROJECT, _LOCK, _EXPORTED = "pyproject.toml", "uv.lock", "requirements.txt"
_LARGEST_PYPROJECT = 1 << 20
"""Bytes."""
_LARGEST_LOCK = 64 << 20
_EXPORT_DEADLINE = 120.0
"""Seconds."""
_T = TypeVar("_T")
_EXPORT = (
    *("--frozen", "--no-emit-project", "--no-emit-local", "--no-default-groups", "--no-hashes"),
    *("--no-header", "--no-annotate", "--offline", "--no-python-downloads"),
)


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """The dependencies of a project."""

    requirements: tuple[str, ...]
    requires_python: str = ""
    notes: tuple[str, ...] = ()
    """What is tried of it and what is not, in sentences."""


class _Table(msgspec.Struct, kw_only=True, rename="kebab"):
    """The table ``[project]``."""

    name: str
    requires_python: str = ""
    dependencies: tuple[str, ...] = ()
    optional_dependencies: dict[str, tuple[str, ...]] = {}
    dynamic: tuple[str, ...] = ()


class _Uv(msgspec.Struct):
    sources: dict[str, Any] = {}


class _Tool(msgspec.Struct):
    uv: _Uv = msgspec.field(default_factory=_Uv)


class _PyProject(msgspec.Struct):
    project: _Table | None = None
    tool: _Tool = msgspec.field(default_factory=_Tool)


class _Needed(msgspec.Struct):
    """A dependency of the project when it was locked."""

    name: str
    specifier: str = ""


class _Metadata(msgspec.Struct, rename="kebab"):
    requires_dist: tuple[_Needed, ...] = ()


class _Locked(msgspec.Struct):
    name: str
    source: dict[str, Any] = {}
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)

    @property
    def local(self) -> str:
        """Where it is on this machine; empty if it comes from elsewhere."""
        places = (self.source.get(name) for name in ("editable", "virtual", "directory", "path"))
        return next((str(place) for place in places if place), "")


class _Lock(msgspec.Struct):
    package: tuple[_Locked, ...] = ()


def read_project(directory: Path, extras: Sequence[str]) -> Project:
    """Return the dependencies of the project in ``directory``, with those of its ``extras``.

    If it has a ``uv.lock``, they are all that this pins. Raises :class:`UsageError` if a file is
    missing, is a link, can't be read, or does not fit the other one, and if an extra is unknown.
    """
    try:
        with Directory(directory, follow=True) as opened:
            pyproject = _read(opened, _PYPROJECT, _LARGEST_PYPROJECT)
            lock = _read(opened, _LOCK, _LARGEST_LOCK) if opened.names(_LOCK) else None
    except OSError as error:
        raise UsageError(f"--project {directory}: {error.strerror}") from error
    path = directory / _PYPROJECT
    parsed = _parsed(pyproject, path, _PyProject)
    if parsed.project is None:
        raise UsageError(f"--project {path}: it has no [project] table, which lists dependencies")
    known = {canonicalize_name(name): name for name in parsed.project.optional_dependencies}
    for extra in extras:
        if canonicalize_name(extra) not in known:
            near = did_you_mean(extra, known.values())
            raise UsageError(f"--project {path}: it has no extra '{extra}'{near}")
    declared = _Declared(parsed.project, path)
    if lock is None:
        found, left_out = declared.required(extras, parsed.tool.uv.sources)
    else:
        found, left_out = _locked(parsed.project, declared, extras, directory, pyproject, lock)
    if not found:
        raise UsageError(f"--project {path}: it needs nothing that can be installed from an index")
    name = parsed.project.name
    notes = [f"Only what {name} needs is tried: the project is neither built nor imported."]
    if lock is not None:
        notes.append(f"The versions are those of {directory / _LOCK}.")
    if left_out:
        names = ", ".join(sorted(left_out))
        notes.append(f"Not tried, since they do not come from an index: {names}.")
    return Project(
        requirements=tuple(dict.fromkeys(found)),
        requires_python=parsed.project.requires_python,
        notes=tuple(notes),
    )


def check_python(project: Project, title: str, version: str) -> None:
    """Raise :class:`UsageError` if the project does not support this version of Python."""
    try:
        fits = SpecifierSet(project.requires_python).contains(Version(version), prereleases=True)
    except (InvalidSpecifier, InvalidVersion) as error:
        raise UsageError(f"the project's requires-python can't be read: {error}") from error
    if not fits:
        raise UsageError(
            f"the project requires Python {project.requires_python}, which {title} is not: name "
            "another --python"
        )


def _read(directory: Directory, name: str, largest: int) -> bytes:
    try:
        return directory.read(name, largest)
    except FileNotFoundError as error:
        raise UsageError(f"--project {directory.path}: it has no {name}") from error
    except OSError as error:
        raise UsageError(f"--project {directory.path / name}: {error.strerror}") from error


def _parsed(content: bytes, path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(tomllib.loads(content.decode()), kind)
    except (UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"--project {path}: it is not TOML in UTF-8") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"--project {path}: {error}") from error


class _Declared:
    """The dependencies that ``[project]`` lists."""

    def __init__(self, table: _Table, path: Path) -> None:
        self._path = path
        self._name = canonicalize_name(table.name)
        self._dynamic = {"dependencies", "optional-dependencies"}.intersection(table.dynamic)
        self._always = table.dependencies
        self._extras = {
            canonicalize_name(name): needed for name, needed in table.optional_dependencies.items()
        }

    def required(
        self, extras: Iterable[str], sources: Mapping[str, Any]
    ) -> tuple[list[str], set[str]]:
        """Return what an index has to have, and the names of what comes from elsewhere."""
        if self._dynamic:
            raise UsageError(
                f"--project {self._path}: its {' and '.join(sorted(self._dynamic))} are made by "
                "its build, which an audit does not run: lock it with 'uv lock', or use -r"
            )
        elsewhere = {canonicalize_name(name) for name, one in sources.items() if _elsewhere(one)}
        found: list[str] = []
        left_out: set[str] = set()
        for one in self._all(extras):
            if canonicalize_name(one.name) in elsewhere or (one.url or "").startswith("file:"):
                left_out.add(one.name)
            else:
                found.append(str(one))
        return found, left_out

    def every(self) -> list[Requirement]:
        """Return the dependencies with those of all extras, for a comparison."""
        return [*self._all(self._extras)]

    def _all(self, extras: Iterable[str]) -> Iterator[Requirement]:
        """An extra may ask for others of the same project."""
        yield from map(self._requirement, self._always)
        waiting = [canonicalize_name(name) for name in extras]
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            for one in map(self._requirement, self._extras.get(name, ())):
                if canonicalize_name(one.name) == self._name:
                    waiting += map(canonicalize_name, one.extras)
                else:
                    yield one

    def _requirement(self, text: str) -> Requirement:
        try:
            return Requirement(text)
        except InvalidRequirement as error:
            raise UsageError(f"--project {self._path}: '{text}' is not a requirement") from error


def _elsewhere(source: Any) -> bool:
    """Whether a source of uv, or one of several, is none that an index has."""
    several = source if isinstance(source, list) else [source]
    return any(isinstance(one, dict) and "index" not in one for one in several)


def _locked(
    table: _Table,
    declared: _Declared,
    extras: Sequence[str],
    directory: Path,
    pyproject: bytes,
    lock: bytes,
) -> tuple[list[str], set[str]]:
    path = directory / _LOCK
    packages = _parsed(lock, path, _Lock).package
    name = canonicalize_name(table.name)
    itself = next((one for one in packages if one.name == name and one.local == "."), None)
    if itself is None:
        raise UsageError(f"--project {path}: it does not lock {table.name}: run 'uv lock' there")
    if "dependencies" not in table.dynamic and "optional-dependencies" not in table.dynamic:
        _check_fits(declared.every(), itself.metadata.requires_dist, name, path)
    left_out = {one.name for one in packages if one.local and one is not itself}
    return _exported(pyproject, lock, extras, path), left_out


def _check_fits(
    declared: Iterable[Requirement], locked: Iterable[_Needed], itself: str, path: Path
) -> None:
    """Raise :class:`UsageError` if the project was changed after it was locked.

    The specifiers are compared where the lock has one: it has none for what is not on an index.
    """
    now: dict[str, set[SpecifierSet]] = {}
    for one in declared:
        now.setdefault(canonicalize_name(one.name), set()).add(one.specifier)
    then: dict[str, set[SpecifierSet]] = {}
    for needed in locked:
        if needed.name != itself:
            specifiers = then.setdefault(needed.name, set())
            if needed.specifier:
                specifiers.add(_specifiers(needed.specifier, path))
    changed = {*now} ^ {*then}
    changed |= {name for name in {*now} & {*then} if not then[name] <= now[name]}
    if changed:
        names = ", ".join(sorted(changed))
        raise UsageError(
            f"--project {path}: it does not fit {_PYPROJECT} any more ({names}): "
            "run 'uv lock' there"
        )


def _specifiers(text: str, path: Path) -> SpecifierSet:
    try:
        return SpecifierSet(text)
    except InvalidSpecifier as error:
        raise UsageError(f"--project {path}: '{text}' is not a version specifier") from error


def _exported(pyproject: bytes, lock: bytes, extras: Sequence[str], path: Path) -> list[str]:
    """Return what a lock pins, with its markers: one line for each."""
    chosen = [flag for extra in extras for flag in ("--extra", extra)]
    with temporary_directory() as scratch:
        (scratch / _PYPROJECT).write_bytes(pyproject)
        (scratch / _LOCK).write_bytes(lock)
        target = scratch / _EXPORTED
        done = index.run_uv(
            ["export", *_EXPORT, *chosen, "--project", scratch, "--directory", scratch,
             "--python", sys.executable, "--output-file", target],
            deadline=_EXPORT_DEADLINE,
        )  # fmt: skip
        if done.returncode != 0:
            raise UsageError(f"--project {path}: {index.error_line(done.output)}")
        lines = target.read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith(("#", "-"))]
