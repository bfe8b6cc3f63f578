"""Python 2.7, which uv does not know: its packages come by pip, its environments by virtualenv.

virtualenv 20.21.1 is the last that makes environments for 2.7 (its changelog: "20.22.0"). It brings
what 2.7 needs and may lack: pip 20.3.4, setuptools 44 and wheel.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import parse_sdist_filename, parse_wheel_filename

from wsgiproof.build.index import (
    MINIMUM,
    check_version,
    last_words,
    requirement,
    run_uv,
    shown,
)
from wsgiproof.cache import Cache
from wsgiproof.environ import COMPILE, DOWNLOAD, child_environment
from wsgiproof.errors import BuildFailed, CannotRun, Unsupported, UsageError
from wsgiproof.leftovers import temporary_directory
from wsgiproof.process import Completed, run
from wsgiproof.toolchain import Python

_VIRTUALENV = "virtualenv==20.21.1"
_RESOLVE_DEADLINE = 120.0
_INSTALL_DEADLINE = 600.0


def find_version(package: str, wanted: str, python: Python, cache: Cache) -> str:
    """Do what :func:`wsgiproof.build.packages.find_version` says; pip finds out by downloading."""
    check_version(package, wanted)
    if wanted == MINIMUM:
        raise UsageError(f"'{MINIMUM}' is not known for Python 2.7: name a version of {package}")
    with temporary_directory() as scratch:
        answer = _pip(
            ["download", "--no-deps", "--dest", str(scratch), requirement(package, wanted)],
            python,
            cache,
            deadline=_RESOLVE_DEADLINE,
        )
        if answer.returncode == 0:
            (downloaded,) = scratch.iterdir()
            return _version_of(downloaded.name)
    raise unresolved(package, wanted, python, answer.output)


def make_environment(python: Python, home: Path) -> None:
    """Make an environment of ``python`` at ``home``, with nothing in it."""
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
    """Build the first of ``requirements`` from its sdist for ``python``, and put it into ``target``
    with the others, and what those depend on.

    From the sdist, since an old wheel may be for another unicode width or have no extension.
    Raises :class:`BuildFailed` with the last words of the build.
    """
    flags = ["--target", str(target)]
    if len(requirements) > 1:
        flags += ["--no-binary", Requirement(requirements[0]).name]
    else:
        flags += ["--no-deps", "--no-binary", ":all:"]
    if constraints:
        # The resolver that pip has for 2.7 by default lets a constraint win over a requirement.
        flags += ["--use-feature", "2020-resolver", "--constraint", str(constraints)]
    answer = _pip(
        ["install", *flags, *requirements],
        python,
        cache,
        deadline=_INSTALL_DEADLINE,
        env=env,
        log=log,
    )
    if answer.returncode != 0:
        within = " within the constraints" if constraints and constraints.read_text() else ""
        raise BuildFailed(
            f"could not build or install {' '.join(requirements)} for Python {python.version}"
            f"{within}: "
            f"{last_words(answer.output)} (see {log})"
        )


def site_packages(home: Path) -> Path:
    """Where an environment of Python 2.7 keeps its packages."""
    return home / "lib" / "python2.7" / "site-packages"


def _version_of(filename: str) -> str:
    if filename.endswith(".whl"):
        return str(parse_wheel_filename(filename)[1])
    return str(parse_sdist_filename(filename)[1])


def unresolved(package: str, wanted: str, python: Python, output: str) -> Exception:
    """What pip's refusal means. It lists every version that supports this Python, oldest first."""
    listed = re.search(r"\(from versions: (?:none|(?:.*, )?(?P<newest>[^,\s]+))\)", output)
    if listed is None:
        return CannotRun(f"{package} can't be looked up: {last_words(output)}")
    newest = listed["newest"]
    if newest is None:
        return CannotRun(f"the package index does not answer, so {package} can't be looked up")
    return Unsupported(
        f"there is no {shown(package, wanted)} for Python {python.version}: the newest is {newest}"
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
    command = [str(_workshop(python, cache)), "-m", "pip", *flags, *arguments]
    # A constraint of the user's own configuration must not steer what a cell is made of, and ends
    # `pip download` of this pip with an AssertionError.
    clean = {
        **child_environment(DOWNLOAD, COMPILE),
        "PIP_CONSTRAINT": os.devnull,
        **(env or {}),
    }
    return run(command, deadline=deadline, env=clean, log=log)


def _workshop(python: Python, cache: Cache) -> Path:
    """An environment of ``python`` for building, with a pip that knows 2.7: its interpreter."""
    key = {"version": _VIRTUALENV, "python": python.version, "interpreter": python.path}
    entry = cache.entry(
        "workshop", key, lambda directory: _virtualenv(python, directory / "env", [])
    )
    return entry / "env" / "bin" / "python"


def _virtualenv(python: Python, home: Path, flags: list[str]) -> None:
    tool = ["tool", "run", "--isolated", "--python", sys.executable, "--from", _VIRTUALENV]
    with temporary_directory() as scratch:
        # Its own data would go to the user's home, and it would look for updates from there.
        private = ["--app-data", str(scratch), "--no-periodic-update"]
        answer = run_uv(
            [*tool, "virtualenv", *private, "--python", python.path, *flags, home], deadline=120
        )
    if answer.returncode != 0:
        raise BuildFailed(
            f"could not make an environment of Python {python.version}: {last_words(answer.output)}"
        )
