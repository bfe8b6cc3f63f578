"""The isolated environment that the subject is installed in."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path

from packaging.utils import canonicalize_name

from wsgiproof.provision.cache import Build, Cache
from wsgiproof.provision.packages import install_environment, look_ahead
from wsgiproof.provision.toolchain import BuildSpec, Source
from wsgiproof.records.cell import Resolution

_HOME = "env"


def environment_build(spec: BuildSpec, cache: Cache) -> Build:
    """Return the build of a virtual environment with the subject and the other requirements.

    Cells with the same requirements share it, since none can write to it. The build raises
    :class:`BuildFailed` with the installer's error. It does not check that the subject has its C
    extensions: the ``environment`` check asks the serving interpreter.
    """
    python = spec.python
    named = ", ".join(f"{name} {source.version}" for name, source in spec.packages.items())

    def fill(directory: Path) -> None:
        constraints = directory / "constraints.txt"
        constraints.write_text(spec.constraints)
        install_environment(
            directory / _HOME,
            [*_subject(spec), *spec.requirements],
            python,
            cache,
            subjects=tuple(spec.packages),
            resolution=spec.resolution,
            constraints=constraints,
            log=directory / "install.log",
            variables=spec.variables,
        )

    return Build(
        title=f"{named or 'an empty environment'} for {python.title}",
        kind="environment",
        key={
            "version": "+".join(f"{name}{one.version}" for name, one in spec.packages.items()),
            "digest": "+".join(one.digest for one in spec.packages.values()),
            "bytecode": "compiled",
            "requirements": "\n".join([*_extras(spec), *spec.requirements]),
            "constraints": spec.constraints,
            **(
                {"resolution": spec.resolution} if spec.resolution is not Resolution.HIGHEST else {}
            ),
            **python.identity(),
        },
        make=fill,
    )


def described(spec: BuildSpec) -> dict[str, str]:
    """Return the packages of the subject by name, each with what tells it from others: its version,
    its extras, and its digest if it is not from the package index."""
    return {
        name: f"{source.version}{_in_brackets(spec.extras.get(name, ()))} {source.digest}".strip()
        for name, source in spec.packages.items()
    }


def beside_subject(spec: BuildSpec) -> dict[str, str]:
    """Return the exact versions of what would be installed now beside the subject, by name. Raises
    :class:`BuildFailed` and :class:`CannotRun`."""
    found = look_ahead(
        [*_subject(spec), *spec.requirements],
        spec.python,
        subjects=tuple(spec.packages),
        resolution=spec.resolution,
        constraints=spec.constraints,
        variables=spec.variables,
    )
    return {name: version for name, version in found.items() if name not in spec.packages}


def _subject(spec: BuildSpec) -> list[str]:
    return [
        _requirement(name, spec.extras.get(name, ()), source)
        for name, source in spec.packages.items()
    ]


def _extras(spec: BuildSpec) -> list[str]:
    return [f"{name}{_in_brackets(extras)}" for name, extras in spec.extras.items()]


def _in_brackets(extras: Sequence[str]) -> str:
    return f"[{','.join(extras)}]" if extras else ""


def _requirement(name: str, extras: tuple[str, ...], source: Source) -> str:
    name += _in_brackets(extras)
    if source.archive:
        return f"{name} @ {Path(source.archive).as_uri()}"
    return f"{name}=={source.version}"


def home_in(entry: Path) -> Path:
    """Return the environment in a built entry, for ``WSGIPythonHome``."""
    return entry / _HOME


def installed_packages(home: Path) -> dict[str, str]:
    """Return the exact version of each package in an environment, by its normalized name."""
    places = map(str, home.glob("lib/python*/site-packages"))
    found = {one.name: one.version for one in distributions(path=list(places))}
    return {canonicalize_name(name): version for name, version in sorted(found.items())}
