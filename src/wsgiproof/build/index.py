"""The package index, asked through uv: which versions exist, and installing them.

uv resolves against each release's ``Requires-Python``, so "the newest that supports this Python"
is the index's own answer and not a table of ours.
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

from wsgiproof.cache import Cache
from wsgiproof.environ import COMPILE, DOWNLOAD, child_environment
from wsgiproof.errors import BuildFailed, CannotRun, Unsupported, UsageError
from wsgiproof.guard import remove_tree
from wsgiproof.leftovers import temporary_directory
from wsgiproof.locks import open_lock, take
from wsgiproof.process import Completed, run
from wsgiproof.toolchain import Python

_finding = threading.Lock()
"""uv asks ``sysconfig``, whose first answer is not made for several threads (CPython 3.11)."""
_RESOLVE_DEADLINE = 120.0
_INSTALL_DEADLINE = 1800.0
_CLEARING = 60.0
"""Seconds that another process may take to clear uv's cache."""
_UNSOLVED = re.compile(
    r"No solution found[^\n]*\s+(?:cause:|╰─▶) (?P<why>.*?)(?:\n\s*\n|\s*hint:|\Z)", re.DOTALL
)

_DIAGNOSTIC = re.compile(
    r"^\S+:\d+(:\d+)?: (fatal )?error: |\bld: .*cannot find |undefined reference"
)

LATEST = "latest"
"""The newest version that supports a Python: what an empty version means as well."""
MINIMUM = "min"
"""The oldest version that has a wheel for a Python: the first that was made with it in mind."""
_PREFIX = re.compile(r"\d+(\.\d+)?")
"""A version of one number or two stands for the newest that begins so. Three numbers are exact."""
_EXAMPLES = {"mod-wsgi": ("5.0.2", "5"), "pymongo": ("4.20.0", "4.20")}


def find_version(package: str, wanted: str, python: Python) -> str:
    """Do what :func:`wsgiproof.build.packages.find_version` says, for a Python that uv knows."""
    check_version(package, wanted)
    flags = ["--no-deps", "--no-header", "--no-annotate", "--python", python.path]
    flags += ["--prerelease", "explicit"]  # a pre-release is taken only where its version names it
    if wanted == MINIMUM:
        flags += ["--resolution", "lowest", "--only-binary", package]
    with temporary_directory() as scratch:
        source = scratch / "requirements.in"
        source.write_text(f"{requirement(package, wanted)}\n")
        answer = run_uv(["pip", "compile", source, *flags], deadline=_RESOLVE_DEADLINE)
    if answer.returncode != 0:
        raise _unresolved(package, wanted, python, answer.output)
    return _pinned(package, answer.output)


def is_exact(wanted: str) -> bool:
    """Whether this is one version, and no word and no prefix of a version."""
    return wanted not in ("", LATEST, MINIMUM) and not _PREFIX.fullmatch(wanted)


def requirement(package: str, wanted: str) -> str:
    """Return what an installer is asked for, such as ``pymongo==4.20.*`` where 4.20 is wanted."""
    if wanted in ("", LATEST, MINIMUM):
        return package
    return f"{package}=={wanted}{'' if is_exact(wanted) else '.*'}"


def shown(package: str, wanted: str) -> str:
    """Return what a message calls it, such as ``pymongo 4.20.x``; for a word the package alone."""
    if wanted in ("", LATEST, MINIMUM):
        return package
    return f"{package} {wanted}{'' if is_exact(wanted) else '.x'}"


def _pinned(package: str, output: str) -> str:
    pinned = re.search(rf"^{re.escape(package)}==(\S+)$", output, re.MULTILINE)
    if pinned is None:
        raise CannotRun(f"the package index gave no version of {package}: {last_words(output)}")
    return pinned[1]


def install(
    requirements: Sequence[str],
    python: Path,
    *,
    log: Path,
    target: Path | None = None,
    constraints: Path | None = None,
    source_only: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    use_cache: bool = True,
) -> None:
    """Install ``requirements`` for ``python``, into its environment or into ``target``.

    ``source_only`` names packages to be built from their sdist. uv keys the wheels that it builds
    by version and Python tag alone, so what depends on more than that (on an ``apxs``, on where
    libpython lies) must say ``use_cache=False``. Raises :class:`BuildFailed` with the last words
    of the build.
    """
    # A file that shares its content with uv's own cache would be damaged there as well.
    command: list[str | Path] = ["pip", "install", "--python", python, "--link-mode", "copy"]
    if target:
        command += ["--target", target, "--no-deps"]
    else:
        # Apache's user may not write there, and would compile all of it in each process.
        command.append("--compile-bytecode")
    for package in source_only:
        command += ["--no-binary", package]
    if constraints:
        command += ["--constraint", constraints]
    if not use_cache:
        command.append("--no-cache")
    answer = run_uv([*command, *requirements], deadline=_INSTALL_DEADLINE, env=env, log=log)
    if answer.returncode != 0:
        raise BuildFailed(
            f"could not build or install {' '.join(requirements)}: {last_words(answer.output)}"
        )


def make_environment(python: Python, home: Path) -> None:
    """Make an empty virtual environment of ``python`` at ``home``."""
    answer = run_uv(["venv", "--python", python.path, "--no-project", home], deadline=60)
    if answer.returncode != 0:
        raise BuildFailed(
            f"could not make an environment of Python {python.version}: {last_words(answer.output)}"
        )


def make_sdist(tree: Path, target: Path, log: Path) -> Path:
    """Make the sdist of the source ``tree`` in ``target``, and return its path.

    Raises :class:`BuildFailed` with the builder's last words.
    """
    flags = ["--sdist", "--out-dir", str(target), "--python", sys.executable]
    answer = run_uv(["build", *flags, tree], deadline=_INSTALL_DEADLINE, log=log)
    made = sorted(target.glob("*.tar.gz"))
    if answer.returncode != 0 or not made:
        raise BuildFailed(f"{tree} gives no sdist: {last_words(answer.output)}")
    return made[0]


def run_uv(
    arguments: Sequence[str | Path],
    *,
    deadline: float,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Completed:
    """Run uv with these arguments, for at most ``deadline`` seconds."""
    # An active environment or a project's own settings must not steer what a cell is made of.
    clean = child_environment(DOWNLOAD, COMPILE)
    clean |= {"UV_NO_PROGRESS": "1", "UV_NO_CONFIG": "1", "NO_COLOR": "1", **(env or {})}
    with _finding:
        found = uv.find_uv_bin()
    command = [found, *map(str, arguments)]
    with _own_cache(clean) as settings:
        return run(command, deadline=deadline, env=clean | settings, log=log)


@contextmanager
def _own_cache(env: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A cache of uv's that wsgiproof alone uses, beside what it has built; none where no directory
    can be made there. The user's own choice (``UV_CACHE_DIR``) is left alone.

    A killed uv leaves what it was unpacking and building. While another is at work nobody can tell
    that from what is needed; so the first and the last that are alone remove it.
    """
    if "UV_CACHE_DIR" in env:
        yield {}
        return
    with ExitStack() as stack:
        try:
            directory = Cache().private("uv")
            lock = open_lock(directory / "in-use.lock")
            stack.callback(os.close, lock)
            _clear_alone(directory, lock)
            take(lock, directory / "in-use.lock", seconds=_CLEARING, shared=True)
        except (OSError, CannotRun):
            yield {"UV_NO_CACHE": "1"}
            return
        try:
            yield {"UV_CACHE_DIR": str(directory)}
        finally:
            _clear_alone(directory, lock)


def _clear_alone(directory: Path, lock: int) -> None:
    """Remove unfinished things, if no other uv uses this cache."""
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for unfinished in (*directory.glob(".tmp*"), *directory.glob("*/.tmp*")):
            remove_tree(str(unfinished))


def check_version(package: str, wanted: str) -> None:
    """Raise :class:`UsageError` for what can be no version at all."""
    if wanted in ("", LATEST, MINIMUM):
        return
    try:
        Version(wanted)
    except InvalidVersion as error:
        exact, prefix = _EXAMPLES[package]
        words = f"{LATEST}, {MINIMUM}" if package == "pymongo" else LATEST
        raise UsageError(
            f"'{wanted}' is not a version of {package}: give one such as {exact} or {prefix}, "
            f"{words}, or a path such as ./{wanted}"
        ) from error


def _unresolved(package: str, wanted: str, python: Python, output: str) -> Exception:
    unanswered = ("error sending request", "dns error", "Could not connect", "Failed to fetch")
    if any(sign in output for sign in unanswered):
        return CannotRun(
            f"the package index does not answer, so {package} can't be looked up: "
            f"{last_words(output)}"
        )
    what = shown(package, wanted)
    if "Requires-Python" in output or "requires Python" in output or "Python>=" in output:
        return Unsupported(
            f"{what} does not support Python {python.version}; "
            "leave the version out to take the newest that does"
        )
    return UsageError(f"there is no {what} on the package index")


def last_words(output: str) -> str:
    """The most telling line of a failed build's output: why uv found no solution, or the first line
    of the compiler, or of the linker, that names an error, as the others mostly follow from it;
    else the last of any."""
    unsolved = _UNSOLVED.search(output)
    if unsolved:
        return " ".join(unsolved["why"].split())
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    lines = [line for line in lines if not re.match(r"hint:|make(\[\d+\])?: ", line)]
    if diagnosed := [line for line in lines if _DIAGNOSTIC.search(line)]:
        return diagnosed[0]
    telling = [line for line in lines if re.search(r"error\b|fatal|not found|No such", line, re.I)]
    return (telling or lines or ["it said nothing"])[-1]
