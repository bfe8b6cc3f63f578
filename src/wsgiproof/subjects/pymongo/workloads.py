"""The workloads of the built-in application, as values of an axis: what each of them needs.

What each does is in a module of the agent: ``gridfs`` is ``agent/work_gridfs.py``.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from packaging.version import Version

CRUD = "crud"
"""The one that is meant if none is named."""


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What a workload needs."""

    pymongo: Version | None = None
    """The first PyMongo that has all that it uses; None: each has."""
    feature: str = ""
    """What older ones lack."""
    python: Version | None = None
    """The first Python; None: each that PyMongo supports."""
    in_memory: bool = False
    """Whether a part of it needs no deployment."""
    history: bool = False
    """Whether it needs an oplog, which only the members of a replica set write."""
    one_interpreter: bool = False
    """Whether what it needs serves a single interpreter of a process, at least on some Pythons:
    cryptography everywhere, asyncio before 3.12 (docs/findings.md, 24 and 19)."""
    extras: tuple[str, ...] = ()
    """The extras of PyMongo that are installed for it."""


WORKLOADS: Mapping[str, Workload] = {
    CRUD: Workload(in_memory=True),
    "gridfs": Workload(),
    "transactions": Workload(
        pymongo=Version("3.9"), feature="ClientSession.with_transaction", history=True
    ),
    "change-streams": Workload(pymongo=Version("3.6"), feature="Collection.watch", history=True),
    "bulk": Workload(pymongo=Version("3.0"), feature="Collection.bulk_write"),
    "async": Workload(
        pymongo=Version("4.9"),
        feature="AsyncMongoClient",
        python=Version("3.9"),
        one_interpreter=True,
    ),
    "raw-bson": Workload(pymongo=Version("3.8"), feature="TypeRegistry", in_memory=True),
    "encryption": Workload(
        pymongo=Version("3.9"),
        feature="ClientEncryption",
        one_interpreter=True,
        extras=("encryption",),
    ),
}


def why_unsupported(
    name: str, pymongo: str, python: str, *, deployed: bool, standalone: bool
) -> str:
    """Return why this PyMongo can't do a workload on this Python and topology; empty if it can.

    ``deployed`` is false without a deployment, and ``standalone`` true for a single mongod.
    """
    one = WORKLOADS[name]
    if one.pymongo is not None and Version(pymongo) < one.pymongo:
        return f"PyMongo {pymongo} is older than {one.pymongo} and has no {one.feature}"
    if one.python is not None and Version(python) < one.python:
        return f"Python {python} is older than {one.python}: no workload {name}"
    if not deployed and not one.in_memory:
        return f"the workload {name} needs a deployment"
    if standalone and one.history:
        return f"the workload {name} needs a replica set or a sharded cluster"
    return ""
