"""Resolve the values of the axes on this machine, the package index and existing deployments."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import product

from wsgiproof.config.axes import axes_of
from wsgiproof.config.matrix import ResolvedAxes, SourceOrReason
from wsgiproof.config.model import Config
from wsgiproof.errors import BuildFailed, Unsupported, UsageError
from wsgiproof.process.signals import interrupted_by
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.environment import beside_subject, described
from wsgiproof.provision.index import LATEST
from wsgiproof.provision.source import exact_value, find_source, is_path
from wsgiproof.provision.toolchain import BuildSpec, Python
from wsgiproof.records.listed import Environment, Listed, Resolved
from wsgiproof.run.preflight import Machine
from wsgiproof.subjects.axis import Axis
from wsgiproof.subjects.registry import SUBJECTS

_PARALLEL_LOOKUPS = 8
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
_EXACT = re.compile(r"[0-9][0-9A-Za-z.!+]{0,100}|git\+https://[^\s@]{1,500}@[0-9a-f]{40}")


def resolve_axes(
    config: Config, machine: Machine, cache: Cache, listed: Listed | None = None
) -> ResolvedAxes:
    """Look up each version on the package index, and connect to each existing deployment.

    ``listed`` says what the values stood for when the matrix was listed, and they stand for the
    same. Raises a :class:`wsgiproof.errors.WsgiproofError` for a value that can't be resolved.
    """
    sources = _sources(config, machine, cache, _Pinned(listed) if listed else None)
    machine.backends.resolve()
    return ResolvedAxes(
        pythons={python.asked: python for python in machine.pythons},
        sources=sources,
        apaches={apache.asked: apache for apache in machine.apaches},
        backends=machine.backends,
    )


def resolved_values(resolved: ResolvedAxes) -> tuple[Resolved, ...]:
    """Return what each value stands for whose meaning may change: paths have no part in it."""
    return tuple(
        Resolved(axis=axis, python=python, asked=asked, reason=source)
        if isinstance(source, str)
        else Resolved(axis=axis, python=python, asked=asked, exact=exact_value(source))
        for axis, sources in resolved.sources.items()
        for (python, asked), source in sources.items()
        if not is_path(asked)
    )


def resolved_environments(specs: Iterable[BuildSpec]) -> tuple[Environment, ...]:
    """Return what the environments of these cells would hold now, each once.

    One that can't be resolved is left out: the cells that need it say why. Raises
    :class:`wsgiproof.errors.CannotRun` if the package index does not answer.
    """
    every = {(one.python.name, *described(one).items()): one for one in specs}.values()
    interrupted = threading.Event()

    def look_ahead(spec: BuildSpec) -> Environment | None:
        with interrupted_by(interrupted), suppress(BuildFailed):
            packages = beside_subject(spec)
            return Environment(python=spec.python.name, subject=described(spec), packages=packages)
        return None

    with ThreadPoolExecutor(_PARALLEL_LOOKUPS) as pool:
        try:
            found = [*pool.map(look_ahead, every)]
        except BaseException:
            interrupted.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return tuple(one for one in found if one is not None)


def pins_of(spec: BuildSpec, listed: Listed) -> list[str]:
    """Return what a list says of the environment of a cell, as lines of a constraints file."""
    for one in listed.environments:
        if one.python == spec.python.name and one.subject == described(spec):
            return [
                f"{_checked(name, _NAME)}=={_checked(version)}"
                for name, version in one.packages.items()
            ]
    return []


def _checked(text: str, allowed: re.Pattern[str] | None = None) -> str:
    """Return a part of a plan, which may come from anybody. Raises :class:`UsageError` if it is
    more than a version, or a commit of a git repository."""
    if not (allowed or _EXACT).fullmatch(text):
        raise UsageError(f"the plan has {text[:80]!r} where a name or an exact version has to be")
    return text


class _Pinned:
    """What values stood for when a matrix was listed."""

    def __init__(self, listed: Listed) -> None:
        self._values = {(one.axis, one.python, one.asked): one for one in listed.resolved}

    def find(self, axis: Axis, python: Python, value: str) -> Resolved:
        """Return what a value of an axis stood for. Raises :class:`UsageError` if it was not
        listed."""
        try:
            return self._values[axis.name, python.name, value]
        except KeyError:
            raise UsageError(
                f"the plan does not say which version {axis.option} {value or LATEST} is for "
                f"Python {python.name}: make it with 'wsgiproof list --json' and the same options"
            ) from None


def _sources(
    config: Config, machine: Machine, cache: Cache, pinned: _Pinned | None
) -> dict[str, dict[tuple[str, str], SourceOrReason]]:
    """Resolve all versions in parallel; return them by axis."""
    interrupted = threading.Event()

    def look_up(axis: Axis, python: Python, value: str) -> SourceOrReason:
        if pinned and not is_path(value):
            known = pinned.find(axis, python, value)
            if known.reason:
                return known.reason
            value = _checked(known.exact)
        with interrupted_by(interrupted):
            return _look_up(axis.package, value, python, cache)

    with ThreadPoolExecutor(_PARALLEL_LOOKUPS) as pool:
        try:
            lookups = {
                axis.name: {
                    (python.name, value): pool.submit(look_up, axis, python, value)
                    for python, value in product(machine.pythons, config.values(axis.name))
                }
                for axis in axes_of(SUBJECTS[config.subject])
                if axis.package
            }
            return {
                axis: {key: future.result() for key, future in futures.items()}
                for axis, futures in lookups.items()
            }
        except BaseException:
            interrupted.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _look_up(package: str, value: str, python: Python, cache: Cache) -> SourceOrReason:
    try:
        return find_source(package, value, python, cache)
    except Unsupported as error:
        return str(error)
