"""The isolated environment that the subject is installed in."""

from __future__ import annotations

from pathlib import Path

from wsgiproof.build.packages import install_environment
from wsgiproof.cache import Cache
from wsgiproof.toolchain import Python, Source


def build_environment(pymongo: Source, python: Python, cache: Cache) -> Path:
    """A virtual environment of ``python`` with this PyMongo in it: its home, for mod_wsgi.

    Raises :class:`BuildFailed` with the installer's last words. Whether the C extensions came with
    it is not assumed here: the ``identity`` check asks the interpreter that serves.
    """
    requirement = (
        f"pymongo @ {Path(pymongo.archive).as_uri()}"
        if pymongo.archive
        else f"pymongo=={pymongo.version}"
    )

    def fill(directory: Path) -> None:
        log = directory / "install.log"
        install_environment(directory / "env", requirement, python, cache, log)

    key = {
        "version": f"pymongo{pymongo.version}",
        "digest": pymongo.digest,
        "python": python.version,
        "interpreter": python.path,
        "free-threaded": str(python.free_threaded),
        "bytecode": "compiled",
    }
    return cache.entry("environment", key, fill) / "env"
