"""Everything that a cell needs, built or taken from the cache."""

from __future__ import annotations

from wsgiproof.build.environment import build_environment, installed_packages
from wsgiproof.build.modwsgi import build_mod_wsgi
from wsgiproof.cache import Cache
from wsgiproof.toolchain import Httpd, Parts, Toolchain


def build_toolchain(parts: Parts, httpd: Httpd, cache: Cache) -> Toolchain:
    """Build what is not cached yet. Raises :class:`BuildFailed` or :class:`CannotRun`."""
    home = build_environment(parts, cache)
    return Toolchain(
        python=parts.python,
        httpd=httpd,
        mod_wsgi=build_mod_wsgi(parts.mod_wsgi, parts.python, httpd, cache),
        home=home,
        packages=installed_packages(home),
    )
