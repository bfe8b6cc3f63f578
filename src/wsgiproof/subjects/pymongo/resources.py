"""What is counted of PyMongo alone, by the deployment."""

from __future__ import annotations

from wsgiproof.judge.resources import Resource
from wsgiproof.records.cell import Cell
from wsgiproof.records.observed import CONNECTIONS
from wsgiproof.subjects.pymongo.axes import Topology, has_app_name, topology_of

CURSORS = "cursors"
"""The name of the count of open, idle cursors on the cell's own database."""
CLOSED = "closed clients"
"""That of connections of clients of the built-in application that were closed."""
SESSIONS = "sessions"
"""That of logical sessions that no client has ended, of all clients."""
OBJECTS = ("collections", "views", "indexes")
"""Those of what the subject may have made in the databases."""


def _from_proc_alone(cell: Cell) -> str:
    if has_app_name(cell):
        return ""
    return f"counted from /proc alone: PyMongo {cell.value('pymongo')} has no appName"


def behind_balancer(cell: Cell) -> str:
    """Return why nothing can be counted behind a load balancer; empty if there is none."""
    if topology_of(cell) is not Topology.LOAD_BALANCED:
        return ""
    return (
        "a load balancer is between wsgiproof and each mongos, so none of them can be asked: name "
        "the mongos processes in the URI instead"
    )


RESOURCES = (
    Resource(
        check="connections",
        about="Connections to the deployment do not grow, counted by it and in ``/proc``.",
        unit="connection",
        by_backend=CONNECTIONS,
        by_process="connections",
        pooled=True,
        takes_descriptor=True,
        note=_from_proc_alone,
        uncounted=behind_balancer,
        meaning="connections to MongoDB are opened and never closed, until descriptors run out",
        action="look for a client or a socket that a request opens and does not close",
    ),
    Resource(
        check="cursors",
        about="The subject's open cursors on the deployment do not grow.",
        unit="cursor",
        by_backend=CURSORS,
        uncounted=behind_balancer,
        meaning="cursors stay open on the server, which keeps memory and a snapshot for each",
        action="read cursors to their end, or close them: 'with collection.find() as cursor:'",
    ),
    Resource(
        check="sessions",
        about="The logical sessions on the deployment do not grow.",
        unit="session",
        by_backend=SESSIONS,
        # The first sessions that leak come from the clients' full pools, so one for each
        # request thread of each interpreter leaks before the count grows.
        outlives_process=True,
        pooled=True,
        anonymous=True,
        meaning="sessions are started and not ended, so no request can reuse them; the server "
        "keeps each for 30 minutes",
        action="end sessions: 'with client.start_session() as session:'",
    ),
    Resource(
        check="database",
        about="Collections, views and indexes do not become more.",
        unit="collection",
        by_name=dict(zip(OBJECTS, ("collection", "view", "index"), strict=True)),
        plurals={"index": "indexes"},
        of_backend=True,
        uncounted=behind_balancer,
        meaning="requests make collections, views or indexes that nobody drops, and each keeps "
        "files and memory of the server",
        action="drop what a request makes, or make it once when the application starts",
    ),
)
