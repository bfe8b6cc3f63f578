"""Apache itself: the installation on this machine, or one built from PyPI's ``mod_wsgi-httpd``.

The sdist of ``mod_wsgi-httpd`` contains the sources of httpd, APR and PCRE and compiles them
without root and without further downloads (its README: "mod_wsgi-httpd").
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from pathlib import Path
from subprocess import DEVNULL

from wsgiproof.errors import BuildFailed, DeadlineExceeded, UsageError
from wsgiproof.process.environ import child_environment
from wsgiproof.process.supervise import run_unguarded
from wsgiproof.provision.cache import Build, Cache
from wsgiproof.provision.compiler import compiler_key
from wsgiproof.provision.index import install
from wsgiproof.provision.toolchain import Httpd
from wsgiproof.records.cell import Mpm

MOD_WSGI_HTTPD = "2.4.69.1"
"""The pinned release to build; its version is that of the httpd inside, plus one number."""

_SYSTEM_DIRECTORIES = "/usr/sbin:/usr/local/sbin:/usr/local/apache2/bin:/sbin"


def find_httpd(httpd: str = "", apxs: str = "") -> Httpd | None:
    """Return the Apache of this machine, or None if the server or its ``apxs`` is missing.

    ``httpd`` and ``apxs`` name the programs to use. Either is enough: an ``apxs`` knows where its
    server is, and the ``apxs`` of a server is looked for in the same installation. Raises
    :class:`UsageError` for a program that does not exist or is not what its option says.
    """
    for option, named in (("--httpd", httpd), ("--apxs", apxs)):
        if named and not Path(named).is_file():
            raise UsageError(f"{option}: there is no file {named}")
    if httpd and not apxs:
        apxs = _apxs_of(Path(httpd))
    path = f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_DIRECTORIES}"
    tool = apxs or shutil.which("apxs", path=path) or shutil.which("apxs2", path=path)
    if not tool:
        return None
    paths = [_query_apxs(tool, name) for name in ("SBINDIR", "PROGNAME", "LIBEXECDIR")]
    if not all(paths):
        if apxs:
            raise UsageError(f"{apxs} is not an apxs: it does not say where its Apache is")
        return None
    sbin, program, modules = paths
    server = Path(httpd) if httpd else Path(sbin) / program
    return _describe(server, Path(tool), Path(modules)) if server.exists() else None


def _apxs_of(httpd: Path) -> str:
    """Return the ``apxs`` of the same installation, in Apache's own, Fedora's or Debian's
    layout."""
    for directory in (httpd.parent, httpd.parent.parent / "bin"):
        for name in ("apxs", "apxs2"):
            if (directory / name).is_file():
                return str(directory / name)
    raise UsageError(
        f"there is no apxs next to {httpd}, which is needed to compile modules: name it with --apxs"
    )


def build_httpd(cache: Cache) -> Httpd:
    """Build Apache, or take it from the cache. It takes 4 to 6 minutes the first time.

    Raises :class:`BuildFailed` with the compiler's error.
    """
    entry = cache.get(httpd_build())
    package = entry / "mod_wsgi_packages" / "httpd"
    return _describe(
        package / "bin" / "httpd",
        entry / "apxs",
        package / "modules",
        libraries=package / "lib",
    )


def httpd_build() -> Build:
    """Return the build of Apache from ``mod_wsgi-httpd``."""
    libc = "-".join(platform.libc_ver())
    return Build(
        title=f"Apache (mod_wsgi-httpd {MOD_WSGI_HTTPD})",
        kind="httpd",
        key={"version": MOD_WSGI_HTTPD, "libc": libc, **compiler_key()},
        make=_compile,
    )


def _compile(directory: Path) -> None:
    install(
        [f"mod_wsgi-httpd=={MOD_WSGI_HTTPD}"],
        Path(sys.executable),
        target=directory,
        source_only=["mod-wsgi-httpd"],
        log=directory / "build.log",
        use_cache=False,
    )
    wrapper = directory / "apxs"
    wrapper.write_text(
        "#!/bin/sh\n"
        "# The apxs in bin/ knows only the paths of its build; this one asks the package.\n"
        f'PYTHONPATH="{directory}" exec "{sys.executable}" -c '
        "'from mod_wsgi_packages.apxs.__main__ import main; main()' \"$@\"\n"
    )
    wrapper.chmod(0o755)


def _query_apxs(apxs: str, name: str) -> str:
    try:
        done = run_unguarded(
            [apxs, "-q", name],
            deadline=30,
            env=child_environment(),
            stderr=DEVNULL,
        )
    except (OSError, DeadlineExceeded):
        return ""
    return done.output.strip() if done.returncode == 0 else ""


def _describe(
    httpd: Path,
    apxs: Path,
    modules: Path,
    *,
    libraries: Path | None = None,
) -> Httpd:
    env = child_environment()
    if libraries:
        env["LD_LIBRARY_PATH"] = str(libraries)
    version = _output([httpd, "-v"], env)
    found = re.search(r"Apache/(\S+)", version)
    if not found:
        raise BuildFailed(f"{httpd} does not run: {version.strip() or 'it printed nothing'}")
    # An MPM that is compiled in is listed by its own name, such as event.c.
    static = frozenset(re.findall(r"^\s+(?:mod_)?(\w+)\.c$", _output([httpd, "-l"], env), re.M))
    mpms = tuple(mpm for mpm in Mpm if (modules / f"mod_mpm_{mpm}.so").exists() or mpm in static)
    return Httpd(
        version=found[1],
        build=" ".join(version.split()),
        httpd=httpd,
        apxs=apxs,
        modules=modules,
        static=static,
        mpms=mpms,
        libraries=libraries,
    )


def _output(command: list[str | Path], env: dict[str, str]) -> str:
    try:
        return run_unguarded(command, deadline=30, env=env).output
    except (OSError, DeadlineExceeded) as error:
        return str(error)
