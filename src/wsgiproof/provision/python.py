"""Find target Pythons, and check whether mod_wsgi can embed them.

mod_wsgi links against the shared library of the interpreter (its installation docs: Python must be
built with ``--enable-shared``), and its build needs the headers of that interpreter.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import DEVNULL

import msgspec
from packaging.version import InvalidVersion, Version

from wsgiproof.errors import DeadlineExceeded, PrerequisiteMissing, UsageError
from wsgiproof.files import home
from wsgiproof.ownership import WRITABLE, invoking_users, unprotected_directory, why_unsafe
from wsgiproof.process.account import Account
from wsgiproof.process.commands import run_unguarded
from wsgiproof.process.environ import child_environment
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.toolchain import FoundPython, Python

BUILT = "cpython"
"""The kind of cache entries that hold an interpreter built by wsgiproof."""
ON_PATH = "PATH"
GIVEN = "given"
"""The origin of an interpreter that was named by its path."""

_VERSION = re.compile(r"\d+\.\d+(\.\d+)?t?")
_NAME = re.compile(r"python(\d(\.\d+)?t?)?")
_CONDA_ROOTS = ("miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba", ".conda")
_DEADLINE = 60.0
"""Seconds for an interpreter to describe itself; it takes 0.05 on an idle machine, and several on a
busy one."""
_LARGEST_OUTPUT = 65536

msgspec.json.Decoder(Python)  # prepares it for the threads that describe: see cache.Marker

_DESCRIBE_SCRIPT = """
import json, os, platform, sys, sysconfig
get = sysconfig.get_config_var
headers = os.path.join(sysconfig.get_path("include"), "Python.h")
path = getattr(sys, "_base_executable", sys.executable)
if os.path.exists(os.path.join(os.path.dirname(path), os.pardir, "pyvenv.cfg")):
    path = os.path.realpath(path)  # before 3.11 an environment's is its own base
print(json.dumps({
    "version": platform.python_version().rstrip("+"),
    "path": path,
    "prefix": getattr(sys, "base_prefix", sys.prefix),
    "shared": bool(get("Py_ENABLE_SHARED")),
    "headers": os.path.exists(headers),
    "stdlib": os.path.dirname(os.__file__),
    "free_threaded": bool(get("Py_GIL_DISABLED")),
    "build": " ".join(sys.version.split()),
}))
"""
"""Run by each candidate; valid on Python 2.7 and newer."""


class _Problem(msgspec.Struct, frozen=True, kw_only=True):
    summary: str
    fix: str


def why_unusable(python: Python, reader: Account) -> str:
    """Return why mod_wsgi can't embed this interpreter, with the fix; empty if it can.

    ``reader`` is the account that Apache's children run as.
    """
    problem = _problem(python, reader)
    if problem is None:
        return ""
    return f"Python {python.version} ({python.path}) {problem.summary}: {problem.fix}"


def _problem(python: Python, reader: Account) -> _Problem | None:
    build = f"or build one: '{_build_command(python.version + 't' * python.free_threaded)}'"
    if not python.shared:
        return _Problem(
            summary="has no shared library, which mod_wsgi needs",
            fix=f"use one configured with --enable-shared, such as Debian's python3, {build}",
        )
    if not python.headers:
        short = ".".join(python.version.split(".")[:2])
        return _Problem(
            summary="has no headers (Python.h)",
            fix=f"install them, on Debian 'apt-get install python{short}-dev', {build}",
        )
    blocked = reader.cannot_reach(Path(python.stdlib))
    if blocked:
        return _Problem(
            summary=f"can't be read by Apache's user '{reader.name}', because of {blocked}",
            fix=f"'chmod o+x {blocked}', or use a Python outside it",
        )
    return None


def _build_command(version: str) -> str:
    return f"wsgiproof build python {version}"


def describe(path: Path) -> Python:
    """Run the interpreter at ``path`` to learn what it is. Raises :class:`UsageError` if that
    fails."""
    try:
        file = path.stat()
    except OSError:
        return _describe(path, ())
    return _describe(path, (file.st_ino, file.st_size, file.st_mtime_ns))


@functools.cache
def _describe(path: Path, file: tuple[int, ...]) -> Python:
    """Describe each interpreter once, as long as its file is the same."""
    try:
        python = msgspec.convert(json.loads(_run_describe_script(path)), Python)
        Version(python.version)
    except OSError as error:
        raise UsageError(f"{path} can't be run: {error.strerror}") from error
    except DeadlineExceeded as error:
        raise UsageError(f"{path} did not describe itself within {_DEADLINE:g} s") from error
    except ValueError as error:
        raise UsageError(f"{path} is not a working Python interpreter") from error
    return python


def _run_describe_script(path: Path) -> str:
    """Return what the interpreter prints, limited in size and time in case it is another
    program."""
    return run_unguarded(
        [path, "-S", "-c", _DESCRIBE_SCRIPT],
        deadline=_DEADLINE,
        env=child_environment(),
        largest=_LARGEST_OUTPUT,
        stderr=DEVNULL,
    ).output


def choose(requested: str | None, reader: Account) -> Python:
    """Return the interpreter that ``--python`` names, or by default the best available one.

    ``requested`` is a path (that of an environment stands for its base), a command
    (``python3.12``), a version (``3.12.1``), or its first numbers (``3.12``). The first numbers
    stand for the newest such version on this machine that mod_wsgi can embed; of several builds of
    one version, the first of :func:`installed`. A pre-release is taken only if its own version is
    requested (``3.15.0b1``). Without ``requested``: the Python that runs wsgiproof if mod_wsgi can
    embed it, else the first of :func:`installed` that mod_wsgi can embed. Raises
    :class:`UsageError` if there is no such Python, and :class:`PrerequisiteMissing` if it exists
    but can't be used.
    """
    if requested is None:
        return _best(reader)
    candidates = list(_candidates(requested))
    if not candidates:
        available = ", ".join(dict.fromkeys(python.version for python in installed()))
        raise UsageError(
            f"there is no Python '{requested}' on this machine; available: {available}; "
            f"'{_build_command(_buildable_version(requested))}' builds one from source"
        )
    for python in candidates:
        if not why_unusable(python, reader):
            return python
    raise PrerequisiteMissing(why_unusable(candidates[0], reader))


def python_like(other: Python, reader: Account) -> Python:
    """Return the interpreter of this machine with the version of that of another machine, and with
    its name. Raises as :func:`choose`."""
    found = choose(other.version + "t" * other.free_threaded, reader)
    return msgspec.structs.replace(found, name=other.name, asked=other.asked)


def choose_all(values: Sequence[str], reader: Account) -> tuple[Python, ...]:
    """Return the interpreters of an axis, each with a unique name.

    An empty value is the best available one. The name is the requested version if a version was
    requested, else the first two numbers of the version, or the full version if two names would be
    equal. Raises what :func:`choose` does, and :class:`UsageError` if two different interpreters
    would still have the same name.
    """
    chosen = {value: choose(value or None, reader) for value in values}
    names = _names(chosen)
    return tuple(
        msgspec.structs.replace(python, name=names[python.path], asked=value)
        for value, python in chosen.items()
    )


def _names(chosen: dict[str, Python]) -> dict[str, str]:
    """Return the name of each interpreter by its path, since one may have been requested twice."""
    pythons = {python.path: python for python in chosen.values()}
    names = {
        python.path: value if _VERSION.fullmatch(value) else python.short
        for value, python in reversed(chosen.items())
    }
    count = Counter(names.values())
    for path, python in pythons.items():
        if count[names[path]] > 1:
            names[path] = python.version + "t" * python.free_threaded
    for path, python in pythons.items():
        for rival in pythons:
            if rival != path and names[rival] == names[path]:
                raise UsageError(
                    f"{path} and {rival} are both Python {python.version}: name only one of them"
                )
    return names


def installed() -> list[Python]:
    """Return every CPython on this machine, best first: by where it was found, then the newest."""
    return [found.python for found in _search() if found.python is not None]


def found_pythons(reader: Account) -> list[FoundPython]:
    """Return all that :func:`installed` does, and programs that do not describe themselves, each
    with its problem."""
    return [_with_problem(found, reader) for found in _search()]


def built_in(entry: Path) -> list[Path]:
    """Return the interpreters in an entry of the cache, built by wsgiproof or by uv."""
    return _interpreters([entry / "bin", *sorted(entry.glob("cpython-*/bin"))])


def _with_problem(found: FoundPython, reader: Account) -> FoundPython:
    problem = _problem(found.python, reader) if found.python else None
    return msgspec.structs.replace(found, problem=problem.summary) if problem else found


def _search() -> list[FoundPython]:
    """Return what is in all places, best first; each interpreter once."""
    places = _places()
    ranks: dict[Path, int] = {}
    for rank, directories in enumerate(places.values()):
        for path in _interpreters(directories):
            ranks.setdefault(path, rank)
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda path: _inspect(path, places), ranks))
    known: dict[str, tuple[int, FoundPython]] = {}
    for rank, found in zip(ranks.values(), results, strict=True):
        known.setdefault(found.path, (rank, found))
    # The sort is stable: of several builds of one version, the latest remains first.
    newest = sorted(known.values(), key=lambda one: _version(one[1]), reverse=True)
    return [found for _, found in sorted(newest, key=lambda one: one[0])]


def _version(found: FoundPython) -> Version:
    return Version(found.python.version if found.python else "0")


def _inspect(path: Path, places: dict[str, list[Path]]) -> FoundPython:
    origin = _origin(path, places)
    # The user has chosen what is on PATH, but not the other places.
    if path.parent not in places[ON_PATH] and (why := _why_unsafe(path)):
        return FoundPython(path=str(path), origin=origin, problem=f"is not run because {why}")
    try:
        python = describe(path)
    except UsageError as error:
        problem = str(error).removeprefix(f"{path} ")
        return FoundPython(path=str(path), origin=origin, problem=problem)
    python = msgspec.structs.replace(python, origin=origin)
    return FoundPython(path=python.path, origin=origin, python=python)


def _why_unsafe(path: Path) -> str:
    """Return why another user may decide what this program does; empty if none may."""
    users = invoking_users()
    try:
        for one, name in ((path, "it"), (path.parent, str(path.parent))):
            if why := why_unsafe(one.stat(), users):
                return f"{name} {why}"
    except OSError:  # it has just been removed: describing it will fail
        return ""
    if unprotected := unprotected_directory(path.parent):
        return f"{unprotected} {WRITABLE}"
    return ""


def _places() -> dict[str, list[Path]]:
    """Return the directories in which interpreters may be, by the name of the place, best first."""
    pyenv = Path(os.environ.get("PYENV_ROOT", home() / ".pyenv"))
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", home() / ".local/share/uv/python"))
    # Without pyenv's shims: a shim may run any version, and is slow.
    on_path = [
        Path(directory)
        for directory in os.environ.get("PATH", os.defpath).split(os.pathsep)
        if directory and not directory.endswith("/shims")
    ]
    built = [path.parent for entry in Cache().built(BUILT) for path in built_in(entry)]
    return {
        ON_PATH: on_path,
        "pyenv": sorted((pyenv / "versions").glob("*/bin")),
        "uv": sorted(uv.glob("*/bin")),
        "conda": [prefix / "bin" for prefix in _conda_environments()],
        "Debian" if Path("/etc/debian_version").exists() else "system": [Path("/usr/bin")],
        "/usr/local": [Path("/usr/local/bin")],
        "/opt/python": sorted(Path("/opt/python").glob("*/bin")),
        "wsgiproof": built,
    }


def _conda_environments() -> Iterator[Path]:
    """Yield the environments that conda has listed, and those in its usual places."""
    with contextlib.suppress(OSError):
        listed = home() / ".conda" / "environments.txt"
        yield from (Path(line) for line in listed.read_text().splitlines() if line)
    named = (os.environ.get(name, "") for name in ("CONDA_PREFIX", "MAMBA_ROOT_PREFIX"))
    roots = [*(Path(name) for name in named if name), Path("/opt/conda")]
    for root in (*roots, *(home() / name for name in _CONDA_ROOTS)):
        yield root
        yield from sorted(root.glob("envs/*"))


def _interpreters(directories: Iterable[Path]) -> list[Path]:
    """Return files that are named like an interpreter, each once, by its most specific name."""
    found: dict[tuple[int, int], Path] = {}
    for directory in directories:
        for path in sorted(directory.glob("python*"), reverse=True):
            if _NAME.fullmatch(path.name):
                with contextlib.suppress(OSError):  # a dangling link, or not accessible
                    file = path.stat()
                    found.setdefault((file.st_dev, file.st_ino), path.resolve())
    return list(found.values())


def _origin(path: Path, places: dict[str, list[Path]]) -> str:
    """Return the place of a resolved path; a file on PATH may be in another place as well."""
    for name, directories in reversed(places.items()):
        if path.parent in (directory.resolve() for directory in directories):
            return name
    return ON_PATH


def _best(reader: Account) -> Python:
    current = describe(Path(sys.executable))
    if not why_unusable(current, reader):
        return current
    for python in installed():
        if not python.free_threaded and not why_unusable(python, reader):
            return python
    raise PrerequisiteMissing(why_unusable(current, reader))


def _describe_at(path: Path, origin: str) -> Python:
    """Describe the interpreter at ``path``, or that of the environment there."""
    inside = path / "bin" / "python"
    return msgspec.structs.replace(describe(inside if inside.exists() else path), origin=origin)


def _buildable_version(requested: str) -> str:
    """Return the version for the build command: ``3.13t`` is incomplete, so it becomes
    ``3.13.Nt``."""
    release = requested.removesuffix("t")
    return release + ".N" * (release.count(".") < 2) + "t" * requested.endswith("t")


def _candidates(requested: str) -> Iterator[Python]:
    command = shutil.which(requested)
    if "/" in requested or command:
        path = Path(command or requested)
        if not path.exists():
            raise UsageError(f"there is no Python at {requested}")
        yield _describe_at(path, GIVEN if "/" in requested else ON_PATH)
        return
    try:
        version = Version(requested.removesuffix("t"))
    except InvalidVersion as error:
        raise UsageError(
            f"'{requested}' is not a Python: give a version such as 3.12, a command such as "
            f"python3.12, or a path such as ./{requested}"
        ) from error
    fitting = [
        python
        for python in installed()
        if python.free_threaded == requested.endswith("t")
        and _fits(Version(python.version), version)
    ]
    yield from sorted(fitting, key=lambda python: Version(python.version), reverse=True)


def _fits(version: Version, requested: Version) -> bool:
    """Return whether a version is the requested one, or begins with its numbers."""
    if version.is_prerelease or requested.is_prerelease:
        return version == requested
    return version.release[: len(requested.release)] == requested.release
