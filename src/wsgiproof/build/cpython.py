"""CPython compiled from source, as a build of its own in the cache.

With a shared library, which mod_wsgi links against, and with its own place in the run path, so that
it is found whatever the environment: Apache's children have none of ours.
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

from wsgiproof.build.compiler import compiler_key, find_compiler, has_header
from wsgiproof.build.cpython_source import MIRROR, Sources, find_sources, unpack, version_of
from wsgiproof.build.index import last_words, run_uv
from wsgiproof.build.python import BUILT, built_in, describe
from wsgiproof.cache import Cache
from wsgiproof.environ import COMPILE, child_environment
from wsgiproof.errors import BuildFailed, NeedMissing, UsageError, WsgiproofError
from wsgiproof.process import run
from wsgiproof.toolchain import Python

_VERSION = re.compile(r"(?P<release>(?P<short>\d+\.\d+)\.\d+((a|b|rc)\d+)?)(?P<free_threaded>t?)")
_FLAGS = ("--enable-shared", "--with-ensurepip=no", "--disable-test-modules")
"""Environments are made by uv, which needs no pip in the interpreter."""
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
"""Modules that are left out without a word where a library is missing: its header, and Debian's
package of it."""

_WHAT_IS_MISSING = """
import sys
for name in sys.argv[1:]:
    try:
        __import__(name)
    except ImportError:
        print(name)
"""


class Steps(Protocol):
    """Who is told how far a build is."""

    def step(self, text: str) -> None:
        """Something begins that takes seconds, or minutes."""

    def count(self, text: str) -> None:
        """So much of it is done."""


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


def release_of(wanted: str) -> Release:
    """What ``3.13.15`` or ``3.13.15t`` stands for. Raises :class:`UsageError`."""
    found = _VERSION.fullmatch(wanted)
    if found is None:
        raise UsageError(f"'{wanted}' is no full version of Python, such as 3.13.15 or 3.13.15t")
    major, minor = map(int, found["short"].split("."))
    if found["free_threaded"] and (major, minor) < (3, 13):
        raise UsageError(f"there is no Python {wanted}: the first without a GIL is 3.13.0t")
    return Release(
        version=found["release"], short=found["short"], free_threaded=bool(found["free_threaded"])
    )


def build_cpython(
    wanted: str,
    cache: Cache,
    steps: Steps,
    *,
    source: str = "",
    sha256: str = "",
    mirror: str = "",
    jobs: int = 0,
) -> Python:
    """Compile a release, or take it from the cache. Takes about ten CPU minutes the first time.

    ``source``, ``sha256`` and ``mirror`` are as for :func:`find_sources`; ``jobs`` compilers run at
    the same time, by default one for each core. Raises what :func:`find_sources` does,
    :class:`NeedMissing` without a compiler or zlib, and :class:`BuildFailed` with the last words
    and the place of the log.
    """
    release = release_of(wanted)
    _look_for_tools()
    without = [name for name, (header, _) in _LIBRARIES.items() if not has_header(header)]
    if "zlib" in without:
        raise NeedMissing(
            "zlib.h is missing, and no package can be built for a Python without zlib: on Debian "
            "'apt-get install zlib1g-dev'"
        )
    steps.step("looking at the sources")
    sources = find_sources(release.version, source, sha256, mirror or MIRROR, cache, steps.count)
    key = {
        "version": str(release),
        "source": sources.digest,
        "flags": " ".join(_flags(release)),
        **compiler_key(),
        "libc": "-".join(platform.libc_ver()),
        # Installed later, a library makes another Python of it.
        "without": " ".join(without),
    }
    jobs = jobs or len(os.sched_getaffinity(0))
    entry = cache.entry(
        BUILT, key, lambda directory: _Build(directory, release, steps).compile(sources, jobs)
    )
    return describe(entry / "bin" / release.program)


def install_prebuilt(wanted: str, cache: Cache, steps: Steps, *, mirror: str = "") -> Python:
    """Have uv install its own build of a release (python-build-standalone), into the cache.

    Raises :class:`BuildFailed` if it can't, or if it is not what was asked for.
    """
    release = release_of(wanted)
    request = release.version + "+freethreaded" * release.free_threaded

    def install(directory: Path) -> None:
        env = {"UV_PYTHON_INSTALL_BIN": "0"}
        if mirror:
            env["UV_PYTHON_INSTALL_MIRROR"] = mirror
        steps.step("uv python install")
        command = ["python", "install", "--install-dir", str(directory), request]
        answer = run_uv(command, deadline=_PREBUILT_DEADLINE, env=env)
        if answer.returncode != 0:
            raise BuildFailed(f"uv could not install Python {release}: {last_words(answer.output)}")
        _check(_prebuilt(directory, release), release)

    key = {"version": str(release), "from": "uv", "mirror": mirror}
    return _prebuilt(cache.entry(BUILT, key, install), release)


def missing_modules(python: Python) -> dict[str, str]:
    """The modules of the standard library that it lacks, with the Debian package for each.

    Raises :class:`BuildFailed` if it does not run without any environment.
    """
    answer = run([python.path, "-I", "-c", _WHAT_IS_MISSING, *_LIBRARIES], deadline=60, env={})
    if answer.returncode != 0:
        raise BuildFailed(f"{python.path} does not run: {last_words(answer.output)}")
    return {name: _LIBRARIES[name][1] for name in answer.output.split() if name in _LIBRARIES}


class _Build:
    """One compilation. ``directory`` is an entry of the cache, and the prefix."""

    def __init__(self, directory: Path, release: Release, steps: Steps) -> None:
        self._directory = directory
        self._release = release
        self._steps = steps
        self._log = directory / "build.log"

    def compile(self, sources: Sources, jobs: int) -> None:
        """Do all of it, with the log in the entry."""
        self._steps.step("unpack")
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
        self._look_at_it()

    def _look_at_it(self) -> None:
        try:
            _check(describe(self._directory / "bin" / self._release.program), self._release)
        except WsgiproofError as error:
            raise BuildFailed(str(error)) from error

    def _run(self, name: str, command: Sequence[str], tree: Path, deadline: float) -> None:
        self._steps.step(name)
        compiled = _Compiled(self._log, self._steps)
        done = run(
            command,
            deadline=deadline,
            cwd=tree,
            env=self._environment(),
            log=self._log,
            heartbeat=compiled.look,
        )
        if done.returncode != 0:
            raise BuildFailed(
                f"could not build Python {self._release}: '{name}' ended with "
                f"{done.returncode}: {last_words(done.output)}"
            )

    def _environment(self) -> dict[str, str]:
        """Nothing that steers a Python, or is of the make that may have started us."""
        env = child_environment(COMPILE)
        rpath = f"-Wl,-rpath,{self._directory}/lib"
        return env | {"LDFLAGS": f"{rpath} {env.get('LDFLAGS', '')}".strip(), "LC_ALL": "C"}


class _Compiled:
    """Counts the files that have been compiled, from a log as it grows."""

    def __init__(self, log: Path, steps: Steps) -> None:
        self._log = log
        self._steps = steps
        self._read = log.stat().st_size if log.exists() else 0
        self._number = 0

    def look(self) -> None:
        with self._log.open("rb") as log:
            log.seek(self._read)
            lines = log.read()
        whole = lines.rfind(b"\n") + 1
        self._read += whole
        found = len(re.findall(rb"^\S*(?:cc|clang|\+\+)\S* .*-c ", lines[:whole], re.MULTILINE))
        if found:
            self._number += found
            self._steps.count(f"{self._number} files compiled")


def _flags(release: Release) -> list[str]:
    return [*_FLAGS, *(["--disable-gil"] if release.free_threaded else [])]


def _look_for_tools() -> None:
    """There has to be a compiler, and a make."""
    find_compiler()
    if shutil.which("make") is None:
        raise NeedMissing("there is no make to build Python with: on Debian 'apt-get install make'")


def _prebuilt(entry: Path, release: Release) -> Python:
    found = [path for path in built_in(entry) if path.name == release.program]
    if not found:
        raise BuildFailed(f"uv left no {release.program} in {entry}")
    return describe(found[0])


def _check(python: Python, release: Release) -> None:
    """Whether it is what was asked for, and what mod_wsgi needs."""
    wrong = [
        what
        for what, is_so in (
            (f"it is {python.version}", python.version != release.version),
            ("it has no shared library", not python.shared),
            ("it has no headers", not python.headers),
            ("its GIL is not what was asked for", python.free_threaded != release.free_threaded),
        )
        if is_so
    ]
    if wrong:
        raise BuildFailed(f"{python.path} is not the Python {release} wanted: {', '.join(wrong)}")
    missing_modules(python)
