"""Leaks of connections, cursors, sessions and collections, and their negative controls."""

from __future__ import absolute_import

import atexit
import subprocess
import sys
import threading
import time
import uuid

from ..counter import Counter
from ..faults_base import Acquiring, Forgetting, NoFault, Sometimes
from ..faults_leaks import KeptForSeconds
from . import wire
from .faults import store_of


class LeakConnection(Acquiring):
    """Opens a connection to mongod and keeps it."""

    def at_load(self, workload):
        store_of(workload)

    def acquire(self, workload):
        return wire.connect(workload)

    def release(self, resource):
        resource.close()


class ReopenConnection(LeakConnection):
    """The negative control of LeakConnection: closes each connection at once."""

    leaks = False


class LeakAfterError(LeakConnection):
    """Keeps a connection in each request that handles an error of the database, and in no other."""

    def acquire(self, workload):
        _cause_error(workload.store.collection)
        return LeakConnection.acquire(self, workload)


class HandleError(LeakAfterError):
    """The negative control of LeakAfterError: handles the errors and closes the connection."""

    leaks = False


def _cause_error(documents):
    """Insert a document that exists already, and handle the error."""
    from pymongo.errors import DuplicateKeyError

    duplicate = {"_id": documents.find_one()["_id"]}
    # Looked up on the class: any attribute of an old collection is a sub collection.
    insert = "insert_one" if hasattr(type(documents), "insert_one") else "insert"
    try:
        getattr(documents, insert)(duplicate)
    except DuplicateKeyError:
        return
    raise ValueError("the deployment accepted a second document with the same _id")


class LoseIdleConnection(Acquiring):
    """Takes an idle connection out of the client's pool and keeps it: a driver's fault.

    The pool opens another one only when all of its connections are in use.
    """

    def at_load(self, workload):
        store_of(workload)

    def acquire(self, workload):
        idle = []
        for pool in _pools(workload.store.collection.database.client):
            with pool.lock:
                # Named so since PyMongo 4.7; before, it was 'sockets'.
                connections = getattr(pool, "conns", None) or getattr(pool, "sockets", ())
                if len(connections) > 1:
                    idle.append(connections.pop())
        return idle

    def release(self, resource):
        for connection in resource:
            close = getattr(connection, "close_conn", None) or connection.close_socket
            close("stale")


class CloseIdleConnection(LoseIdleConnection):
    """The negative control of LoseIdleConnection: closes each connection that it takes."""

    leaks = False


def _pools(client):
    """Return the pool of each member, which PyMongo has no public name for."""
    servers = list(client._topology._servers.values())
    return [getattr(server, "pool", None) or server._pool for server in servers]


class CloseClientInPart(NoFault):
    """A driver's fault: ``MongoClient.close`` leaves one connection of the pool open."""

    def before_import(self):
        import pymongo

        close, kept = pymongo.MongoClient.close, []

        def close_in_part(client):
            for pool in _pools(client):
                with pool.lock:
                    connections = getattr(pool, "conns", None) or getattr(pool, "sockets", ())
                    if connections:
                        kept.append(connections.pop())
            close(client)

        pymongo.MongoClient.close = close_in_part


class ReopenClient(Sometimes):
    """A negative control of LeakSession: opens a client one in ``every`` requests, and closes it.

    The client ends its sessions, but the server counts them for up to five minutes.
    """

    def at_load(self, workload):
        store_of(workload)

    def act(self, workload):
        client = _connect(workload)
        client["admin"].command("ping")
        client.close()


class LeakCursor(Acquiring):
    """Reads one batch of a find and keeps the cursor, so that the server keeps it open, too."""

    def at_load(self, workload):
        store_of(workload)

    def acquire(self, workload):
        import pymongo

        # Without a time limit, since the server would close the cursor after ten minutes.
        modern = pymongo.version_tuple[0] >= 3
        limit = {"no_cursor_timeout": True} if modern else {"timeout": False}
        cursor = workload.store.collection.find(**limit).batch_size(2)
        next(cursor)
        return cursor

    def release(self, resource):
        resource.close()


class CloseCursor(LeakCursor):
    """The negative control of LeakCursor: closes each cursor at once."""

    leaks = False


class LeakSession(Acquiring):
    """Starts a session, uses it once and keeps it, so that it can't be reused."""

    def at_load(self, workload):
        store_of(workload)

    def acquire(self, workload):
        documents = workload.store.collection
        session = documents.database.client.start_session()
        documents.find_one(session=session)
        return session

    def release(self, resource):
        resource.end_session()


class EndSession(LeakSession):
    """The negative control of LeakSession: ends each session at once."""

    leaks = False


class CloseConnectionLater(KeptForSeconds, LeakConnection):
    """A negative control of LeakConnection: closes each connection three seconds later."""


class FillPool(NoFault):
    """A negative control of LeakConnection: a pool that fills slowly.

    It gets one more connection after each ``every`` requests, up to ``most``, and uses them in
    turn.
    """

    def __init__(self, every=100, most=10):
        self._every = every
        self._most = most
        self._requests = Counter()
        self._lock = threading.Lock()
        self.pool = []

    def at_load(self, workload):
        store_of(workload)

    def on_request(self, workload):
        number = self._requests.next()
        with self._lock:
            if number % self._every == 0 and len(self.pool) < self._most:
                self.pool.append(wire.connect(workload))
            if self.pool:
                wire.ping(self.pool[number % len(self.pool)])


class SecondClient(NoFault):
    """A negative control of LeakConnection: opens a second client in request ``at``."""

    def __init__(self, at=40):
        self._at = at
        self._requests = Counter()
        self._lock = threading.Lock()
        self._client = None

    def at_load(self, workload):
        store_of(workload)

    def on_request(self, workload):
        number = self._requests.next()
        if number < self._at:
            return
        with self._lock:
            if self._client is None:
                self._client = _connect(workload)
        self.use(self._client, number - self._at)

    def use(self, client, since):
        """Use the client; ``since`` is how many requests ago it was opened."""
        client["admin"].command("ping")


def _connect(workload):
    import pymongo

    return pymongo.MongoClient(workload.uri)


class FillSessionPool(SecondClient):
    """A negative control of LeakSession: a second client whose pool of sessions fills slowly.

    One request of ``every`` uses several sessions at a time and ends them all. At first it is two
    for each request thread, which is what filling all pools needs. It is one more each time, up to
    ``most``.
    """

    def __init__(self, least=30, every=60, most=35, **when):
        SecondClient.__init__(self, **when)
        self._least = least
        self._every = every
        self._most = most

    def use(self, client, since):
        if since % self._every:
            return
        with self._lock:
            used = min(self._least + since // self._every, self._most)
            sessions = [client.start_session() for _ in range(used)]
            for session in sessions:
                client["admin"].command("ping", session=session)
            for session in sessions:
                session.end_session()


class LeaveCollection(Forgetting):
    """Makes a collection and does not drop it."""

    def at_load(self, workload):
        store_of(workload)

    def acquire(self, workload):
        name = "planted_" + uuid.uuid4().hex
        workload.store.collection.database.create_collection(name)
        return name, workload.store.collection.database

    def release(self, resource):
        name, database = resource
        database.drop_collection(name)


class DropCollection(LeaveCollection):
    """The negative control of LeaveCollection: drops each collection at once."""

    leaks = False


class LeakConnectionAlone(LeakConnection):
    """Opens a connection and keeps it in a request that no other one accompanies."""

    def __init__(self, **when):
        LeakConnection.__init__(self, **when)
        self._lock = threading.Lock()
        self._inside = 0

    def on_request(self, workload):
        with self._lock:
            self._inside += 1
            first = self._inside == 1
        try:
            time.sleep(0.002)  # others that were sent at the same time have arrived by then
            with self._lock:
                alone = first and self._inside == 1
            if alone:
                LeakConnection.on_request(self, workload)
        finally:
            with self._lock:
                self._inside -= 1


class LeaveProcess(NoFault):
    """Starts a process that has a connection to mongod, and that outlives all others."""

    ends = False

    def at_load(self, workload):
        store_of(workload)
        self._connection = wire.connect(workload)
        inherited = {"close_fds": False}
        if sys.version_info[0] >= 3:
            inherited = {"pass_fds": [self._connection.fileno()]}
        process = subprocess.Popen(["/bin/sleep", "1000"], **inherited)
        if self.ends:
            atexit.register(_end, process)


class EndProcess(LeaveProcess):
    """The negative control of LeaveProcess: ends the process with the interpreter."""

    ends = True


def _end(process):
    process.kill()
    process.wait()
