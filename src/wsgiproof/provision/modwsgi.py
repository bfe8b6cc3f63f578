"""``mod_wsgi.so`` for one interpreter and one Apache: from an sdist, a source tree, or a given
file."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from wsgiproof.errors import BuildFailed
from wsgiproof.provision.cache import Build, Cache
from wsgiproof.provision.compiler import compiler_key
from wsgiproof.provision.modwsgi3 import compile_module
from wsgiproof.provision.packages import compile_into
from wsgiproof.provision.toolchain import Httpd, Python, Source
from wsgiproof.records.cell import is_before_4, is_module


def mod_wsgi_build(source: Source, python: Python, httpd: Httpd, cache: Cache) -> Build:
    """Return the build of ``mod_wsgi.so``, which takes 10 to 25 seconds.

    A given ``.so`` is copied, since Apache's user may not be able to read it where it is. The build
    raises :class:`BuildFailed` with the compiler's error, and with the cause if it is a known one.
    """
    requirement = (
        f"mod-wsgi @ {Path(source.archive).as_uri()}"
        if source.archive
        else f"mod-wsgi=={source.version}"
    )

    def make(directory: Path) -> None:
        log = directory / "build.log"
        try:
            if is_module(source.archive):
                shutil.copyfile(source.archive, _place(directory))
            elif is_before_4(source.version):
                compile_module(Path(source.archive), _place(directory), python, httpd, log)
            else:
                # The result depends on the paths of this apxs and of this libpython.
                compile_into(directory, requirement, python, cache, {"APXS": str(httpd.apxs)})
        except BuildFailed as error:
            raise _with_cause(error, source, python, log) from error
        module_in(directory)

    return Build(
        title=f"mod_wsgi {source.version} for {python.title}",
        kind="mod_wsgi",
        key={
            "version": source.version,
            "digest": source.digest,
            **python.identity(),
            "apxs": str(httpd.apxs),
            "httpd": httpd.build,
            **compiler_key(),
        },
        make=make,
    )


def module_in(entry: Path) -> Path:
    """Return the ``mod_wsgi.so`` in a built entry. Raises :class:`BuildFailed` if there is none."""
    modules = sorted((entry / "mod_wsgi" / "server").glob("mod_wsgi*.so"))
    if not modules:
        raise BuildFailed(f"the build of mod_wsgi left no mod_wsgi.so in {entry}")
    return modules[0]


def _place(entry: Path) -> Path:
    """Return where an entry has a module that no installer has put there."""
    directory = entry / "mod_wsgi" / "server"
    directory.mkdir(parents=True)
    return directory / "mod_wsgi.so"


_CAUSES = (
    ("Python.h: No such file",
     "the headers of this Python are missing: see 'wsgiproof doctor --pythons'"),
    (r"apxs\S* (?:executable )?(?:not found|appears)|No such file.*apxs",
     "there is no working apxs: on Debian 'apt-get install apache2-dev', or name it with --apxs"),
    (r"http_core\.h: No such file|httpd\.h: No such file|apr\w*\.h: No such file",
     "Apache's own headers are missing: on Debian 'apt-get install apache2-dev'"),
    (r"cannot find -lpython", "the shared library of this Python is missing"),
    (r"command '?(?:cc|gcc|clang)\S* failed: No such|(?:cc|gcc|clang): not found",
     "there is no C compiler: on Debian 'apt-get install gcc libc6-dev'"),
    (r"No space left on device", "the disk is full: make room, or point WSGIPROOF_CACHE elsewhere"),
)  # fmt: skip
"""Known causes: what a compiler or linker prints, and what it means."""
_TOO_OLD = re.compile(
    r"^\s*(?:src/server/|\S*wsgi_|mod_wsgi\.c)\S+: (?:fatal )?error: ", re.MULTILINE
)
"""Errors in the sources of mod_wsgi itself."""


def _with_cause(error: BuildFailed, source: Source, python: Python, log: Path) -> BuildFailed:
    """Return the error with its cause in front, if the cause is a known one."""
    output = log.read_text(errors="replace") if log.exists() else str(error)
    cause = next((meaning for sign, meaning in _CAUSES if re.search(sign, output)), "")
    if not cause and _TOO_OLD.search(output):
        cause = (
            f"its sources do not compile for Python {python.version}, for which mod_wsgi "
            f"{source.version} may be too old: leave the version out to take the newest"
        )
    return BuildFailed(f"{cause}: {error}") if cause else error
