"""Finding a target Python, and telling whether mod_wsgi can embed it.

mod_wsgi links against the shared library of the interpreter (its installation docs: Python must
be built with ``--enable-shared``), and its build needs that interpreter's headers.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from packaging.version import InvalidVersion, Version

from wsgiproof.account import Account
from wsgiproof.errors import NeedMissing, UsageError
from wsgiproof.toolchain import Python

_VERSION = re.compile(r"\d+\.\d+(\.\d+)?t?")
_NAME = re.compile(r"python(\d(\.\d+)?t?)?")

_QUESTION = """
import json, os, platform, sys, sysconfig
get = sysconfig.get_config_var
headers = os.path.join(sysconfig.get_path("include"), "Python.h")
print(json.dumps({
    "version": platform.python_version(),
    "path": getattr(sys, "_base_executable", sys.executable),
    "prefix": getattr(sys, "base_prefix", sys.prefix),
    "shared": bool(get("Py_ENABLE_SHARED")),
    "headers": os.path.exists(headers),
    "stdlib": os.path.dirname(os.__file__),
    "free_threaded": bool(get("Py_GIL_DISABLED")),
    "build": " ".join(sys.version.split()),
}))
"""
"""Asked of each candidate; valid on Python 2.7 and newer."""


def unusable(python: Python, reader: Account) -> str:
    """Why mod_wsgi can't embed this interpreter, with the mend; empty if it can.

    ``reader`` is the account that Apache's children run as.
    """
    name = f"Python {python.version} ({python.path})"
    if not python.shared:
        return (
            f"{name} has no shared library, which mod_wsgi needs: "
            "use one configured with --enable-shared, such as Debian's python3"
        )
    if not python.headers:
        short = ".".join(python.version.split(".")[:2])
        return (
            f"{name} has no headers (Python.h): "
            f"install them, on Debian 'apt-get install python{short}-dev'"
        )
    blocked = reader.cannot_reach(Path(python.stdlib))
    if blocked:
        return (
            f"{name} can't be read by Apache's user '{reader.name}', because of {blocked}: "
            f"'chmod o+x {blocked}', or use a Python outside it"
        )
    return ""


def describe(path: Path) -> Python:
    """Ask the interpreter at ``path`` what it is. Raises :class:`UsageError` if it can't answer."""
    try:
        answer = subprocess.run(
            [path, "-S", "-c", _QUESTION], capture_output=True, text=True, timeout=30, check=False
        )
        return msgspec.convert(json.loads(answer.stdout), Python)
    except OSError as error:
        raise UsageError(f"{path} can't be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"{path} did not say within 30 s what it is") from error
    except ValueError as error:
        raise UsageError(f"{path} is not a working Python interpreter") from error


def choose(wanted: str | None, reader: Account) -> Python:
    """The interpreter that ``--python`` names, or the best one at hand.

    ``wanted`` is a path, a command (``python3.12``) or a version (``3.12``, ``3.12.1``). Without
    it: the Python that runs wsgiproof if mod_wsgi can embed it, else the newest one that it can.
    Raises :class:`UsageError` if there is no such Python and :class:`NeedMissing` if there is, but
    it can't be used.
    """
    if wanted is None:
        return _best(reader)
    found = list(_named(wanted))
    if not found:
        at_hand = ", ".join(dict.fromkeys(python.version for python in installed()))
        raise UsageError(f"there is no Python '{wanted}' on this machine; at hand: {at_hand}")
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
    """Every CPython here, newest first: PATH's, Debian's, pyenv's, uv's, /opt/python's."""
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(_describe_or_none, _candidates()))
    found = {python.path: python for python in answers if python is not None}
    return sorted(found.values(), key=lambda python: Version(python.version), reverse=True)


def _candidates() -> list[Path]:
    """Files that are named like an interpreter, each real file once."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python"))
    # A shim of pyenv stands for any version, and takes long to say which.
    on_path = [
        Path(directory)
        for directory in os.environ.get("PATH", os.defpath).split(os.pathsep)
        if directory and not directory.endswith("/shims")
    ]
    directories = [*on_path, Path("/usr/bin"), Path("/usr/local/bin")]
    for root in (pyenv / "versions", uv, Path("/opt/python")):
        directories += sorted(root.glob("*/bin"))
    found = (path for directory in directories for path in sorted(directory.glob("python*")))
    return list(dict.fromkeys(path.resolve() for path in found if _NAME.fullmatch(path.name)))


def _describe_or_none(path: Path) -> Python | None:
    try:
        return describe(path)
    except UsageError:
        return None


def _best(reader: Account) -> Python:
    own = describe(Path(sys.executable))
    if not unusable(own, reader):
        return own
    for python in installed():
        if not python.free_threaded and not unusable(python, reader):
            return python
    raise NeedMissing(unusable(own, reader))


def _named(wanted: str) -> Iterator[Python]:
    command = shutil.which(wanted)
    if "/" in wanted or command:
        path = Path(command or wanted)
        if not path.exists():
            raise UsageError(f"there is no Python at {wanted}")
        yield describe(path)
        return
    try:
        parts = Version(wanted.removesuffix("t")).release
    except InvalidVersion as error:
        raise UsageError(
            f"'{wanted}' is neither a Python version, such as 3.12, nor a path to one"
        ) from error
    for python in installed():
        same_build = python.free_threaded == wanted.endswith("t")
        if same_build and Version(python.version).release[: len(parts)] == parts:
            yield python
