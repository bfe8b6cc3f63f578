"""The toolchain of a cell, built or taken from the cache."""

from __future__ import annotations

from collections.abc import Iterable

from wsgiproof.provision.cache import Build, Cache
from wsgiproof.provision.environment import environment_build, home_in, installed_packages
from wsgiproof.provision.modwsgi import mod_wsgi_build, module_in
from wsgiproof.provision.toolchain import BuildSpec, Httpd, Toolchain


def build_toolchain(spec: BuildSpec, httpd: Httpd, cache: Cache) -> Toolchain:
    """Return a toolchain; build what is not cached. Raises :class:`BuildFailed` or
    :class:`CannotRun`."""
    mod_wsgi, environment = _builds(spec, httpd, cache)
    home = home_in(cache.get(environment))
    return Toolchain(
        python=spec.python,
        httpd=httpd,
        mod_wsgi=module_in(cache.get(mod_wsgi)),
        home=home,
        packages=installed_packages(home),
    )


def toolchain_builds(specs: Iterable[BuildSpec], httpd: Httpd, cache: Cache) -> list[Build]:
    """Return each build that these toolchains consist of, once."""
    builds = [build for spec in specs for build in _builds(spec, httpd, cache)]
    return list({(build.kind, *sorted(build.key.items())): build for build in builds}.values())


def _builds(spec: BuildSpec, httpd: Httpd, cache: Cache) -> tuple[Build, Build]:
    return (
        mod_wsgi_build(spec.mod_wsgi, spec.python, httpd, cache),
        environment_build(spec, cache),
    )
