"""Everything that a cell needs, built or taken from the cache."""

from __future__ import annotations

from collections.abc import Iterable

from wsgiproof.build.environment import environment_build, home_in, installed_packages
from wsgiproof.build.modwsgi import mod_wsgi_build, module_in
from wsgiproof.cache import Build, Cache
from wsgiproof.toolchain import BuildSpec, Httpd, Toolchain


def build_toolchain(spec: BuildSpec, httpd: Httpd, cache: Cache) -> Toolchain:
    """Build what is not cached yet. Raises :class:`BuildFailed` or :class:`CannotRun`."""
    mod_wsgi, environment = _builds(spec, httpd, cache)
    home = home_in(cache.get(environment))
    return Toolchain(
        python=spec.python,
        httpd=httpd,
        mod_wsgi=module_in(cache.get(mod_wsgi)),
        home=home,
        packages=installed_packages(home),
    )


def toolchain_builds(spec: Iterable[BuildSpec], httpd: Httpd, cache: Cache) -> list[Build]:
    """Each build that these toolchains are made of, once."""
    wanted = [build for one in spec for build in _builds(one, httpd, cache)]
    return list({(one.kind, *sorted(one.key.items())): one for one in wanted}.values())


def _builds(spec: BuildSpec, httpd: Httpd, cache: Cache) -> tuple[Build, Build]:
    return (
        mod_wsgi_build(spec.mod_wsgi, spec.python, httpd, cache),
        environment_build(spec, cache),
    )
