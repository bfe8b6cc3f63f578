"""CPython, compiled from source into the build cache.

It is built with a shared library, which mod_wsgi links against. The run path contains the directory
of that library, so that it is found without any environment variable: Apache's children do not
inherit this environment.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from wsgiproof.errors import BuildFailed, PrerequisiteMissing, UsageError, WsgiproofError
from wsgiproof.process.commands import run
from wsgiproof.process.environ import COMPILE, child_environment
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.compiler import compiler_key, find_compiler, has_header
from wsgiproof.provision.cpython_source import MIRROR, Sources, find_sources, unpack, version_of
from wsgiproof.provision.index import error_line, run_uv
from wsgiproof.provision.python import BUILT, built_in, describe
from wsgiproof.provision.toolchain import Python

_VERSION = re.compile(r"(?P<release>(?P<short>\d+\.\d+)\.\d+((a|b|rc)\d+)?)(?P<free_threaded>t?)")
_FLAGS = ("--enable-shared", "--with-ensurepip=no", "--disable-test-modules")
"""No pip: uv makes the environments, and does not need it in the interpreter."""
_CONFIGURE_DEADLINE = 1800.0
_MAKE_DEADLINE = 4 * 3600.0
_PREBUILT_DEADLINE = 1800.0

_LIBRARIES = {
    "zlib": ("zlib.h", "zlib1g-dev"),
    "ctypes": ("ffi.h", "libffi-dev"),
    "ssl": ("openssl/ssl.h", "libssl-dev"),
    "bz2": ("bzlib.h", "libbz2-dev"),
    "lzma": ("lzma.h", "liblzma-dev"),
    "sqlite3": ("sqlite3.h", "libsqlite3-dev"),
}
"""Modules that a build silently leaves out if a library is missing: the header of the library, and
its Debian package."""

_IMPORT_CHECK = """
import sys
for name in sys.argv[1:]:
    try:
        __import__(name)
    except ImportError:
        print(name)
"""


class BuildProgress(Protocol):
    """Shows how far a build has come."""

    def step(self, text: str) -> None:
        """Show that a step begins which takes seconds or minutes."""

    def count(self, text: str) -> None:
        """Show how much of the step is done."""


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A version of CPython, with a GIL or without."""

    version: str
    """``3.13.15``"""
    short: str
    """``3.13``"""
    free_threaded: bool

    def __str__(self) -> str:
        return self.version + "t" * self.free_threaded

    @property
    def program(self) -> str:
        """The name of its interpreter."""
        return f"python{self.short}{'t' * self.free_threaded}"


def release_of(version: str) -> Release:
    """Return the release that ``3.13.15`` or ``3.13.15t`` names.

    Raises :class:`UsageError` for any other text.
    """
    found = _VERSION.fullmatch(version)
    if found is None:
        raise UsageError(
            f"'{version}' is not a full version of Python: give one such as 3.13.15 or 3.13.15t"
        )
    major, minor = map(int, found["short"].split("."))
    if found["free_threaded"] and (major, minor) < (3, 13):
        raise UsageError(f"there is no Python {version}: the first without a GIL is 3.13.0t")
    return Release(
        version=found["release"], short=found["short"], free_threaded=bool(found["free_threaded"])
    )


def build_cpython(
    version: str,
    cache: Cache,
    progress: BuildProgress,
    *,
    source: str = "",
    sha256: str = "",
    mirror: str = "",
    jobs: int = 0,
) -> Python:
    """Compile a release, or take it from the cache. It takes about ten CPU minutes the first time.

    ``source``, ``sha256`` and ``mirror`` are as for :func:`find_sources`; ``jobs`` compilers run at
    the same time, by default one for each core. Raises what :func:`find_sources` does,
    :class:`PrerequisiteMissing` without a compiler or zlib, and :class:`BuildFailed` with the error
    and the path of the log.
    """
    release = release_of(version)
    _check_tools()
    without = [name for name, (header, _) in _LIBRARIES.items() if not has_header(header)]
    if "zlib" in without:
        raise PrerequisiteMissing(
            "zlib.h is missing, and no package can be built for a Python without zlib: on Debian "
            "'apt-get install zlib1g-dev'"
        )
    progress.step("looking at the sources")
    sources = find_sources(release.version, source, sha256, mirror or MIRROR, cache, progress.count)
    key = {
        "version": str(release),
        "source": sources.digest,
        "flags": " ".join(_flags(release)),
        **compiler_key(),
        "libc": "-".join(platform.libc_ver()),
        # With a library that is installed later, the build has more modules.
        "without": " ".join(without),
    }
    jobs = jobs or len(os.sched_getaffinity(0))
    entry = cache.entry(
        BUILT, key, lambda directory: _Build(directory, release, progress).compile(sources, jobs)
    )
    return describe(entry / "bin" / release.program)


def install_prebuilt(
    version: str, cache: Cache, progress: BuildProgress, *, mirror: str = ""
) -> Python:
    """Have uv install its own build of a release (python-build-standalone) into the cache.

    Raises :class:`BuildFailed` if that fails, or if the result is not the requested release.
    """
    release = release_of(version)
    request = release.version + "+freethreaded" * release.free_threaded

    def install(directory: Path) -> None:
        env = {"UV_PYTHON_INSTALL_BIN": "0"}
        if mirror:
            env["UV_PYTHON_INSTALL_MIRROR"] = mirror
        progress.step("uv python install")
        command = ["python", "install", "--install-dir", str(directory), request]
        done = run_uv(command, deadline=_PREBUILT_DEADLINE, env=env)
        if done.returncode != 0:
            raise BuildFailed(f"uv could not install Python {release}: {error_line(done.output)}")
        _check(_prebuilt(directory, release), release)

    key = {"version": str(release), "from": "uv", "mirror": mirror}
    return _prebuilt(cache.entry(BUILT, key, install), release)


def missing_modules(python: Python) -> dict[str, str]:
    """Return the standard library modules that a Python lacks, with the Debian package for each.

    Raises :class:`BuildFailed` if it does not run with an empty environment.
    """
    done = run([python.path, "-I", "-c", _IMPORT_CHECK, *_LIBRARIES], deadline=60, env={})
    if done.returncode != 0:
        raise BuildFailed(f"{python.path} does not run: {error_line(done.output)}")
    return {name: _LIBRARIES[name][1] for name in done.output.split() if name in _LIBRARIES}


class _Build:
    """One compilation. ``directory`` is an entry of the cache, and the prefix."""

    def __init__(self, directory: Path, release: Release, progress: BuildProgress) -> None:
        self._directory = directory
        self._release = release
        self._progress = progress
        self._log = directory / "build.log"

    def compile(self, sources: Sources, jobs: int) -> None:
        """Configure, compile, install and check it, with the log in the entry."""
        self._progress.step("unpack")
        tree = unpack(sources, self._directory / "src")
        version = version_of(tree)
        if version != self._release.version:
            raise UsageError(
                f"{sources.path} is the source of Python {version}, not of {self._release.version}"
            )
        flags = [f"--prefix={self._directory}", *_flags(self._release)]
        self._run("configure", [str(tree / "configure"), *flags], tree, _CONFIGURE_DEADLINE)
        self._run(f"make -j{jobs}", ["make", f"-j{jobs}"], tree, _MAKE_DEADLINE)
        self._run("make install", ["make", "install"], tree, _MAKE_DEADLINE)
        shutil.rmtree(self._directory / "src")
        self._check_result()

    def _check_result(self) -> None:
        try:
            _check(describe(self._directory / "bin" / self._release.program), self._release)
        except WsgiproofError as error:
            raise BuildFailed(str(error)) from error

    def _run(self, name: str, command: Sequence[str], tree: Path, deadline: float) -> None:
        self._progress.step(name)
        counter = _CompileCounter(self._log, self._progress)
        done = run(
            command,
            deadline=deadline,
            cwd=tree,
            env=self._environment(),
            log=self._log,
            heartbeat=counter.update,
        )
        if done.returncode != 0:
            raise BuildFailed(
                f"could not build Python {self._release}: '{name}' ended with "
                f"{done.returncode}: {error_line(done.output)}"
            )

    def _environment(self) -> dict[str, str]:
        """Return an environment without variables that affect a Python or a make."""
        env = child_environment(COMPILE)
        rpath = f"-Wl,-rpath,{self._directory}/lib"
        return env | {"LDFLAGS": f"{rpath} {env.get('LDFLAGS', '')}".strip(), "LC_ALL": "C"}


class _CompileCounter:
    """Counts the compiled files in a log as it grows."""

    def __init__(self, log: Path, progress: BuildProgress) -> None:
        self._log = log
        self._progress = progress
        self._read = log.stat().st_size if log.exists() else 0
        self._number = 0

    def update(self) -> None:
        with self._log.open("rb") as log:
            log.seek(self._read)
            lines = log.read()
        end = lines.rfind(b"\n") + 1
        self._read += end
        found = len(re.findall(rb"^\S*(?:cc|clang|\+\+)\S* .*-c ", lines[:end], re.MULTILINE))
        if found:
            self._number += found
            self._progress.count(f"{self._number} files compiled")


def _flags(release: Release) -> list[str]:
    return [*_FLAGS, *(["--disable-gil"] if release.free_threaded else [])]


def _check_tools() -> None:
    """Raise :class:`PrerequisiteMissing` without a compiler or a make."""
    find_compiler()
    if shutil.which("make") is None:
        raise PrerequisiteMissing(
            "there is no make to build Python with: on Debian 'apt-get install make'"
        )


def _prebuilt(entry: Path, release: Release) -> Python:
    found = [path for path in built_in(entry) if path.name == release.program]
    if not found:
        raise BuildFailed(f"uv left no {release.program} in {entry}")
    return describe(found[0])


def _check(python: Python, release: Release) -> None:
    """Raise :class:`BuildFailed` unless ``python`` is the requested release, and usable by
    mod_wsgi."""
    wrong = [
        what
        for what, is_so in (
            (f"it is {python.version}", python.version != release.version),
            ("it has no shared library", not python.shared),
            ("it has no headers", not python.headers),
            (
                "it has a GIL" if release.free_threaded else "it has no GIL",
                python.free_threaded != release.free_threaded,
            ),
        )
        if is_so
    ]
    if wrong:
        raise BuildFailed(
            f"{python.path} is not the requested Python {release}: {'; '.join(wrong)}"
        )
    missing_modules(python)
