"""What an application does wrong when its server goes away, and the twins that do it right."""

from __future__ import absolute_import

import threading
import time

from . import settings
from .faults_base import NoFault, need_store


class _OwnClient(NoFault):
    """Has a client of its own, and asks the server with it in each request."""

    def at_load(self, store):
        need_store(store)
        self._lock = threading.Lock()
        self._client = self._connect()

    def _connect(self):
        import pymongo

        client = pymongo.MongoClient(settings.load()["uri"])
        client["admin"].command("ping")
        return client

    def _ping(self):
        """Return what was wrong with the server, or None."""
        from pymongo.errors import PyMongoError

        client = self._client
        try:
            client["admin"].command("ping")
        except PyMongoError as error:
            self.lost(client)
            return error
        return None

    def lost(self, client):
        """Called when a request has found ``client`` without its server."""

    def on_request(self, store):
        self._ping()


class LeakOnFailover(_OwnClient):
    """Makes a new client when the server of the one that it has is gone, and keeps both."""

    leaks = True

    def at_load(self, store):
        _OwnClient.at_load(self, store)
        self._kept = []

    def lost(self, client):
        with self._lock:
            if client is not self._client:
                return  # another request has done so
            self._client = self._connect()
            if self.leaks:
                self._kept.append(client)
            else:
                client.close()


class CloseOnFailover(LeakOnFailover):
    """The twin of LeakOnFailover: closes the client that it had."""

    leaks = False


class NeverRecover(_OwnClient):
    """Remembers that the server was gone, and fails each request from then on."""

    forgets_after = None  # seconds

    def at_load(self, store):
        _OwnClient.at_load(self, store)
        self._error = None
        self._since = 0

    def on_request(self, store):
        if self._error is not None and not self._is_forgotten():
            raise self._error
        self._error = self._ping()
        self._since = time.time()

    def _is_forgotten(self):
        after = self.forgets_after
        return after is not None and time.time() - self._since > after


class RecoverLate(NeverRecover):
    """The twin of NeverRecover: asks again after half a second."""

    forgets_after = 0.5
