"""Filling the subject's pools of connections and sessions, so that none fills while counted."""

from __future__ import absolute_import

import contextlib
import gc
import threading
import time
import weakref

import pymongo
from pymongo.errors import PyMongoError

_MOST_CLIENTS = 8
_FRESH = 1.0  # seconds for which a search for clients holds good


class Pools(object):
    """The clients of this interpreter, whoever made them; none of them is kept alive."""

    def __init__(self):
        self._lock = threading.Lock()
        self._clients = []
        self._searched = None

    def occupy(self, seconds):
        """Keep one connection and one session of each client's pools busy for ``seconds``.

        Where all request threads do so at once, the pools grow to their full size.
        """
        for reference in self._search():
            client = reference()
            if client is not None:
                _occupy(client, seconds)

    def _search(self):
        with self._lock:
            now = time.time()
            if self._searched is None or not 0 <= now - self._searched < _FRESH:
                self._clients = [weakref.ref(one) for one in _clients()[:_MOST_CLIENTS]]
                self._searched = time.time()
            return self._clients


def _clients():
    kinds = tuple(
        vars(pymongo)[name]
        for name in ("MongoClient", "MongoReplicaSetClient", "Connection")  # the latter: 2.x
        if name in vars(pymongo)
    )
    # By its type alone: to ask an object itself could wake a proxy that imports something.
    return [one for one in gc.get_objects() if issubclass(type(one), kinds)]


def close_all(seconds):
    """Close every client of this interpreter, and wait for their threads, ``seconds`` at most.

    ``close`` asks them to end and PyMongo's own exit handler waits a second for each, which a
    machine may be too busy for.
    """
    for client in _clients():
        client.close()
    until = time.time() + seconds
    for thread in threading.enumerate():
        if thread.name.startswith("pymongo"):
            thread.join(max(until - time.time(), 0))


def _occupy(client, seconds):
    """Have one connection wait for ``seconds`` for an answer, and keep a session for as long."""
    try:
        if not client.nodes:  # it has found no server yet, and would wait for one
            return
        with _session(client):
            _wait(client["admin"], seconds)
    except PyMongoError:
        return  # closed, or a server that does not know these: there is no pool to fill


def _wait(admin, seconds):
    """Ask the hello that monitors wait on.

    MongoDB 4.4 and newer answers it only when its topology changes or the time is over. An older
    one answers at once, and nothing is occupied.
    """
    topology = admin.command("hello").get("topologyVersion")
    if topology is not None:
        admin.command("hello", topologyVersion=topology, maxAwaitTimeMS=int(seconds * 1000))


@contextlib.contextmanager
def _session(client):
    """Take one of the client's pool of server sessions; a command has to use it to have it."""
    if not hasattr(pymongo.MongoClient, "start_session"):  # before 3.6
        yield
        return
    with client.start_session() as session:
        client["admin"].command("ping", session=session)
        yield
