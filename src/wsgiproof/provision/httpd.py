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
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from subprocess import DEVNULL

import msgspec

from wsgiproof.errors import BuildFailed, DeadlineExceeded, UsageError
from wsgiproof.process.commands import run_unguarded
from wsgiproof.process.environ import child_environment
from wsgiproof.provision.cache import Build, Cache
from wsgiproof.provision.compiler import compiler_key
from wsgiproof.provision.index import install
from wsgiproof.provision.toolchain import Apache, Httpd
from wsgiproof.records.cell import MOD_WSGI_HTTPD, Mpm

_RELEASE = "2.4.69.1"
"""The pinned release to build; its version is that of the httpd inside, plus one number."""

_LONGEST_ANSWER = 80
"""Characters of what a program says that is not Apache's server."""
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
    if httpd:
        _check_server(Path(httpd))
        apxs = apxs or _apxs_of(Path(httpd))
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


def find_apaches(values: Sequence[str], apxs: str = "") -> tuple[Apache, ...]:
    """Return the Apaches of an axis; each has a unique name if there are several.

    An empty value is that of the machine, and :data:`MOD_WSGI_HTTPD` the one that wsgiproof builds.
    The name is the version; where several have it, also the path. ``apxs`` is that of the only
    path. Raises what :func:`find_httpd` does, and :class:`UsageError` if two paths lead to the same
    server, or if it is unclear to which one ``apxs`` belongs.
    """
    paths = [value for value in values if value not in ("", MOD_WSGI_HTTPD)]
    if apxs and len(values) > 1:
        raise UsageError(
            f"--apxs {apxs} belongs to one --httpd, and {len(values)} are given: each finds the "
            "apxs beside it"
        )
    if apxs and MOD_WSGI_HTTPD in values:
        raise UsageError(f"--apxs {apxs}: --httpd {MOD_WSGI_HTTPD} brings its own")
    found = [_find_apache(value, apxs) for value in values]
    for one, other in combinations(paths, 2):
        if Path(one).samefile(other):
            raise UsageError(f"--httpd {one} and --httpd {other} are the same server: name one")
    if len(found) == 1:
        return tuple(found)
    count = Counter(one.version for one in found)
    return tuple(
        msgspec.structs.replace(one, name=_name(one, alone=count[one.version] == 1))
        for one in found
    )


def _find_apache(asked: str, apxs: str) -> Apache:
    httpd = None if asked == MOD_WSGI_HTTPD else find_httpd(asked, apxs)
    if httpd is None:
        version = _RELEASE.rpartition(".")[0]
        return Apache(asked=asked, version=version, mpms=tuple(Mpm))
    return Apache(asked=asked, version=httpd.version, mpms=httpd.mpms, httpd=httpd)


def _name(apache: Apache, *, alone: bool) -> str:
    if alone:
        return apache.version
    return f"{apache.version}-" + re.sub(r"[^A-Za-z0-9.]+", "_", apache.asked.strip("/"))


def _check_server(path: Path) -> None:
    """Raise :class:`UsageError` for a program that is not Apache's server."""
    said = _output([path, "-v"], child_environment()).strip()
    if not re.search(r"Apache/\S+", said):
        first = said.partition("\n")[0][:_LONGEST_ANSWER] or "nothing"
        raise UsageError(f"--httpd {path} is not Apache's server: '{path.name} -v' says {first}")


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


def httpd_of(apache: Apache, cache: Cache) -> Httpd:
    """Return the installation of an Apache of a run, which is built if it has to be. Raises as
    :func:`build_httpd`."""
    return apache.httpd or build_httpd(cache)


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
        title=f"Apache ({MOD_WSGI_HTTPD} {_RELEASE})",
        kind="httpd",
        key={"version": _RELEASE, "libc": libc, **compiler_key()},
        make=_compile,
    )


def _compile(directory: Path) -> None:
    install(
        [f"{MOD_WSGI_HTTPD}=={_RELEASE}"],
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
