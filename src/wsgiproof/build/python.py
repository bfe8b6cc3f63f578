"""Finding a target Python, and telling whether mod_wsgi can embed it.

mod_wsgi links against the shared library of the interpreter (its installation docs: Python must
be built with ``--enable-shared``), and its build needs that interpreter's headers.
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

from wsgiproof.account import Account
from wsgiproof.cache import Cache
from wsgiproof.environ import child_environment
from wsgiproof.errors import DeadlinePassed, NeedMissing, UsageError
from wsgiproof.ownership import WRITABLE, invoking_users, objection, open_way
from wsgiproof.process import ask
from wsgiproof.toolchain import FoundPython, Python

BUILT = "cpython"
"""The kind of cache entries that hold an interpreter of our own."""
ON_PATH = "PATH"
GIVEN = "given"
"""Where one is from that was named by its path."""

_VERSION = re.compile(r"\d+\.\d+(\.\d+)?t?")
_NAME = re.compile(r"python(\d(\.\d+)?t?)?")
_CONDA_ROOTS = ("miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba", ".conda")
_DEADLINE = 10.0
"""Seconds for an interpreter to say what it is; it takes 0.05 on an idle machine."""
_LONGEST_ANSWER = 65536

_QUESTION = """
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
"""Asked of each candidate; valid on Python 2.7 and newer."""


class _Fault(msgspec.Struct, frozen=True, kw_only=True):
    short: str
    mend: str


def unusable(python: Python, reader: Account) -> str:
    """Why mod_wsgi can't embed this interpreter, with the mend; empty if it can.

    ``reader`` is the account that Apache's children run as.
    """
    fault = _fault(python, reader)
    return f"Python {python.version} ({python.path}) {fault.short}: {fault.mend}" if fault else ""


def _fault(python: Python, reader: Account) -> _Fault | None:
    build = f"or build one: '{_how_to_build(python.version + 't' * python.free_threaded)}'"
    if not python.shared:
        return _Fault(
            short="has no shared library, which mod_wsgi needs",
            mend=f"use one configured with --enable-shared, such as Debian's python3, {build}",
        )
    if not python.headers:
        short = ".".join(python.version.split(".")[:2])
        return _Fault(
            short="has no headers (Python.h)",
            mend=f"install them, on Debian 'apt-get install python{short}-dev', {build}",
        )
    blocked = reader.cannot_reach(Path(python.stdlib))
    if blocked:
        return _Fault(
            short=f"can't be read by Apache's user '{reader.name}', because of {blocked}",
            mend=f"'chmod o+x {blocked}', or use a Python outside it",
        )
    return None


def _how_to_build(version: str) -> str:
    return f"wsgiproof build python {version}"


def describe(path: Path) -> Python:
    """Ask the interpreter at ``path`` what it is. Raises :class:`UsageError` if it can't answer."""
    try:
        file = path.stat()
    except OSError:
        return _describe(path, ())
    return _describe(path, (file.st_ino, file.st_size, file.st_mtime_ns))


@functools.cache
def _describe(path: Path, file: tuple[int, ...]) -> Python:
    """Each is asked once, for as long as the file is the same: a matrix asks for several."""
    try:
        python = msgspec.convert(json.loads(_ask(path)), Python)
        Version(python.version)
    except OSError as error:
        raise UsageError(f"{path} can't be run: {error.strerror}") from error
    except DeadlinePassed as error:
        raise UsageError(f"{path} did not say within {_DEADLINE:g} s what it is") from error
    except ValueError as error:
        raise UsageError(f"{path} is not a working Python interpreter") from error
    return python


def _ask(path: Path) -> str:
    """What the program answers: so much of it, and within so long, as an interpreter needs."""
    return ask(
        [path, "-S", "-c", _QUESTION],
        deadline=_DEADLINE,
        env=child_environment(),
        largest=_LONGEST_ANSWER,
        stderr=DEVNULL,
    ).output


def choose(wanted: str | None, reader: Account) -> Python:
    """The interpreter that ``--python`` names, or the best one at hand.

    ``wanted`` is a path (an environment's stands for its base), a command (``python3.12``), a
    version (``3.12.1``), or its first numbers (``3.12``), which stand for the newest such version
    here that mod_wsgi can embed; of several builds of one version, the first of :func:`installed`.
    A pre-release is taken only where its own version is wanted (``3.15.0b1``). Without ``wanted``:
    the Python that runs wsgiproof if mod_wsgi can embed it, else the first of :func:`installed`
    that it can.
    Raises :class:`UsageError` if there is no such Python and :class:`NeedMissing` if there is, but
    it can't be used.
    """
    if wanted is None:
        return _best(reader)
    found = list(_named(wanted))
    if not found:
        at_hand = ", ".join(dict.fromkeys(python.version for python in installed()))
        raise UsageError(
            f"there is no Python '{wanted}' on this machine; at hand: {at_hand}; "
            f"'{_how_to_build(_full(wanted))}' builds one from source"
        )
    for python in found:
        if not unusable(python, reader):
            return python
    raise NeedMissing(unusable(found[0], reader))


def choose_all(wanted: Sequence[str], reader: Account) -> tuple[Python, ...]:
    """The interpreters of an axis, each with a name of its own; an empty word: the best at hand.

    A version that was asked for is the name; else the version's first two numbers are, or, where
    two would be called the same, all of it. Raises what :func:`choose` does, and
    :class:`UsageError` if two different ones have nothing to be told apart by.
    """
    found = {word: choose(word or None, reader) for word in wanted}
    names = _names(found)
    return tuple(
        msgspec.structs.replace(one, name=names[one.path], asked=word)
        for word, one in found.items()
    )


def _names(found: dict[str, Python]) -> dict[str, str]:
    """The name of each interpreter, by its path: it may have been asked for twice."""
    pythons = {one.path: one for one in found.values()}
    names = {
        one.path: word if _VERSION.fullmatch(word) else one.short
        for word, one in reversed(found.items())
    }
    shared = Counter(names.values())
    for path, one in pythons.items():
        if shared[names[path]] > 1:
            names[path] = one.version + "t" * one.free_threaded
    for path, one in pythons.items():
        for rival in pythons:
            if rival != path and names[rival] == names[path]:
                raise UsageError(
                    f"{path} and {rival} are both Python {one.version}: ask for one of them"
                )
    return names


def installed() -> list[Python]:
    """Every CPython here, in the order in which they are preferred: that of the places, and in
    each place the newest first."""
    return [one.python for one in _answers() if one.python is not None]


def found_pythons(reader: Account) -> list[FoundPython]:
    """All that :func:`installed` has, and what does not answer, each with what is wrong with it."""
    return [_judged(one, reader) for one in _answers()]


def built_in(entry: Path) -> list[Path]:
    """The interpreters in an entry of the cache: of our own build, or of uv's."""
    return _interpreters([entry / "bin", *sorted(entry.glob("cpython-*/bin"))])


def _judged(found: FoundPython, reader: Account) -> FoundPython:
    fault = _fault(found.python, reader) if found.python else None
    return msgspec.structs.replace(found, problem=fault.short) if fault else found


def _answers() -> list[FoundPython]:
    """What is in each place, in the order in which it is preferred; each interpreter once."""
    places = _places()
    asked: dict[Path, int] = {}
    for rank, directories in enumerate(places.values()):
        for path in _interpreters(directories):
            asked.setdefault(path, rank)
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda path: _answer(path, places), asked))
    known: dict[str, tuple[int, FoundPython]] = {}
    for rank, found in zip(asked.values(), answers, strict=True):
        known.setdefault(found.path, (rank, found))
    # Of several builds of one version the latest comes first, and stays there.
    newest = sorted(known.values(), key=lambda one: _version(one[1]), reverse=True)
    return [found for _, found in sorted(newest, key=lambda one: one[0])]


def _version(found: FoundPython) -> Version:
    return Version(found.python.version if found.python else "0")


def _answer(path: Path, places: dict[str, list[Path]]) -> FoundPython:
    origin = _origin(path, places)
    # What is on PATH was chosen by the user; the rest is only where interpreters happen to be.
    if path.parent not in places[ON_PATH] and (why := _objection(path)):
        return FoundPython(path=str(path), origin=origin, problem=f"is not run, since {why}")
    try:
        python = describe(path)
    except UsageError as error:
        problem = str(error).removeprefix(f"{path} ")
        return FoundPython(path=str(path), origin=origin, problem=problem)
    told = msgspec.structs.replace(python, origin=origin)
    return FoundPython(path=python.path, origin=origin, python=told)


def _objection(path: Path) -> str:
    """Why another user may have chosen what this program does; empty if none may."""
    users = invoking_users()
    try:
        for one, name in ((path, "it"), (path.parent, str(path.parent))):
            if why := objection(one.stat(), users):
                return f"{name} {why}"
    except OSError:  # it has just gone, which describing it will tell
        return ""
    return f"{way} {WRITABLE}" if (way := open_way(path.parent)) else ""


def _places() -> dict[str, list[Path]]:
    """The directories in which interpreters may be, by what the place is called, best first."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python"))
    # A shim of pyenv stands for any version, and takes long to say which.
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
    """Those that conda has written down, and those of its usual places."""
    with contextlib.suppress(OSError):
        listed = Path.home() / ".conda" / "environments.txt"
        yield from (Path(line) for line in listed.read_text().splitlines() if line)
    named = (os.environ.get(name, "") for name in ("CONDA_PREFIX", "MAMBA_ROOT_PREFIX"))
    roots = [*(Path(name) for name in named if name), Path("/opt/conda")]
    for root in (*roots, *(Path.home() / name for name in _CONDA_ROOTS)):
        yield root
        yield from sorted(root.glob("envs/*"))


def _interpreters(directories: Iterable[Path]) -> list[Path]:
    """Files that are named like an interpreter, each once, by the most telling of its names."""
    found: dict[tuple[int, int], Path] = {}
    for directory in directories:
        for path in sorted(directory.glob("python*"), reverse=True):
            if _NAME.fullmatch(path.name):
                with contextlib.suppress(OSError):  # a link to nowhere, or to what is not ours
                    file = path.stat()
                    found.setdefault((file.st_dev, file.st_ino), path.resolve())
    return list(found.values())


def _origin(path: Path, places: dict[str, list[Path]]) -> str:
    """The place that a real file is in; one that PATH leads to may be in another, too."""
    for name, directories in reversed(places.items()):
        if path.parent in (directory.resolve() for directory in directories):
            return name
    return ON_PATH


def _best(reader: Account) -> Python:
    own = describe(Path(sys.executable))
    if not unusable(own, reader):
        return own
    for python in installed():
        if not python.free_threaded and not unusable(python, reader):
            return python
    raise NeedMissing(unusable(own, reader))


def _at(path: Path, origin: str) -> Python:
    """The interpreter at ``path``, or that of the environment there."""
    inside = path / "bin" / "python"
    return msgspec.structs.replace(describe(inside if inside.exists() else path), origin=origin)


def _full(wanted: str) -> str:
    """``3.13t`` is no version that can be built, and ``3.13.Nt`` shows what is missing."""
    release = wanted.removesuffix("t")
    return release + ".N" * (release.count(".") < 2) + "t" * wanted.endswith("t")


def _named(wanted: str) -> Iterator[Python]:
    command = shutil.which(wanted)
    if "/" in wanted or command:
        path = Path(command or wanted)
        if not path.exists():
            raise UsageError(f"there is no Python at {wanted}")
        yield _at(path, GIVEN if "/" in wanted else ON_PATH)
        return
    try:
        version = Version(wanted.removesuffix("t"))
    except InvalidVersion as error:
        raise UsageError(
            f"'{wanted}' is not a Python: give a version such as 3.12, a command such as "
            f"python3.12, or a path such as ./{wanted}"
        ) from error
    yield from sorted(
        (
            python
            for python in installed()
            if python.free_threaded == wanted.endswith("t")
            and _fits(Version(python.version), version)
        ),
        key=lambda python: Version(python.version),
        reverse=True,
    )


def _fits(version: Version, wanted: Version) -> bool:
    """Whether a version is the wanted one, or begins with its numbers."""
    if version.is_prerelease or wanted.is_prerelease:
        return version == wanted
    return version.release[: len(wanted.release)] == wanted.release
