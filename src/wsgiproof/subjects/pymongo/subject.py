"""PyMongo as a subject."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wsgiproof.judge.finding import Claim
from wsgiproof.records.cell import Cell, Topology
from wsgiproof.subjects.base import Subject
from wsgiproof.subjects.pymongo.controls import CONTROLS
from wsgiproof.subjects.pymongo.deployment import COLLECTIONS

DOCUMENTS = 20
"""The recipe's number of documents."""
_BATCH_SIZE = 10
_FALLEN_BACK = (
    "PyMongo has fallen back to pure Python: find out why the import of its C extension failed"
)


class PyMongo(Subject):
    """The driver, with its C extensions, against a MongoDB deployment or without one."""

    name = "pymongo"
    title = "PyMongo"
    agent = Path(__file__).with_name("agent")
    identity = ("version", "path", "bson_has_c", "pymongo_has_c")
    controls = CONTROLS

    def settings(self, cell: Cell, connection: Mapping[str, str]) -> Mapping[str, Any]:
        """Return where to write how many documents."""
        alone = cell.app or cell.topology is Topology.NONE
        return {
            "uri": connection.get("uri", ""),
            "database": connection.get("database", ""),
            "documents": 0 if alone else DOCUMENTS,
            "batch_size": _BATCH_SIZE,
            "prefix": COLLECTIONS,
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

    def claims(self, cell: Cell, identity: Mapping[str, Any]) -> Iterable[Claim]:
        """Yield the version, and that each C extension was loaded."""
        yield Claim(what="PyMongo", expected=cell.pymongo, actual=identity.get("version"))
        for package in ("bson", "pymongo"):
            yield Claim(
                what=f"{package}.has_c()",
                expected=True,
                actual=identity.get(f"{package}_has_c"),
                action=_FALLEN_BACK,
            )


PYMONGO = PyMongo()
