"""Resolve the values of the axes on this machine, the package index and existing deployments."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import product

from wsgiproof.config.matrix import ResolvedAxes, Server, SourceOrReason
from wsgiproof.config.model import Config
from wsgiproof.errors import Unsupported
from wsgiproof.process.signals import interrupted_by
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.source import find_source
from wsgiproof.provision.toolchain import Python
from wsgiproof.records.cell import Mpm
from wsgiproof.run.preflight import Machine
from wsgiproof.subjects.pymongo.deployment import connect_deployment
from wsgiproof.subjects.pymongo.mongod import Mongod

_PARALLEL_LOOKUPS = 8
_PACKAGES = (("mod_wsgis", "mod_wsgi", "mod-wsgi"), ("pymongos", "pymongo", "pymongo"))
"""The field of :class:`ResolvedAxes`, the axis, and the package on the index."""


def resolve_axes(config: Config, machine: Machine, cache: Cache) -> ResolvedAxes:
    """Look up each version on the package index, and connect to each existing deployment.

    Raises a :class:`wsgiproof.errors.WsgiproofError` for a value that can't be resolved.
    """
    return ResolvedAxes(
        pythons={python.asked: python for python in machine.pythons},
        **_sources(config, machine, cache),
        mpms=machine.httpd.mpms if machine.httpd else tuple(Mpm),
        servers=_servers(machine),
    )


def _sources(
    config: Config, machine: Machine, cache: Cache
) -> dict[str, dict[tuple[str, str], SourceOrReason]]:
    """Resolve all versions in parallel; return them by the field of :class:`ResolvedAxes`."""
    interrupted = threading.Event()

    def look_up(package: str, python: Python, value: str) -> SourceOrReason:
        with interrupted_by(interrupted):
            return _look_up(package, value, python, cache)

    with ThreadPoolExecutor(_PARALLEL_LOOKUPS) as pool:
        try:
            lookups = {
                field: {
                    (python.name, value): pool.submit(look_up, package, python, value)
                    for python, value in product(machine.pythons, config.values(axis))
                }
                for field, axis, package in _PACKAGES
            }
            return {
                field: {key: future.result() for key, future in futures.items()}
                for field, futures in lookups.items()
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


def _servers(machine: Machine) -> Mapping[str, Server]:
    return {
        value: Server(name=name, version=server.version)
        if isinstance(server, Mongod)
        else _existing(name, server)
        for value, (name, server) in machine.servers.items()
    }


def _existing(name: str, uri: str) -> Server:
    deployment = connect_deployment(uri)
    deployment.close()
    return Server(name=name, version=deployment.version, topology=deployment.topology)
