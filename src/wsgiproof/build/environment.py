"""The isolated environment that the subject is installed in."""

from __future__ import annotations

from pathlib import Path

from wsgiproof.build.packages import install_environment
from wsgiproof.cache import Build, Cache
from wsgiproof.toolchain import Python, Source

HOME = "env"
"""Where the environment is in its entry of the cache: the ``WSGIPythonHome``."""


def environment_build(pymongo: Source, python: Python, cache: Cache) -> Build:
    """What makes a virtual environment of ``python`` with this PyMongo in it.

    Making it raises :class:`BuildFailed` with the installer's last words. Whether the C extensions
    came with it is not assumed here: the ``identity`` check asks the interpreter that serves.
    """
    requirement = (
        f"pymongo @ {Path(pymongo.archive).as_uri()}"
        if pymongo.archive
        else f"pymongo=={pymongo.version}"
    )

    def fill(directory: Path) -> None:
        log = directory / "install.log"
        install_environment(directory / HOME, requirement, python, cache, log)

    return Build(
        title=f"PyMongo {pymongo.version} for {python.title}",
        kind="environment",
        key={
            "version": f"pymongo{pymongo.version}",
            "digest": pymongo.digest,
            "bytecode": "compiled",
            **python.identity(),
        },
        make=fill,
    )
