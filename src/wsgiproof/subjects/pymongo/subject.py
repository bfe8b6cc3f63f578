"""PyMongo as a subject.

Every command reads the axes of a subject. Few need a deployment, or judge: the driver on the host
side and the rules, which take a while, are imported where they are used.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsgiproof.records.cell import Cell
from wsgiproof.subjects.backend import Asked, Backend, Backends, Needs, Place
from wsgiproof.subjects.base import Subject
from wsgiproof.subjects.pymongo import COLLECTIONS
from wsgiproof.subjects.pymongo.axes import (
    AXES,
    Topology,
    closed_app_name,
    extras_for,
    extras_of,
    has_app_name,
    has_tls,
    topology_of,
    uri_options_of,
    workload_of,
)
from wsgiproof.subjects.pymongo.controls import CONTROLS
from wsgiproof.subjects.pymongo.extras import parse_extras

if TYPE_CHECKING:
    from wsgiproof.judge.rules import Rules
    from wsgiproof.process.account import Account
    from wsgiproof.subjects.pymongo.mongod_binary import Mongod

DOCUMENTS = 20
"""The recipe's number of documents."""
_BATCH_SIZE = 10
_SCRATCH = 1_500_000_000
"""Bytes: the data files of a replica set."""
_TASKS = 300
_DEFAULT_PORT = 27017


class PyMongo(Subject):
    """The driver, with its C extensions, against a MongoDB deployment or without one."""

    name = "pymongo"
    title = "PyMongo"
    agent = Path(__file__).with_name("agent")
    axes = AXES
    identity = ("version", "path", "bson_has_c", "pymongo_has_c", "extras", "verifies_tls")
    controls = CONTROLS
    needed = "mongod"
    backend_title = "MongoDB"
    by_default = (
        "four: the newest PyMongo and mod_wsgi for the Python at hand, on a standalone and on a "
        "replica set of three, in daemon and in embedded mode"
    )
    examples: Mapping[str, tuple[str, ...]] = {
        "run": (
            "wsgiproof run --mode daemon --pymongo 4.20.0 --mod-wsgi 5.0.2",
            "wsgiproof run --python 3.12 --python 3.13 --pymongo . --jobs 4",
            "wsgiproof run --app shop.py --requirement 'flask==3.1' --topology none",
            "wsgiproof run --mongodb 'mongodb://127.0.0.1:27017/'",
        ),
        "doctor": ("wsgiproof doctor --python 3.13 --mongodb /opt/mongodb-7.0/bin/mongod",),
        "report": (
            "wsgiproof report pymongo-4.* --trends --by pymongo --figure memory_per_request",
        ),
    }
    found_by_app = (
        "environ['wsgiproof.mongodb_uri'] and ['wsgiproof.database'], and at import "
        "os.environ['WSGIPROOF_MONGODB_URI'] and ['WSGIPROOF_DATABASE']"
    )
    build_variables: Mapping[str, str] = {"PYMONGO_C_EXT_MUST_BUILD": "1"}
    """Without it, PyMongo is built without C extensions if they do not compile (PyMongo's
    documentation, "Installing / Upgrading")."""
    selftest: Mapping[str, str] = {"pymongo": "4.20.0", "topology": Topology.STANDALONE}

    def needs(self, asked: Asked) -> Needs:
        """Return what a replica set takes, if wsgiproof starts any mongod."""
        from wsgiproof.subjects.pymongo.backends import starts_mongod

        return Needs(tasks=_TASKS, scratch=_SCRATCH) if starts_mongod(asked) else Needs()

    def extras(self, values: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
        """Return PyMongo's, also those that the workload needs."""
        needed = extras_for(values["workload"])
        return {"pymongo": tuple(sorted({*parse_extras(values["extras"]), *needed}))}

    def find_backends(self, asked: Asked, account: Account | None) -> Backends:
        """Find each mongod, and check the files of each URI."""
        from wsgiproof.subjects.pymongo.backends import find_mongodbs

        return find_mongodbs(asked, account)

    def found_here(self, backend: Mongod | str | None, account: Account) -> Mongod | str | None:
        """Return the mongod of the same version, or the same existing deployment."""
        from wsgiproof.subjects.pymongo.backends import found_here

        return found_here(backend, account)

    def shared_by(self, cell: Cell) -> object:
        """A deployment runs JavaScript only for an application that may need it."""
        return topology_of(cell), bool(cell.own_app), has_tls(cell)

    def by_hand(
        self, cell: Cell, backend: Mongod | str | None, name: str
    ) -> tuple[Mapping[str, str], tuple[str, ...]]:
        """Return the user's deployment, or a MongoDB on the default port."""
        from wsgiproof.server.ports import LOOPBACK
        from wsgiproof.subjects.pymongo.deployment import connect_deployment
        from wsgiproof.subjects.pymongo.uri import with_options

        if backend is None:
            return {}, ()
        if isinstance(backend, str):
            with closing(connect_deployment(backend)) as existing:
                return existing.connection(cell, name), ()
        named = f"?appName={name}" if has_app_name(cell) else ""
        uri = f"mongodb://{LOOPBACK}:{_DEFAULT_PORT}/{named}"
        uri = with_options(uri, **uri_options_of(cell))
        without = ", without TLS" if has_tls(cell) else ""
        mongod = shlex.quote(str(backend.path))
        return {"uri": uri, "database": name}, (
            f"It expects a MongoDB on port {_DEFAULT_PORT}{without}, such as: "
            f'{mongod} --bind_ip {LOOPBACK} --dbpath "$(mktemp -d)" '
            "(every user of this machine can use it)",
            "or another one, by its URI in app/settings.json.",
        )

    @contextmanager
    def start(self, cell: Cell, backend: Mongod | str | None, place: Place) -> Iterator[Backend]:
        """Start a deployment, or connect to an existing one."""
        from wsgiproof.subjects.pymongo.deployment import connect_deployment, start_deployment

        if backend is None:
            yield Backend()
        elif isinstance(backend, str):
            with closing(connect_deployment(backend)) as existing:
                yield existing
        else:
            directory = place.private()
            with start_deployment(
                topology_of(cell),
                backend,
                directory,
                place.logs(directory.name),
                place.port,
                scripting=bool(cell.own_app),
                shared=place.shared() if has_tls(cell) else None,
            ) as started:
                yield started

    def settings(self, cell: Cell, connection: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the workload, where it writes how many documents, and whom to trust."""
        database = connection.get("database", "")
        alone = cell.own_app or topology_of(cell) is Topology.NONE
        return {
            "workload": workload_of(cell),
            "uri": connection.get("uri", ""),
            "database": database,
            "extras": sorted(extras_of(cell)),
            "authority": connection.get("authority"),
            "stranger": connection.get("stranger"),
            "documents": 0 if alone else DOCUMENTS,
            "batch_size": _BATCH_SIZE,
            "prefix": COLLECTIONS,
            "closed_app_name": closed_app_name(database) if has_app_name(cell) else None,
            # A client that is left open sometimes crashes the process at the stop (docs/findings.md
            # 1). That is a finding about PyMongo, and would disturb the proof of a check.
            "close": bool(cell.control),
        }

    def for_app(self, connection: Mapping[str, str]) -> Mapping[str, str]:
        """Return the URI and the database; they are empty without a deployment."""
        return {
            "mongodb_uri": connection.get("uri", ""),
            "database": connection.get("database", ""),
        }

    @cached_property
    def rules(self) -> Rules:
        """How it is judged."""
        from wsgiproof.subjects.pymongo.rules import RULES

        return RULES


PYMONGO = PyMongo()
