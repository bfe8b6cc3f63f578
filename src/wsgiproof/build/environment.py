"""The isolated environment that the subject is installed in."""

from __future__ import annotations

from importlib.metadata import distributions
from pathlib import Path

from packaging.utils import canonicalize_name

from wsgiproof.build.packages import install_environment
from wsgiproof.cache import Cache
from wsgiproof.toolchain import Parts


def build_environment(parts: Parts, cache: Cache) -> Path:
    """A virtual environment with this PyMongo in it, and what is to be beside it: its home, for
    mod_wsgi.

    Cells that are made of the same share it: none can write there. Raises :class:`BuildFailed` with
    the installer's last words. Whether the C extensions came with it is not assumed here: the
    ``identity`` check asks the interpreter that serves.
    """
    pymongo, python = parts.pymongo, parts.python
    requirement = (
        f"pymongo @ {Path(pymongo.archive).as_uri()}"
        if pymongo.archive
        else f"pymongo=={pymongo.version}"
    )

    def fill(directory: Path) -> None:
        constraints = directory / "constraints.txt"
        constraints.write_text(parts.constraints)
        install_environment(
            directory / "env",
            [requirement, *parts.requirements],
            python,
            cache,
            constraints=constraints,
            log=directory / "install.log",
        )

    key = {
        "version": f"pymongo{pymongo.version}",
        "digest": pymongo.digest,
        "python": python.version,
        "interpreter": python.path,
        "free-threaded": str(python.free_threaded),
        "bytecode": "compiled",
        "requirements": "\n".join(parts.requirements),
        "constraints": parts.constraints,
    }
    return cache.entry("environment", key, fill) / "env"


def installed_packages(home: Path) -> dict[str, str]:
    """What is installed in an environment: the exact version of each, by its normalized name."""
    places = map(str, home.glob("lib/python*/site-packages"))
    found = {one.name: one.version for one in distributions(path=list(places))}
    return {canonicalize_name(name): version for name, version in sorted(found.items())}
