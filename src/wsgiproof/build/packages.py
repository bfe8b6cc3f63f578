"""What a target Python needs from the package index: by uv, or by pip where uv does not know it.

uv knows Python 3.6 and newer. :mod:`wsgiproof.build.python2` does the same for Python 2.7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from wsgiproof.build import index, python2
from wsgiproof.cache import Cache
from wsgiproof.errors import Unsupported
from wsgiproof.toolchain import Python

MUST_BUILD = {"PYMONGO_C_EXT_MUST_BUILD": "1"}
"""Without it PyMongo's build goes on without C extensions where they don't compile (its
documentation, "Installing / Upgrading")."""

_ANSWERS, _NOTE = "index", "answer.json"


def find_version(package: str, wanted: str, python: Python, cache: Cache) -> str:
    """Return an exact version of ``package`` for ``python``.

    ``wanted`` is an exact version; or one or two numbers, which stand for the newest version that
    begins with them; or ``latest``, as is an empty text; or ``min``, the oldest version that has a
    wheel for this Python. A pre-release is taken only where its own version is wanted.

    The answer about an exact version is kept: it does not change.

    Raises :class:`Unsupported` if there is such a version, and not for this Python,
    :class:`UsageError` if there is none, and :class:`CannotRun` if the index does not answer.
    """
    index.check_version(package, wanted)
    if not index.is_exact(wanted):
        return _ask(package, wanted, python, cache)
    key = {"version": f"{package}-{wanted}", "python": python.version}
    entry = cache.entry(
        _ANSWERS, key, lambda directory: _note(package, wanted, python, cache, directory)
    )
    answer = msgspec.json.decode((entry / _NOTE).read_bytes(), type=_Answer)
    if answer.unsupported:
        raise Unsupported(answer.unsupported)
    return answer.version


class _Answer(msgspec.Struct, omit_defaults=True):
    """What the index said of one exact version for one Python, which stays true."""

    version: str = ""
    unsupported: str = ""


def _note(package: str, wanted: str, python: Python, cache: Cache, directory: Path) -> None:
    try:
        answer = _Answer(version=_ask(package, wanted, python, cache))
    except Unsupported as error:
        answer = _Answer(unsupported=str(error))
    (directory / _NOTE).write_bytes(msgspec.json.encode(answer))


def _ask(package: str, wanted: str, python: Python, cache: Cache) -> str:
    if _is_python2(python):
        return python2.find_version(package, wanted, python, cache)
    return index.find_version(package, wanted, python)


def install_environment(
    home: Path,
    requirements: Sequence[str],
    python: Python,
    cache: Cache,
    *,
    constraints: Path,
    log: Path,
) -> None:
    """Make an environment of ``python`` at ``home``, with ``requirements`` in it.

    Raises :class:`BuildFailed` with the installer's last words.
    """
    if _is_python2(python):
        python2.make_environment(python, home)
        target = python2.site_packages(home)
        python2.install(requirements, target, python, cache, constraints=constraints, log=log)
    else:
        index.make_environment(python, home)
        environment = home / "bin" / "python"
        index.install(requirements, environment, constraints=constraints, log=log, env=MUST_BUILD)


def compile_into(
    target: Path, requirement: str, python: Python, cache: Cache, env: Mapping[str, str]
) -> None:
    """Build mod_wsgi, as ``requirement`` names it, for ``python``, with ``env`` added, into
    ``target``.

    What is built is never taken from the installer's own cache, which keys it by version and Python
    tag alone. Raises :class:`BuildFailed` with the compiler's last words.
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
