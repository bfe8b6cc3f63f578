"""The toolchain of a cell, built or taken from the cache."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from wsgiproof.provision.cache import Build, Cache
from wsgiproof.provision.environment import environment_build, home_in, installed_packages
from wsgiproof.provision.modwsgi import mod_wsgi_build, module_in
from wsgiproof.provision.toolchain import BuildSpec, Httpd, Toolchain


def build_toolchain(spec: BuildSpec, httpd: Httpd, cache: Cache) -> Toolchain:
    """Return a toolchain; build what is not cached. Raises :class:`BuildFailed` or
    :class:`CannotRun`."""
    mod_wsgi, *environment = _builds(spec, httpd, cache)
    if spec.installed:
        home, packages = Path(spec.installed.home), spec.installed.packages
    else:
        home = home_in(cache.get(environment[0]))
        packages = installed_packages(home)
    return Toolchain(
        python=spec.python,
        httpd=httpd,
        mod_wsgi=module_in(cache.get(mod_wsgi)),
        home=home,
        packages=packages,
    )


def toolchain_builds(specs: Iterable[tuple[BuildSpec, Httpd]], cache: Cache) -> list[Build]:
    """Return each build that these toolchains consist of, each for its Apache, once."""
    builds = [build for spec, httpd in specs for build in _builds(spec, httpd, cache)]
    return list({(build.kind, *sorted(build.key.items())): build for build in builds}.values())


def _builds(spec: BuildSpec, httpd: Httpd, cache: Cache) -> list[Build]:
    """The build of mod_wsgi, and that of the environment if there is none yet."""
    mod_wsgi = mod_wsgi_build(spec.mod_wsgi, spec.python, httpd, cache)
    return [mod_wsgi, *([] if spec.installed else [environment_build(spec, cache)])]
