"""Resource leaks, and their negative controls, which release everything or stop growing."""

from __future__ import absolute_import

import atexit
import os
import socket
import threading
import time
from collections import deque
from functools import partial

from . import settings, wire
from .counter import Counter
from .faults_base import Acquiring, Forgetting, NoFault, Sometimes
from .faults_base import collection, daemon_thread, need_store


class LeakConnection(Acquiring):
    """Opens a connection to mongod and keeps it."""

    def at_load(self, store):
        need_store(store)

    def acquire(self, store):
        return socket.create_connection(store.address)

    def release(self, resource):
        resource.close()


class ReopenConnection(LeakConnection):
    """The negative control of LeakConnection: closes each connection at once."""

    leaks = False


class LeakAfterError(LeakConnection):
    """Keeps a connection in each request that handles an error of the database, and in no other."""

    def acquire(self, store):
        _cause_error(collection(store))
        return LeakConnection.acquire(self, store)


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

    def at_load(self, store):
        need_store(store)

    def acquire(self, store):
        idle = []
        for pool in _pools(collection(store).database.client):
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


class ReopenClient(Sometimes):
    """A negative control of LeakSession: opens a client one in ``every`` requests, and closes it.

    The client ends its sessions, but the server counts them for up to five minutes.
    """

    def at_load(self, store):
        need_store(store)

    def act(self, store):
        import pymongo

        client = pymongo.MongoClient(settings.load()["uri"])
        client["admin"].command("ping")
        client.close()


class LeakDescriptor(Acquiring):
    """Opens /dev/null and never closes it."""

    def acquire(self, store):
        return os.open(os.devnull, os.O_RDONLY)

    def release(self, resource):
        os.close(resource)


class ReopenDescriptor(LeakDescriptor):
    """The negative control of LeakDescriptor: closes each descriptor at once."""

    leaks = False


class LeakThread(Acquiring):
    """Starts a thread that waits forever."""

    def acquire(self, store):
        end = threading.Event()
        return end, daemon_thread(end.wait)

    def release(self, resource):
        end, thread = resource
        end.set()
        thread.join()


class JoinThread(LeakThread):
    """The negative control of LeakThread: ends each thread at once."""

    leaks = False


class LeakCursor(Acquiring):
    """Reads one batch of a find and keeps the cursor, so that the server keeps it open, too."""

    def at_load(self, store):
        need_store(store)

    def acquire(self, store):
        import pymongo

        # Without a time limit, since the server would close the cursor after ten minutes.
        modern = pymongo.version_tuple[0] >= 3
        limit = {"no_cursor_timeout": True} if modern else {"timeout": False}
        cursor = collection(store).find(**limit).batch_size(2)
        next(cursor)
        return cursor

    def release(self, resource):
        resource.close()


class CloseCursor(LeakCursor):
    """The negative control of LeakCursor: closes each cursor at once."""

    leaks = False


class LeakSession(Acquiring):
    """Starts a session, uses it once and keeps it, so that it can't be reused."""

    def at_load(self, store):
        need_store(store)

    def acquire(self, store):
        documents = collection(store)
        session = documents.database.client.start_session()
        documents.find_one(session=session)
        return session

    def release(self, resource):
        resource.end_session()


class EndSession(LeakSession):
    """The negative control of LeakSession: ends each session at once."""

    leaks = False


class LeakMemory(Forgetting):
    """Allocates ``size`` bytes with malloc, without Python's allocator."""

    def __init__(self, size=64, **when):
        Acquiring.__init__(self, **when)
        self._size = size

    def at_load(self, store):
        import ctypes

        libc = ctypes.CDLL(None)
        self._malloc, self._free = libc.malloc, libc.free
        self._malloc.restype = ctypes.c_void_p
        self._malloc.argtypes = [ctypes.c_size_t]
        self._free.restype = None
        self._free.argtypes = [ctypes.c_void_p]
        self._memset = ctypes.memset

    def acquire(self, store):
        address = self._malloc(self._size)
        if address is None:
            raise MemoryError("malloc(%d)" % self._size)
        # A page is resident only after it was written to.
        self._memset(address, 1, self._size)
        return address

    def release(self, resource):
        self._free(resource)


class FreeMemory(LeakMemory):
    """The negative control of LeakMemory: frees each block at once."""

    leaks = False


_OBJECTS = []
"""A module global that is never emptied, which is the usual way to leak objects."""


class LeakObject(Acquiring):
    """Appends a small dictionary to a list that is never emptied."""

    def acquire(self, store):
        return {"number": len(_OBJECTS)}

    def keep(self, resource):
        _OBJECTS.append(resource)


class SawtoothMemory(LeakObject):
    """A negative control of LeakObject: empties the list when it holds ``most`` objects."""

    def __init__(self, most=500, **when):
        LeakObject.__init__(self, **when)
        self._most = most

    def keep(self, resource):
        if len(_OBJECTS) >= self._most:
            del _OBJECTS[:]
        _OBJECTS.append(resource)


class FillCache(Acquiring):
    """A negative control of LeakObject: a cache with ``step`` new entries per request.

    It stops at ``most`` entries.
    """

    def __init__(self, most=2000, step=1, **when):
        Acquiring.__init__(self, **when)
        self._most = most
        self._step = step
        self.cache = {}

    def acquire(self, store):
        return range(len(self.cache), min(len(self.cache) + self._step, self._most))

    def keep(self, resource):
        for key in resource:
            self.cache[key] = "entry %d" % key


class _Later(object):
    """Calls functions some seconds later, in one thread that ends with the interpreter."""

    def __init__(self, seconds):
        self._seconds = seconds
        self._due = deque()
        self._end = threading.Event()
        self._thread = daemon_thread(self._run)
        atexit.register(self._stop)

    def add(self, function):
        self._due.append((time.time() + self._seconds, function))

    def _run(self):
        while not self._end.wait(0.1):
            while self._due and self._due[0][0] < time.time():
                self._due.popleft()[1]()

    def _stop(self):
        self._end.set()
        self._thread.join()
        while self._due:
            self._due.popleft()[1]()


class _KeptForSeconds(object):
    """Releases what a fault keeps forever after ``seconds``: the base of negative controls."""

    seconds = 3.0

    def at_load(self, store):
        super(_KeptForSeconds, self).at_load(store)
        self._later = _Later(self.seconds)

    def keep(self, resource):
        self._later.add(partial(self.release, resource))


class CloseConnectionLater(_KeptForSeconds, LeakConnection):
    """A negative control of LeakConnection: closes each connection three seconds later."""


class CloseDescriptorLater(_KeptForSeconds, LeakDescriptor):
    """A negative control of LeakDescriptor: closes each descriptor three seconds later."""


class EndThreadLater(_KeptForSeconds, LeakThread):
    """A negative control of LeakThread: ends each thread three seconds later."""


class ExpireCache(LeakObject):
    """A negative control of LeakObject: each entry of a cache lives for ``seconds``.

    What has expired is removed by the next request.
    """

    def __init__(self, seconds=3.0, **when):
        LeakObject.__init__(self, **when)
        self._seconds = seconds
        self._entries = deque()
        self._lock = threading.Lock()

    def keep(self, resource):
        now = time.time()
        with self._lock:
            while self._entries and self._entries[0][0] < now - self._seconds:
                self._entries.popleft()
            self._entries.append((now, resource))


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

    def at_load(self, store):
        need_store(store)

    def on_request(self, store):
        number = self._requests.next()
        with self._lock:
            if number % self._every == 0 and len(self.pool) < self._most:
                self.pool.append(socket.create_connection(store.address))
            if self.pool:
                wire.ping(self.pool[number % len(self.pool)])


class SecondClient(NoFault):
    """A negative control of LeakConnection: opens a second client in request ``at``."""

    def __init__(self, at=40):
        self._at = at
        self._requests = Counter()
        self._lock = threading.Lock()
        self._client = None

    def at_load(self, store):
        need_store(store)

    def on_request(self, store):
        number = self._requests.next()
        if number < self._at:
            return
        with self._lock:
            if self._client is None:
                self._client = self._connect()
        self.use(self._client, number - self._at)

    def use(self, client, since):
        """Use the client; ``since`` is how many requests ago it was opened."""
        client["admin"].command("ping")

    def _connect(self):
        import pymongo

        return pymongo.MongoClient(settings.load()["uri"])


class FillSessionPool(SecondClient):
    """A negative control of LeakSession: a second client whose pool of sessions fills slowly.

    Each request uses several sessions at a time and ends them all. It is one more after each
    ``every`` requests, up to ``most``.
    """

    def __init__(self, every=60, most=14, **when):
        SecondClient.__init__(self, **when)
        self._every = every
        self._most = most

    def use(self, client, since):
        with self._lock:
            sessions = [
                client.start_session() for _ in range(min(1 + since // self._every, self._most))
            ]
            for session in sessions:
                client["admin"].command("ping", session=session)
            for session in sessions:
                session.end_session()
