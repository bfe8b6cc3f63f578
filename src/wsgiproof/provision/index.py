"""The package index, through uv: look up versions, and install packages.

uv resolves against the ``Requires-Python`` of each release, so "the newest that supports this
Python" comes from the index itself and not from a table in wsgiproof.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import uv
from packaging.version import InvalidVersion, Version

from wsgiproof.errors import BuildFailed, CannotRun, Unsupported, UsageError
from wsgiproof.process.commands import Completed, run
from wsgiproof.process.environ import COMPILE, DOWNLOAD, child_environment
from wsgiproof.process.guard.removal import remove_tree
from wsgiproof.process.leftovers import temporary_directory
from wsgiproof.process.locks import acquire, open_lock
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.toolchain import Python
from wsgiproof.records.cell import Resolution

_find_uv_lock = threading.Lock()
"""uv calls ``sysconfig``, whose first call is not safe in several threads (CPython 3.11)."""
_RESOLVE_DEADLINE = 120.0
_INSTALL_DEADLINE = 1800.0
_CLEANUP_DEADLINE = 60.0
"""Seconds that another process may take to clean uv's cache."""
_NO_SOLUTION = re.compile(
    r"No solution found[^\n]*\s+(?:cause:|╰─▶) (?P<why>.*?)(?:\n\s*\n|\s*hint:|\Z)", re.DOTALL
)

_DIAGNOSTIC = re.compile(
    r"^\S+:\d+(:\d+)?: (fatal )?error: |\bld: .*cannot find |undefined reference"
)

_NO_ANSWER = ("error sending request", "dns error", "Could not connect", "Failed to fetch")
"""What uv says if the index can't be reached."""
_PINNED = re.compile(r"^[A-Za-z0-9][\w.-]*(?:\[[^]]*\])?(?:==| @ )\S+$", re.MULTILINE)
"""A line of its result; others are comments and warnings."""

_NEEDED = re.compile(
    r"^(?P<name>[A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?(?:==| @ )\S+ +# via (?P<by>.+)$", re.MULTILINE
)
"""A line of it with what needs the package, separated by commas."""

LATEST = "latest"
"""The newest version that supports a Python; an empty version means the same."""
MINIMUM = "min"
"""The oldest version that has a wheel for a Python."""
_PREFIX = re.compile(r"\d+(\.\d+)?")
"""One or two numbers stand for the newest version that begins with them. Three are exact."""


def find_version(package: str, version: str, python: Python) -> str:
    """Do what :func:`wsgiproof.provision.packages.find_version` says, with uv."""
    check_version(package, version)
    flags = ["--no-deps", "--no-header", "--no-annotate", "--python", python.path]
    flags += ["--prerelease", "explicit"]  # a pre-release is taken only if its version is given
    if version == MINIMUM:
        flags += ["--resolution", "lowest", "--only-binary", package]
    with temporary_directory() as scratch:
        source = scratch / "requirements.in"
        source.write_text(f"{requirement(package, version)}\n")
        done = run_uv(["pip", "compile", source, *flags], deadline=_RESOLVE_DEADLINE)
    if done.returncode != 0:
        raise _unresolved(package, version, python, done.output)
    return _pinned_version(package, done.output)


def resolve(requirements: Sequence[str], python: Python, *, wheels_only: bool) -> tuple[str, ...]:
    """Return the exact versions of ``requirements`` and of all that they need, as requirements.

    Of a version without a wheel for this Python, ``wheels_only`` takes an older one that has one.
    Raises :class:`UsageError` with the reason if there are none, and :class:`CannotRun` if the
    index does not answer.
    """
    flags = ["--no-header", "--no-annotate", "--no-emit-index-url", "--python", python.path]
    if wheels_only:
        flags += ["--only-binary", ":all:"]
    with temporary_directory() as scratch:
        source = scratch / "requirements.in"
        source.write_text("".join(f"{one}\n" for one in requirements))
        done = run_uv(["pip", "compile", source, *flags], deadline=_RESOLVE_DEADLINE)
    if done.returncode == 0:
        return tuple(_PINNED.findall(done.output))
    if any(sign in done.output for sign in _NO_ANSWER):
        raise CannotRun(f"the package index does not answer: {error_line(done.output)}")
    raise UsageError(error_line(done.output))


def nearest(package: str, version: str, python: Python, *, newer: bool) -> str:
    """Return the release next to ``version``, the first newer or else the last older one, that has
    a wheel for this Python and is no pre-release; empty if there is none. A local version, such as
    2.5.1+cpu, counts as its release.

    Raises :class:`CannotRun` if the index does not answer.
    """
    flags = ["--only-binary", package, *(["--resolution", "lowest"] if newer else [])]
    release = version.partition("+")[0]
    return _release(f"{package}{'>' if newer else '<'}{release}", python, flags)


def releases(package: str, oldest: str, newest: str, python: Python) -> tuple[str, ...]:
    """Return these two versions and all releases between them that support this Python, in their
    order. Pre-releases are left out.

    Raises :class:`CannotRun` if the index does not answer.
    """
    found = [oldest]
    end = Version(newest)
    # uv has no list of versions, so each is asked for by the one before it.
    while following := _release(f"{package}>{found[-1]}", python, ["--resolution", "lowest"]):
        if Version(following) >= end:
            break
        found.append(following)
    return (*found, newest)


def _release(requirement: str, python: Python, flags: Sequence[str]) -> str:
    """Return the version that uv chooses for a requirement, no pre-release; empty if there is
    none."""
    command = ["--no-deps", "--no-header", "--no-annotate", "--no-emit-index-url", *flags]
    command += ["--prerelease", "disallow", "--python", python.path]
    with temporary_directory() as scratch:
        source = scratch / "requirements.in"
        source.write_text(f"{requirement}\n")
        done = run_uv(["pip", "compile", source, *command], deadline=_RESOLVE_DEADLINE)
    if done.returncode != 0:
        if any(sign in done.output for sign in _NO_ANSWER):
            raise CannotRun(f"the package index does not answer: {error_line(done.output)}")
        return ""
    return next((one.partition("==")[2] for one in _PINNED.findall(done.output)), "")


def is_exact(version: str) -> bool:
    """Return whether this is one version: neither a word nor the first numbers of a version."""
    return version not in ("", LATEST, MINIMUM) and not _PREFIX.fullmatch(version)


def exact_version(version: str) -> str:
    """Return the same version with three numbers: 4.9 would stand for the newest 4.9.x."""
    while not is_exact(version):
        version += ".0"
    return version


def requirement(package: str, version: str) -> str:
    """Return what an installer is asked for, such as ``flask==3.1.*`` for 3.1."""
    if version in ("", LATEST, MINIMUM):
        return package
    return f"{package}=={version}{'' if is_exact(version) else '.*'}"


def version_shown(package: str, version: str) -> str:
    """Return the name for a message, such as ``flask 3.1.x``; for a word the package alone."""
    if version in ("", LATEST, MINIMUM):
        return package
    return f"{package} {version}{'' if is_exact(version) else '.x'}"


def _pinned_version(package: str, output: str) -> str:
    pinned = re.search(rf"^{re.escape(package)}==(\S+)$", output, re.MULTILINE)
    if pinned is None:
        raise CannotRun(f"the package index gave no version of {package}: {error_line(output)}")
    return pinned[1]


def install(
    requirements: Sequence[str],
    python: Path,
    *,
    log: Path,
    target: Path | None = None,
    subjects: Sequence[str] = (),
    resolution: Resolution = Resolution.HIGHEST,
    constraints: Path | None = None,
    source_only: Sequence[str] = (),
    wheels_only: bool = False,
    env: Mapping[str, str] | None = None,
    use_cache: bool = True,
) -> None:
    """Install ``requirements`` for ``python``, into its environment or into ``target``.

    ``subjects`` names packages among them whose own dependencies are direct ones as well.
    ``source_only`` names packages to build from their sdist, ``wheels_only`` builds none. uv caches
    the wheels that it builds by version and Python tag alone. A build that depends on more (on an
    ``apxs``, or on where libpython is) needs ``use_cache=False``. Raises :class:`BuildFailed` with
    the error of the build.
    """
    requirements = _direct(requirements, subjects, resolution, python, constraints, env, log)
    # With hard links, damage to a file would also damage uv's own cache.
    command: list[str | Path] = ["pip", "install", "--python", python, "--link-mode", "copy"]
    if resolution is not Resolution.HIGHEST:
        command += ["--resolution", resolution]
    if target:
        command += ["--target", target, "--no-deps"]
    if wheels_only:
        command += ["--only-binary", ":all:"]
    for package in source_only:
        command += ["--no-binary", package]
    if constraints:
        command += ["--constraint", constraints]
    if not use_cache:
        command.append("--no-cache")
    done = run_uv([*command, *requirements], deadline=_INSTALL_DEADLINE, env=env, log=log)
    if done.returncode != 0:
        raise BuildFailed(
            f"could not build or install {' '.join(requirements)}: {error_line(done.output)}"
        )
    if not target:
        compile_bytecode(python, log)


def look_ahead(
    requirements: Sequence[str],
    python: Path,
    *,
    subjects: Sequence[str],
    resolution: Resolution,
    constraints: str,
    env: Mapping[str, str],
) -> dict[str, str]:
    """Return what :func:`install` would install of the package index, by name with its version.

    Raises :class:`BuildFailed` if that can't be decided, and :class:`CannotRun` if the index does
    not answer.
    """
    with temporary_directory() as scratch:
        limits, source = scratch / "constraints.txt", scratch / "requirements.in"
        limits.write_text(constraints)
        direct = _direct(requirements, subjects, resolution, python, limits, env, None)
        source.write_text("".join(f"{one}\n" for one in direct))
        command: list[str | Path] = ["pip", "compile", "--python", python, "--constraint", limits]
        command += ["--no-header", "--no-annotate", "--no-emit-index-url"]
        command += ["--resolution", resolution, source]
        done = run_uv(command, deadline=_INSTALL_DEADLINE, env=env)
    if done.returncode == 0:
        pins = (line.partition("==") for line in _PINNED.findall(done.output) if "==" in line)
        return {name: version for name, _, version in pins}
    if any(sign in done.output for sign in _NO_ANSWER):
        raise CannotRun(f"the package index does not answer: {error_line(done.output)}")
    raise BuildFailed(error_line(done.output))


def _direct(
    requirements: Sequence[str],
    subjects: Sequence[str],
    resolution: Resolution,
    python: Path,
    constraints: Path | None,
    env: Mapping[str, str] | None,
    log: Path | None,
) -> Sequence[str]:
    """Return the requirements, and for ``lowest-direct`` also the names of the packages that
    ``subjects`` themselves need in this environment.

    uv takes only what it is asked for as direct, and not what that needs, unless it installs the
    project that it runs in. Raises :class:`BuildFailed`.
    """
    if resolution is not Resolution.LOWEST_DIRECT or not subjects:
        return requirements
    command: list[str | Path] = ["pip", "compile", "--python", python, "--no-header"]
    command += ["--annotation-style", "line"]
    if constraints:
        command += ["--constraint", constraints]
    with temporary_directory() as scratch:
        source = scratch / "requirements.in"
        source.write_text("".join(f"{one}\n" for one in requirements))
        done = run_uv([*command, source], deadline=_INSTALL_DEADLINE, env=env, log=log)
    if done.returncode != 0:
        raise BuildFailed(
            f"could not find what {' '.join(subjects)} needs: {error_line(done.output)}"
        )
    needed = (
        found["name"]
        for found in _NEEDED.finditer(done.output)
        if {*subjects} & {*found["by"].split(", ")}
    )
    return [*requirements, *needed]


def compile_bytecode(python: Path, log: Path) -> None:
    """Compile every module in the environment of ``python``.

    Apache's user may not write bytecode there, and would compile every module in each process. uv
    can't do it for Python 3.6 (its ``--compile-bytecode`` needs ``py_compile`` of 3.7). A module
    that does not compile, such as one for another Python, is left alone: nothing may import it.
    """
    library = python.parent.parent / "lib"
    # Without site: a .pth file of a package can run code.
    command = [str(python), "-I", "-S", "-m", "compileall", "-q", "-j", "0", str(library)]
    run(command, deadline=_INSTALL_DEADLINE, env=child_environment(), log=log)


def make_environment(python: Python, home: Path) -> None:
    """Make an empty virtual environment of ``python`` at ``home``."""
    done = run_uv(["venv", "--python", python.path, "--no-project", home], deadline=60)
    if done.returncode != 0:
        raise BuildFailed(
            f"could not make an environment of Python {python.version}: {error_line(done.output)}"
        )


def make_sdist(tree: Path, target: Path, log: Path) -> Path:
    """Make the sdist of the source ``tree`` in ``target``, and return its path.

    Raises :class:`BuildFailed` with the builder's error.
    """
    flags = ["--sdist", "--out-dir", str(target), "--python", sys.executable]
    # A build hook is a module in the tree, and importing it would leave its bytecode there.
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    done = run_uv(["build", *flags, tree], deadline=_INSTALL_DEADLINE, env=env, log=log)
    archives = sorted(target.glob("*.tar.gz"))
    if done.returncode != 0 or not archives:
        raise BuildFailed(f"no sdist can be made of {tree}: {error_line(done.output)}")
    return archives[0]


def run_uv(
    arguments: Sequence[str | Path],
    *,
    deadline: float,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Completed:
    """Run uv with these arguments, for at most ``deadline`` seconds."""
    # An active environment or a project's own settings must not affect what a cell is made of.
    clean = child_environment(DOWNLOAD, COMPILE)
    clean |= {"UV_NO_PROGRESS": "1", "UV_NO_CONFIG": "1", "NO_COLOR": "1", **(env or {})}
    with _find_uv_lock:
        program = uv.find_uv_bin()
    command = [program, *map(str, arguments)]
    with _private_cache(clean) as settings:
        return run(command, deadline=deadline, env=clean | settings, log=log)


@contextmanager
def _private_cache(env: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield settings for a uv cache that only wsgiproof uses, in the build cache.

    If no directory can be made there, uv uses no cache. The user's own choice (``UV_CACHE_DIR``) is
    left alone.

    A killed uv leaves what it was unpacking and building. While another uv is running, these can't
    be distinguished from files in use. So each uv that is the only one running removes them, before
    and after its work.
    """
    if "UV_CACHE_DIR" in env:
        yield {}
        return
    with ExitStack() as stack:
        try:
            directory = Cache().private("uv")
            lock = open_lock(directory / "in-use.lock")
            stack.callback(os.close, lock)
            _clean_if_unused(directory, lock)
            acquire(lock, directory / "in-use.lock", seconds=_CLEANUP_DEADLINE, shared=True)
        except (OSError, CannotRun):
            yield {"UV_NO_CACHE": "1"}
            return
        try:
            yield {"UV_CACHE_DIR": str(directory)}
        finally:
            _clean_if_unused(directory, lock)


def _clean_if_unused(directory: Path, lock: int) -> None:
    """Remove unfinished files, if no other uv is using this cache."""
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for unfinished in (*directory.glob(".tmp*"), *directory.glob("*/.tmp*")):
            remove_tree(str(unfinished))


def check_version(package: str, version: str) -> None:
    """Raise :class:`UsageError` for a text that can't be a version."""
    if version in ("", LATEST, MINIMUM):
        return
    try:
        Version(version)
    except InvalidVersion as error:
        words = LATEST if package == "mod-wsgi" else f"{LATEST}, {MINIMUM}"
        raise UsageError(
            f"'{version}' is not a version of {package}: give one such as 1.2.3 or 1.2 (the newest "
            f"1.2.x), {words}, or a path such as ./{version}"
        ) from error


def _unresolved(package: str, version: str, python: Python, output: str) -> Exception:
    if any(sign in output for sign in _NO_ANSWER):
        return CannotRun(
            f"the package index does not answer, so {package} can't be looked up: "
            f"{error_line(output)}"
        )
    what = version_shown(package, version)
    if "Requires-Python" in output or "requires Python" in output or "Python>=" in output:
        return Unsupported(
            f"{what} does not support Python {python.version}; "
            "leave the version out to take the newest that does"
        )
    return UsageError(f"there is no {what} on the package index")


def error_line(output: str) -> str:
    """Return the line of a failed build's output that best explains the failure.

    That is why uv found no solution; else the first error of the compiler or linker, since the
    others mostly follow from it; else the last line that mentions an error, or the last line.
    """
    no_solution = _NO_SOLUTION.search(output)
    if no_solution:
        return " ".join(no_solution["why"].split())
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    lines = [line for line in lines if not re.match(r"hint:|make(\[\d+\])?: ", line)]
    if diagnostics := [line for line in lines if _DIAGNOSTIC.search(line)]:
        return diagnostics[0]
    errors = [line for line in lines if re.search(r"error\b|fatal|not found|No such", line, re.I)]
    return (errors or lines or ["it printed nothing"])[-1]
