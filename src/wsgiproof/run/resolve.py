"""Resolve the values of the axes on this machine, the package index and existing deployments."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import product

from wsgiproof.config.axes import axes_of
from wsgiproof.config.matrix import ResolvedAxes, SourceOrReason
from wsgiproof.config.model import Config
from wsgiproof.errors import Unsupported
from wsgiproof.process.signals import interrupted_by
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.source import find_source
from wsgiproof.provision.toolchain import Python
from wsgiproof.records.cell import Mpm
from wsgiproof.run.preflight import Machine
from wsgiproof.subjects.registry import SUBJECTS

_PARALLEL_LOOKUPS = 8


def resolve_axes(config: Config, machine: Machine, cache: Cache) -> ResolvedAxes:
    """Look up each version on the package index, and connect to each existing deployment.

    Raises a :class:`wsgiproof.errors.WsgiproofError` for a value that can't be resolved.
    """
    sources = _sources(config, machine, cache)
    machine.backends.resolve()
    return ResolvedAxes(
        pythons={python.asked: python for python in machine.pythons},
        sources=sources,
        mpms=machine.httpd.mpms if machine.httpd else tuple(Mpm),
        backends=machine.backends,
    )


def _sources(
    config: Config, machine: Machine, cache: Cache
) -> dict[str, dict[tuple[str, str], SourceOrReason]]:
    """Resolve all versions in parallel; return them by axis."""
    interrupted = threading.Event()

    def look_up(package: str, python: Python, value: str) -> SourceOrReason:
        with interrupted_by(interrupted):
            return _look_up(package, value, python, cache)

    with ThreadPoolExecutor(_PARALLEL_LOOKUPS) as pool:
        try:
            lookups = {
                axis.name: {
                    (python.name, value): pool.submit(look_up, axis.package, python, value)
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
