"""``mod_wsgi.so`` for one interpreter and one Apache: from an sdist, a tree, or ready made."""

from __future__ import annotations

import shutil
from pathlib import Path

from wsgiproof.build.packages import compile_into
from wsgiproof.cache import Cache
from wsgiproof.errors import BuildFailed
from wsgiproof.toolchain import Httpd, Python, Source


def build_mod_wsgi(source: Source, python: Python, httpd: Httpd, cache: Cache) -> Path:
    """The path of ``mod_wsgi.so``, built (10 to 25 seconds) or taken from the cache.

    A ready ``.so`` is copied there: Apache's user may not read it where it is. Raises
    :class:`BuildFailed` with the compiler's last words.
    """
    ready = source.archive.endswith(".so")
    requirement = (
        f"mod-wsgi @ {Path(source.archive).as_uri()}"
        if source.archive
        else f"mod-wsgi=={source.version}"
    )

    def compile_module(directory: Path) -> None:
        if ready:
            place = directory / "mod_wsgi" / "server"
            place.mkdir(parents=True)
            shutil.copyfile(source.archive, place / "mod_wsgi.so")
        else:
            # It depends on this apxs and on this libpython, by their places.
            compile_into(directory, requirement, python, cache, {"APXS": str(httpd.apxs)})
        _module(directory)

    key = {
        "version": source.version,
        "digest": source.digest,
        "python": python.version,
        "interpreter": python.path,
        "free-threaded": str(python.free_threaded),
        "apxs": str(httpd.apxs),
        "httpd": httpd.version,
    }
    return _module(cache.entry("mod_wsgi", key, compile_module))


def _module(directory: Path) -> Path:
    modules = sorted((directory / "mod_wsgi" / "server").glob("mod_wsgi*.so"))
    if not modules:
        raise BuildFailed(f"the build of mod_wsgi left no mod_wsgi.so in {directory}")
    return modules[0]
