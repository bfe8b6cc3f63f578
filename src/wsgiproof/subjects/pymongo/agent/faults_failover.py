"""Faults of an application that loses its server, and their negative controls."""

from __future__ import absolute_import

import threading
import time

from ..faults_base import NoFault
from . import wire
from .faults import store_of


class _WatchedClient(NoFault):
    """Has another client, and detects when it has lost its server.

    An operation need not fail: a monitor may have cleared the pool, so that the operation waits.
    """

    def at_load(self, workload):
        store_of(workload)
        self._uri = workload.uri
        self._lock = threading.Lock()
        self._connect()

    def _connect(self):
        import pymongo

        self._lost = threading.Event()
        listener = _listener(self._lost)
        self._client = pymongo.MongoClient(self._uri, event_listeners=[listener])
        self._client["admin"].command("ping")

    def on_request(self, workload):
        with self._lock:
            if self._lost.is_set():
                self._lost.clear()
                self.lost()
        self._client["admin"].command("ping")

    def lost(self):
        """Called in the first request after the client lost its server."""


def _listener(lost):
    """Return a PyMongo listener that sets ``lost`` when a server becomes unknown."""
    from pymongo import monitoring

    class Listener(monitoring.ServerListener):
        def opened(self, event):
            pass

        def description_changed(self, event):
            unknown = "Unknown"
            before = event.previous_description.server_type_name
            if before != unknown and event.new_description.server_type_name == unknown:
                lost.set()

        def closed(self, event):
            pass

    return Listener()


class LeakOnFailover(_WatchedClient):
    """Makes a new client when its client has lost the server, and keeps both."""

    leaks = True

    def at_load(self, workload):
        _WatchedClient.at_load(self, workload)
        self._kept = []

    def lost(self):
        before = self._client
        self._connect()
        if self.leaks:
            self._kept.append(before)
        else:
            before.close()


class CloseOnFailover(LeakOnFailover):
    """The negative control of LeakOnFailover: closes the old client."""

    leaks = False


class NeverRecover(_WatchedClient):
    """Remembers that the server was lost, and fails every request after that."""

    forgets_after = None  # seconds

    def at_load(self, workload):
        _WatchedClient.at_load(self, workload)
        self._down_since = None

    def on_request(self, workload):
        from pymongo.errors import AutoReconnect

        _WatchedClient.on_request(self, workload)
        if self._is_down():
            raise AutoReconnect("planted by wsgiproof: never-recover")

    def lost(self):
        self._down_since = time.time()

    def _is_down(self):
        if self._down_since is None:
            return False
        after = self.forgets_after
        return after is None or time.time() - self._down_since < after


class RecoverLate(NeverRecover):
    """The negative control of NeverRecover: forgets it after half a second."""

    forgets_after = 0.5


class KeepStaleSockets(NoFault):
    """A pool of sockets that replaces those that its server has closed, and does not close them."""

    leaks = True

    def __init__(self, size=3):
        self._size = size

    def at_load(self, workload):
        store_of(workload)
        self._workload = workload
        self._lock = threading.Lock()
        self._pool = [self._connect() for _ in range(self._size)]
        self._stale = []
        self._down_until = 0.0

    def _connect(self):
        return wire.connect(self._workload, 1.0)

    def on_request(self, workload):
        from pymongo.errors import AutoReconnect

        with self._lock:
            if time.time() < self._down_until:
                return
            try:
                if self._pool[0] is None:
                    self._pool[0] = self._connect()
                wire.ping(self._pool[0])
            except AutoReconnect:
                self._reset()
            self._pool.append(self._pool.pop(0))

    def _reset(self):
        """Empty the pool: its server has closed all of its sockets."""
        stale = [one for one in self._pool if one is not None]
        self._pool = [None] * self._size
        self._down_until = time.time() + 0.2
        if self.leaks:
            self._stale.extend(stale)
        else:
            for one in stale:
                one.close()


class CloseStaleSockets(KeepStaleSockets):
    """The negative control of KeepStaleSockets: closes each socket that broke."""

    leaks = False
