"""What the values of the axes stand for, on this machine and on the package index."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import product

from wsgiproof.build.source import find_source
from wsgiproof.cache import Cache
from wsgiproof.cell import Mpm
from wsgiproof.config import Config
from wsgiproof.errors import Unsupported
from wsgiproof.matrix import Answer, ResolvedAxes, Server
from wsgiproof.preflight import Machine
from wsgiproof.services.deployment import connect_deployment
from wsgiproof.services.mongod import Mongod
from wsgiproof.signals import ended_by
from wsgiproof.toolchain import Python

_ASKED_AT_ONCE = 8
_PACKAGES = (("mod_wsgis", "mod_wsgi", "mod-wsgi"), ("pymongos", "pymongo", "pymongo"))
"""The field of :class:`ResolvedAxes`, the axis, and the package on the index."""


def resolve_axes(config: Config, machine: Machine, cache: Cache) -> ResolvedAxes:
    """Ask the package index for each version, and each deployment that is there what it is.

    Raises a :class:`wsgiproof.errors.WsgiproofError` for a value that stands for nothing.
    """
    return ResolvedAxes(
        pythons={python.asked: python for python in machine.pythons},
        **_sources(config, machine, cache),
        mpms=machine.httpd.mpms if machine.httpd else tuple(Mpm),
        servers=_servers(machine),
    )


def _sources(
    config: Config, machine: Machine, cache: Cache
) -> dict[str, dict[tuple[str, str], Answer]]:
    """What each version is, by the field of :class:`ResolvedAxes`; all asked at once."""
    interrupted = threading.Event()

    def ask(package: str, python: Python, value: str) -> Answer:
        with ended_by(interrupted):
            return _answer(package, value, python, cache)

    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        try:
            asked = {
                field: {
                    (python.name, value): pool.submit(ask, package, python, value)
                    for python, value in product(machine.pythons, config.values(axis))
                }
                for field, axis, package in _PACKAGES
            }
            return {
                field: {key: answer.result() for key, answer in answers.items()}
                for field, answers in asked.items()
            }
        except BaseException:
            interrupted.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _answer(package: str, value: str, python: Python, cache: Cache) -> Answer:
    try:
        return find_source(package, value, python, cache)
    except Unsupported as error:
        return str(error)


def _servers(machine: Machine) -> Mapping[str, Server]:
    return {
        value: _started(name, server) if isinstance(server, Mongod) else _there(name, server)
        for value, (name, server) in machine.servers.items()
    }


def _started(name: str, mongod: Mongod) -> Server:
    return Server(name=name, version=mongod.version)


def _there(name: str, uri: str) -> Server:
    deployment = connect_deployment(uri)
    deployment.close()
    return Server(name=name, version=deployment.version, topology=deployment.topology)
