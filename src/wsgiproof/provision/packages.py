"""Packages for a target Python from the package index: with uv, or with pip for Python 2.7.

uv supports Python 3.6 and newer. :mod:`wsgiproof.provision.python2` does the same for Python 2.7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from wsgiproof.errors import Unsupported
from wsgiproof.provision import index, python2
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.toolchain import Python
from wsgiproof.records.cell import Resolution

_KIND, _FILE = "index", "answer.json"


def find_version(package: str, version: str, python: Python, cache: Cache) -> str:
    """Return the exact version of ``package`` for ``python``.

    ``version`` is an exact version; one or two numbers, which stand for the newest version that
    begins with them; ``latest`` (or empty) for the newest that supports this Python; or ``min`` for
    the oldest that has a wheel for it. A pre-release is taken only if its own version is given. The
    result for an exact version is cached, since it does not change.

    Raises :class:`Unsupported` if the version exists but does not support this Python,
    :class:`UsageError` if it does not exist, and :class:`CannotRun` if the index does not answer.
    """
    index.check_version(package, version)
    if not index.is_exact(version):
        return _look_up(package, version, python, cache)
    key = {"version": f"{package}-{version}", "python": python.version}
    entry = cache.entry(
        _KIND, key, lambda directory: _save_lookup(package, version, python, cache, directory)
    )
    lookup = _decode_lookup((entry / _FILE).read_bytes())
    if lookup.unsupported:
        raise Unsupported(lookup.unsupported)
    return lookup.version


class _CachedLookup(msgspec.Struct, omit_defaults=True):
    """The result of looking up one exact version for one Python, which does not change."""

    version: str = ""
    unsupported: str = ""


_decode_lookup = msgspec.json.Decoder(_CachedLookup).decode  # at import: see cache.Marker


def _save_lookup(package: str, version: str, python: Python, cache: Cache, directory: Path) -> None:
    try:
        lookup = _CachedLookup(version=_look_up(package, version, python, cache))
    except Unsupported as error:
        lookup = _CachedLookup(unsupported=str(error))
    (directory / _FILE).write_bytes(msgspec.json.encode(lookup))


def _look_up(package: str, version: str, python: Python, cache: Cache) -> str:
    if _is_python2(python):
        return python2.find_version(package, version, python, cache)
    return index.find_version(package, version, python)


def install_environment(
    home: Path,
    requirements: Sequence[str],
    python: Python,
    cache: Cache,
    *,
    subjects: Sequence[str] = (),
    resolution: Resolution = Resolution.HIGHEST,
    constraints: Path,
    log: Path,
    variables: Mapping[str, str],
) -> None:
    """Make an environment of ``python`` at ``home``, and install ``requirements`` in it.

    ``subjects`` are the names of packages whose own dependencies are direct ones. ``variables`` are
    environment variables for builds. Raises :class:`BuildFailed` with the installer's error.
    """
    if _is_python2(python):
        python2.make_environment(python, home)
        if requirements:
            target = python2.site_packages(home)
            python2.install(requirements, target, python, cache, constraints=constraints, log=log)
    else:
        index.make_environment(python, home)
        if requirements:
            python3 = home / "bin" / "python"
            index.install(
                requirements,
                python3,
                subjects=subjects,
                resolution=resolution,
                constraints=constraints,
                log=log,
                env=variables,
            )


def look_ahead(
    requirements: Sequence[str],
    python: Python,
    *,
    subjects: Sequence[str],
    resolution: Resolution,
    constraints: str,
    variables: Mapping[str, str],
) -> dict[str, str]:
    """Return what :func:`install_environment` would install of the package index, by name with its
    version; nothing for Python 2.7, whose pip can't tell. Raises as
    :func:`wsgiproof.provision.index.look_ahead`."""
    if _is_python2(python) or not requirements:
        return {}
    return index.look_ahead(
        requirements,
        Path(python.path),
        subjects=subjects,
        resolution=resolution,
        constraints=constraints,
        env=variables,
    )


def compile_into(
    target: Path, requirement: str, python: Python, cache: Cache, env: Mapping[str, str]
) -> None:
    """Build mod_wsgi, named by ``requirement``, for ``python`` into ``target``.

    ``env`` is added to the environment. The installer's own cache is not used, since it keys builds
    by version and Python tag alone. Raises :class:`BuildFailed` with the compiler's error.
    """
    log = target / "build.log"
    if _is_python2(python):
        python2.install([requirement], target, python, cache, log=log, env=env)
    else:
        index.install(
            [requirement],
            Path(python.path),
            target=target,
            source_only=["mod-wsgi"],
            env=env,
            log=log,
            use_cache=False,
        )


def _is_python2(python: Python) -> bool:
    return python.version.startswith("2.")
