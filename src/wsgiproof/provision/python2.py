"""Python 2.7, which uv does not support: packages with pip, environments with virtualenv.

virtualenv 20.21.1 is the last version that makes environments for 2.7 (its changelog: "20.22.0").
It contains what 2.7 needs and may lack: pip 20.3.4, setuptools 44 and wheel.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import parse_sdist_filename, parse_wheel_filename

from wsgiproof.errors import BuildFailed, CannotRun, Unsupported, UsageError
from wsgiproof.process.commands import Completed, run
from wsgiproof.process.environ import COMPILE, DOWNLOAD, child_environment
from wsgiproof.process.leftovers import temporary_directory
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.index import (
    MINIMUM,
    check_version,
    error_line,
    requirement,
    run_uv,
    version_shown,
)
from wsgiproof.provision.toolchain import Python

_VIRTUALENV = "virtualenv==20.21.1"
_RESOLVE_DEADLINE = 120.0
_INSTALL_DEADLINE = 600.0


def find_version(package: str, version: str, python: Python, cache: Cache) -> str:
    """Do what :func:`wsgiproof.provision.packages.find_version` says, with ``pip download``."""
    check_version(package, version)
    if version == MINIMUM:
        raise UsageError(
            f"'{MINIMUM}' is not supported for Python 2.7: give a version of {package}"
        )
    with temporary_directory() as scratch:
        done = _pip(
            ["download", "--no-deps", "--dest", str(scratch), requirement(package, version)],
            python,
            cache,
            deadline=_RESOLVE_DEADLINE,
        )
        if done.returncode == 0:
            (downloaded,) = scratch.iterdir()
            return _version_of(downloaded.name)
    raise unresolved(package, version, python, done.output)


def make_environment(python: Python, home: Path) -> None:
    """Make an empty environment of ``python`` at ``home``."""
    _virtualenv(python, home, ["--no-pip", "--no-setuptools", "--no-wheel"])


def install(
    requirements: Sequence[str],
    target: Path,
    python: Python,
    cache: Cache,
    *,
    constraints: Path | None = None,
    log: Path,
    env: Mapping[str, str] | None = None,
) -> None:
    """Install ``requirements`` and their dependencies for ``python`` into ``target``.

    The first is built from its sdist, since an old wheel may be for another unicode width or have
    no extension. Raises :class:`BuildFailed` with the error of the build.
    """
    flags = ["--target", str(target)]
    if len(requirements) > 1:
        flags += ["--no-binary", Requirement(requirements[0]).name]
    else:
        flags += ["--no-deps", "--no-binary", ":all:"]
    if constraints:
        # In pip's default resolver for 2.7, a constraint overrides a requirement.
        flags += ["--use-feature", "2020-resolver", "--constraint", str(constraints)]
    done = _pip(
        ["install", *flags, *requirements],
        python,
        cache,
        deadline=_INSTALL_DEADLINE,
        env=env,
        log=log,
    )
    if done.returncode != 0:
        within = " within the constraints" if constraints and constraints.read_text() else ""
        raise BuildFailed(
            f"could not build or install {' '.join(requirements)} for Python {python.version}"
            f"{within}: {error_line(done.output)} (see {log})"
        )


def site_packages(home: Path) -> Path:
    """Return the directory of packages in an environment of Python 2.7."""
    return home / "lib" / "python2.7" / "site-packages"


def _version_of(filename: str) -> str:
    if filename.endswith(".whl"):
        return str(parse_wheel_filename(filename)[1])
    return str(parse_sdist_filename(filename)[1])


def unresolved(package: str, version: str, python: Python, output: str) -> Exception:
    """Return the error that pip's output means. It lists all versions for this Python, oldest
    first."""
    listed = re.search(r"\(from versions: (?:none|(?:.*, )?(?P<newest>[^,\s]+))\)", output)
    if listed is None:
        return CannotRun(f"{package} can't be looked up: {error_line(output)}")
    newest = listed["newest"]
    if newest is None:
        return CannotRun(f"the package index does not answer, so {package} can't be looked up")
    return Unsupported(
        f"there is no {version_shown(package, version)} for Python {python.version}: the newest is "
        f"{newest}"
    )


def _pip(
    arguments: list[str],
    python: Python,
    cache: Cache,
    *,
    deadline: float,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Completed:
    flags = ["--no-cache-dir", "--disable-pip-version-check", "--no-python-version-warning"]
    command = [str(_pip_environment(python, cache)), "-m", "pip", *flags, *arguments]
    # A constraint in the user's own configuration must not affect what a cell is made of. It also
    # makes `pip download` of this pip fail with an AssertionError.
    clean = {
        **child_environment(DOWNLOAD, COMPILE),
        "PIP_CONSTRAINT": os.devnull,
        **(env or {}),
    }
    return run(command, deadline=deadline, env=clean, log=log)


def _pip_environment(python: Python, cache: Cache) -> Path:
    """Return the interpreter of an environment of ``python`` with a pip that supports 2.7."""
    key = {"version": _VIRTUALENV, "python": python.version, "interpreter": python.path}
    entry = cache.entry("pip", key, lambda directory: _virtualenv(python, directory / "env", []))
    return entry / "env" / "bin" / "python"


def _virtualenv(python: Python, home: Path, flags: list[str]) -> None:
    tool = ["tool", "run", "--isolated", "--python", sys.executable, "--from", _VIRTUALENV]
    with temporary_directory() as scratch:
        # By default its data is in the user's home, and it looks for updates from there.
        private = ["--app-data", str(scratch), "--no-periodic-update"]
        done = run_uv(
            [*tool, "virtualenv", *private, "--python", python.path, *flags, home], deadline=120
        )
    if done.returncode != 0:
        raise BuildFailed(
            f"could not make an environment of Python {python.version}: {error_line(done.output)}"
        )
