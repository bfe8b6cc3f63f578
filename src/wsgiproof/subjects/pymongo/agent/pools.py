"""Fills the subject's pools of connections and sessions before anything is counted."""

from __future__ import absolute_import

import contextlib
import gc
import threading
import time
import weakref

import pymongo
from pymongo.errors import PyMongoError

_MOST_CLIENTS = 8
_FRESH = 1.0  # seconds for which the clients that were found are reused


class Pools(object):
    """All clients of this interpreter; it keeps none of them alive."""

    def __init__(self):
        self._lock = threading.Lock()
        self._clients = []
        self._searched = None

    def occupy(self, seconds):
        """Keep one connection and one session of each client busy for ``seconds``.

        If all request threads do so at once, the pools grow to their full size.
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


POOLS = Pools()


def _clients():
    kinds = tuple(
        vars(pymongo)[name]
        for name in ("MongoClient", "MongoReplicaSetClient", "Connection")  # the last: 2.x
        if name in vars(pymongo)
    )
    # By type alone: isinstance on a proxy could make it import something.
    return [one for one in gc.get_objects() if issubclass(type(one), kinds)]


def close_all(seconds):
    """Close every client of this interpreter, and wait at most ``seconds`` for their threads.

    ``close`` only asks the threads to end, and PyMongo's own exit handler waits one second for
    each, which may be too short on a busy machine.
    """
    for client in _clients():
        client.close()
    until = time.time() + seconds
    for thread in threading.enumerate():
        if thread.name.startswith("pymongo"):
            thread.join(max(until - time.time(), 0))


def _occupy(client, seconds):
    """Let one connection wait ``seconds`` for an answer, and use a session for the same time."""
    try:
        if not client.nodes:  # the client has not found a server yet, and would wait for one
            return
        with _session(client):
            _wait(client["admin"], seconds)
    except PyMongoError:
        return  # the client is closed, or the server is too old: there is no pool to fill


def _wait(admin, seconds):
    """Send the awaitable hello that monitors use.

    MongoDB 4.4 and newer answers it only when its topology changes or the time is over. Older
    versions answer at once, so nothing is occupied.
    """
    topology = admin.command("hello").get("topologyVersion")
    if topology is not None:
        admin.command("hello", topologyVersion=topology, maxAwaitTimeMS=int(seconds * 1000))


@contextlib.contextmanager
def _session(client):
    """Use one of the client's server sessions; only a command takes it from the pool."""
    if not hasattr(pymongo.MongoClient, "start_session"):  # before 3.6
        yield
        return
    with client.start_session() as session:
        client["admin"].command("ping", session=session)
        yield
