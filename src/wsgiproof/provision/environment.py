"""The isolated environment that the subject is installed in."""

from __future__ import annotations

from importlib.metadata import distributions
from pathlib import Path

from packaging.utils import canonicalize_name

from wsgiproof.provision.cache import Build, Cache
from wsgiproof.provision.packages import install_environment
from wsgiproof.provision.toolchain import BuildSpec

_HOME = "env"


def environment_build(spec: BuildSpec, cache: Cache) -> Build:
    """Return the build of a virtual environment with this PyMongo and the other requirements.

    Cells with the same requirements share it, since none can write to it. The build raises
    :class:`BuildFailed` with the installer's error. It does not check that PyMongo has its C
    extensions: the ``environment`` check asks the serving interpreter.
    """
    pymongo, python = spec.pymongo, spec.python
    requirement = (
        f"pymongo @ {Path(pymongo.archive).as_uri()}"
        if pymongo.archive
        else f"pymongo=={pymongo.version}"
    )

    def fill(directory: Path) -> None:
        constraints = directory / "constraints.txt"
        constraints.write_text(spec.constraints)
        install_environment(
            directory / _HOME,
            [requirement, *spec.requirements],
            python,
            cache,
            constraints=constraints,
            log=directory / "install.log",
        )

    return Build(
        title=f"PyMongo {pymongo.version} for {python.title}",
        kind="environment",
        key={
            "version": f"pymongo{pymongo.version}",
            "digest": pymongo.digest,
            "bytecode": "compiled",
            "requirements": "\n".join(spec.requirements),
            "constraints": spec.constraints,
            **python.identity(),
        },
        make=fill,
    )


def home_in(entry: Path) -> Path:
    """Return the environment in a built entry, for ``WSGIPythonHome``."""
    return entry / _HOME


def installed_packages(home: Path) -> dict[str, str]:
    """Return the exact version of each package in an environment, by its normalized name."""
    places = map(str, home.glob("lib/python*/site-packages"))
    found = {one.name: one.version for one in distributions(path=list(places))}
    return {canonicalize_name(name): version for name, version in sorted(found.items())}
