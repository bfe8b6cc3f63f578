"""What PyMongo adds to the matrix: its version, and the deployment that it talks to."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from wsgiproof.files import place
from wsgiproof.records.cell import Cell
from wsgiproof.subjects.axis import Axis, absolute
from wsgiproof.subjects.pymongo.extras import COMPRESSORS, KNOWN, NO_EXTRAS, split
from wsgiproof.subjects.pymongo.uri import FILE, has_password, is_uri
from wsgiproof.subjects.pymongo.uri_options import NO_OPTIONS, parse_options
from wsgiproof.subjects.pymongo.workloads import CRUD, WORKLOADS


class Topology(StrEnum):
    """The topology of the MongoDB deployment."""

    STANDALONE = "standalone"
    REPLICA_SET = "replica-set"
    SHARDED = "sharded"
    """A sharded cluster, through the mongos processes that a URI names."""
    LOAD_BALANCED = "load-balanced"
    """The same behind a load balancer (``loadBalanced=true``), which chooses a mongos."""
    NONE = "none"
    """No deployment: the application only encodes and decodes in memory."""


class Transport(StrEnum):
    """How a deployment that wsgiproof starts is connected to."""

    PLAIN = "plain"
    TLS = "tls"


DEPLOYED = (Topology.STANDALONE, Topology.REPLICA_SET)
"""The topologies that wsgiproof starts, which are tested by default."""
MEMBERS = {Topology.STANDALONE: 1, Topology.REPLICA_SET: 3}
"""How many members each of these has."""
URI = "uri"
"""The name of a deployment that was given by its URI alone, which may hold a password."""
SERVERS = "mongodb_servers"
"""The key of the table that gives names to servers."""


def has_tls(cell: Cell) -> bool:
    """Whether the deployment that wsgiproof starts for a cell has TLS."""
    return cell.value("transport") == Transport.TLS


def uri_options_of(cell: Cell) -> dict[str, str]:
    """Return the options that a cell adds to the URI of its deployment."""
    return parse_options(cell.value("uri_options"))


def extras_of(cell: Cell) -> frozenset[str]:
    """Return the extras of PyMongo that a cell asks for, also by the compressors in its URI and by
    its workload.

    The values of a recorded cell may be anything.
    """
    named = re.search(r"(?:^|&)compressors=([^&]*)", cell.value("uri_options"))
    by_uri = split(named[1]) & frozenset(COMPRESSORS) if named else frozenset()
    return split(cell.value("extras")) | by_uri | extras_for(workload_of(cell))


def extras_for(workload: str) -> frozenset[str]:
    """Return the extras that a workload needs; none if there is no such workload."""
    return frozenset(WORKLOADS[workload].extras if workload in WORKLOADS else ())


def workload_of(cell: Cell) -> str:
    """Return the workload of a cell. Cells of records from before there were others have none."""
    return cell.value("workload") or CRUD


def topology_of(cell: Cell) -> Topology:
    """Return the topology of a cell."""
    return Topology(cell.value("topology"))


def closed_app_name(app_name: str) -> str:
    """Return the appName of the built-in application's client that is closed."""
    return f"{app_name}-closed"


def has_app_name(cell: Cell) -> bool:
    """Whether this PyMongo sends an appName, by which the deployment knows its connections.

    The first is 3.4. PyMongo 2.7.2 refuses a URI with an appName.
    """
    numbers = re.match(r"(\d+)(?:\.(\d+))?", cell.value("pymongo"))
    return numbers is None or (int(numbers[1]), int(numbers[2] or 0)) >= (3, 4)


def _absolute_server(value: str, directory: Path) -> str:
    """Return the path of a mongod, or of a file with a URI, made absolute."""
    if value.startswith(FILE):
        return FILE + place(value.removeprefix(FILE), directory)
    return value if is_uri(value) else absolute(value, directory)


def _unless(usual: str) -> Callable[[str], str]:
    """Return a function that shows a value, unless it is the usual one, which names nothing."""
    return lambda value: "" if value == usual else value


AXES = (
    Axis(
        name="pymongo",
        title="PyMongo",
        metavar="VERSION|PATH",
        help="PyMongo: 4.20.0, 4.20 (the newest 4.20.x), a path.\n"
        "Or latest (the default), or min: the oldest with a wheel. A path is a wheel, a source "
        "checkout such as '.', or an archive of one; git+https://HOST/PATH@BRANCH is a repository.",
        about="PyMongo: versions (4.20.0; 4.20 is the newest 4.20.x), 'latest', 'min' (the oldest "
        "with a wheel), a wheel, a source checkout, or git+https://HOST/PATH@BRANCH.",
        example='["latest", "min"]',
        package="pymongo",
        words=("latest", "min"),
        absolute=absolute,
    ),
    Axis(
        name="topology",
        metavar="NAME",
        help="standalone, replica-set or none (no MongoDB).\n"
        "Also sharded or load-balanced, if --mongodb names such a deployment. With none, PyMongo "
        "encodes and decodes only.  [default: standalone and replica-set]",
        about="How the deployment is made up (sharded, load-balanced: only one that mongodb names; "
        "none: encode and decode only):",
        default=DEPLOYED,
        choices=tuple(Topology),
    ),
    Axis(
        name="workload",
        metavar="NAME",
        help="What PyMongo does in each request, such as gridfs.\n"
        f"{', '.join(WORKLOADS)}. Of the built-in application; encryption installs PyMongo's extra "
        f"of that name.  [default: {CRUD}]",
        about="What PyMongo does in each request of the built-in application:",
        default=(CRUD,),
        choices=tuple(WORKLOADS),
        built_in=True,
        rare=True,
        shown=_unless(CRUD),
    ),
    Axis(
        name="mongodb",
        metavar="PATH|URI|NAME",
        help="The mongod to start, or a deployment to use.\n"
        "NAME is one of mongodb_servers in the file. In a deployment, wsgiproof uses a database of "
        "its own. Keep a URI with a password off the command line: env:NAME, file:PATH, or - for a "
        "line of standard input. Default: the mongod on this machine.",
        about="Servers: names of mongodb_servers, paths of a mongod, or mongodb:// URIs of "
        "deployments, or where such a URI is: env:NAME, file:PATH, or - for a line of standard "
        "input. Without it: the mongod on this machine.",
        example='["seven"]',
        names=SERVERS,
        about_names="Each name with the path of a mongod, or the URI of a deployment. A URI may "
        "hold a password: env:NAME, file:PATH, or - for a line of standard input name a place "
        "where it is kept.",
        example_names='{ seven = "/opt/mongodb-7.0/bin/mongod", shared = "mongodb://127.0.0.1/" }',
        absolute=_absolute_server,
        shown=lambda value: URI if is_uri(value) else value,
        exposed=has_password,
    ),
    Axis(
        name="transport",
        metavar="NAME",
        help="plain, or tls with certificates of the run.\n"
        "Of deployments that wsgiproof starts; others have what their URI says. tls needs the "
        "extra [tls] and PyMongo 3.9.  [default: plain]",
        about="How deployments that wsgiproof starts are connected to (tls: with certificates that "
        "are made for the run):",
        default=(Transport.PLAIN,),
        choices=tuple(Transport),
        rare=True,
        shown=_unless(Transport.PLAIN),
    ),
    Axis(
        name="uri_options",
        metavar="OPTIONS",
        help="Options to add to the URI, as they stand there.\n"
        "Such as 'compressors=zlib&w=majority', 'maxPoolSize=5', 'readPreference=secondary', or "
        "none. Each value is a set of its own.  [default: none]",
        about="Sets of options to add to the URI of the deployment (compressors=zlib&w=majority), "
        "or 'none'.",
        default=(NO_OPTIONS,),
        words=(NO_OPTIONS,),
        anywhere=True,
        rare=True,
        shown=_unless(NO_OPTIONS),
    ),
    Axis(
        name="extras",
        metavar="NAMES",
        help="Extras of PyMongo, such as 'ocsp,snappy'.\n"
        f"{', '.join(KNOWN)}, with commas, or none. Each has to be usable in each interpreter. "
        "Each value is a set of its own.  [default: none]",
        about=f"Sets of PyMongo's extras to install ({','.join(KNOWN)}), or 'none'.",
        default=(NO_EXTRAS,),
        words=(NO_EXTRAS, *KNOWN),
        anywhere=True,
        rare=True,
        shown=_unless(NO_EXTRAS),
    ),
)
