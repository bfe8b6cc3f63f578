"""How PyMongo is judged, beside what holds for every subject."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from wsgiproof.judge.explain.catalog import read_entries
from wsgiproof.judge.finding import Claim
from wsgiproof.judge.problems import no_problems
from wsgiproof.judge.rules import Rules
from wsgiproof.records.cell import Cell
from wsgiproof.subjects.pymongo.axes import extras_of, has_tls
from wsgiproof.subjects.pymongo.closed_client import closed_client
from wsgiproof.subjects.pymongo.extras import split
from wsgiproof.subjects.pymongo.resources import RESOURCES

_FALLEN_BACK = (
    "PyMongo has fallen back to pure Python: find out why the import of its C extension failed"
)

_USABLE = "usable"
_EXTRA_LOST = (
    "PyMongo goes on without an extra that it can't import, and mostly does not say so: 'wsgiproof "
    "audit PACKAGE' tells whether its package refuses a second interpreter; if so, use a single "
    "one in each process (--interpreter main)"
)
_ANSWERS: Mapping[object, str] = {True: "refused", False: "accepted"}
_NOT_VERIFIED = (
    "certificates are not checked, so anybody between the client and the server can read and "
    "change everything: look for tlsInsecure or tlsAllowInvalidCertificates, and for the TLS "
    "library that PyMongo uses there"
)


def claims(
    cell: Cell, identity: Mapping[str, Any], every: Sequence[Mapping[str, Any]]
) -> Iterator[Claim]:
    """Yield the version, that each C extension was loaded, that each extra can be used that was
    asked for or that another interpreter uses, and that certificates are checked."""
    yield Claim(what="PyMongo", expected=cell.value("pymongo"), actual=identity.get("version"))
    for package in ("bson", "pymongo"):
        yield Claim(
            what=f"{package}.has_c()",
            expected=True,
            actual=identity.get(f"{package}_has_c"),
            action=_FALLEN_BACK,
        )
    told = identity.get("extras")
    elsewhere = frozenset[str]().union(*(split(one.get("extras")) for one in every))
    for name in sorted(extras_of(cell) | elsewhere):
        here = _USABLE if name in split(told) else "missing"
        yield Claim(
            what=f"PyMongo's extra {name}",
            expected=_USABLE,
            actual=None if told is None else here,
            action=_EXTRA_LOST,
        )
    if has_tls(cell):
        yield Claim(
            what="a server with the certificate of a stranger",
            expected="refused",
            actual=_ANSWERS.get(identity.get("verifies_tls")),
            action=_NOT_VERIFIED,
        )


ROUNDTRIP = no_problems(
    "roundtrip",
    about="Every value comes back with the same value and the same type, and every operation has "
    "the result that it should have.",
    unit="value",
    seen="changed while they were encoded and decoded or sent through the server",
    meaning="PyMongo returned another value, another type or another result than it should; a type "
    "of the same name, but not the same class, comes from another interpreter's modules",
    action="rerun this cell with one sub interpreter to see whether it takes a second one",
    passed="all that was written came back unchanged",
)
RULES = Rules(
    title="PyMongo",
    packages=("pymongo", "bson", "gridfs"),
    unserved="pymongo.errors.",
    claims=claims,
    checks={"roundtrip": ROUNDTRIP, "closed-client": closed_client},
    resources=RESOURCES,
    entries=read_entries(files(__package__).joinpath("entries.toml")),
)
