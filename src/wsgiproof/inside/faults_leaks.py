"""What is opened and never closed, and the twins that close it or come to an end."""

from __future__ import absolute_import

import os
import socket
import struct
import threading

from . import settings
from .counter import Counter
from .faults_base import NoFault, Taking, collection, daemon_thread, need_store


class LeakConnection(Taking):
    """Opens a connection to mongod and keeps it."""

    def at_load(self, store):
        need_store(store)

    def take(self, store):
        return socket.create_connection(store.address)

    def release(self, taken):
        taken.close()


class ReopenConnection(LeakConnection):
    """The twin of LeakConnection: closes each at once."""

    leaks = False


class LeakAfterError(LeakConnection):
    """Keeps a connection in those requests alone that handle an error of the database."""

    def take(self, store):
        _be_refused(collection(store))
        return LeakConnection.take(self, store)


class HandleError(LeakAfterError):
    """The twin of LeakAfterError: handles the same errors, and closes the connection."""

    leaks = False


def _be_refused(documents):
    """Insert a document that is there already, and handle the refusal."""
    from pymongo.errors import DuplicateKeyError

    twice = {"_id": documents.find_one()["_id"]}
    # Asked of the class: on an old collection any attribute is a sub collection.
    insert = "insert_one" if hasattr(type(documents), "insert_one") else "insert"
    try:
        getattr(documents, insert)(twice)
    except DuplicateKeyError:
        return
    raise ValueError("the deployment took a second document of the same _id")


class LeakDescriptor(Taking):
    """Opens /dev/null and never closes it."""

    def take(self, store):
        return os.open(os.devnull, os.O_RDONLY)

    def release(self, taken):
        os.close(taken)


class ReopenDescriptor(LeakDescriptor):
    """The twin of LeakDescriptor: closes each at once."""

    leaks = False


class LeakThread(Taking):
    """Starts a thread that waits for ever."""

    def take(self, store):
        end = threading.Event()
        return end, daemon_thread(end.wait)

    def release(self, taken):
        end, thread = taken
        end.set()
        thread.join()


class JoinThread(LeakThread):
    """The twin of LeakThread: ends each at once."""

    leaks = False


class LeakCursor(Taking):
    """Reads one batch of a find and keeps the cursor, which the server keeps open too."""

    def at_load(self, store):
        need_store(store)

    def take(self, store):
        import pymongo

        # Without its time limit: else the server closes it after ten minutes.
        modern = pymongo.version_tuple[0] >= 3
        limit = {"no_cursor_timeout": True} if modern else {"timeout": False}
        cursor = collection(store).find(**limit).batch_size(2)
        next(cursor)
        return cursor

    def release(self, taken):
        taken.close()


class CloseCursor(LeakCursor):
    """The twin of LeakCursor: closes each at once."""

    leaks = False


class LeakSession(Taking):
    """Begins a session, uses it once and keeps it, so that nothing else can use it again."""

    def at_load(self, store):
        need_store(store)

    def take(self, store):
        documents = collection(store)
        session = documents.database.client.start_session()
        documents.find_one(session=session)
        return session

    def release(self, taken):
        taken.end_session()


class EndSession(LeakSession):
    """The twin of LeakSession: ends each at once."""

    leaks = False


class LeakMemory(Taking):
    """Takes ``size`` bytes of malloc's, behind the back of Python's allocator."""

    def __init__(self, size=64, **when):
        Taking.__init__(self, **when)
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

    def take(self, store):
        address = self._malloc(self._size)
        if address is None:
            raise MemoryError("malloc(%d)" % self._size)
        # A page that nobody wrote to is not resident.
        self._memset(address, 1, self._size)
        return address

    def keep(self, taken):
        """Forget the address too: the list of them would be a leak of Python's memory."""

    def release(self, taken):
        self._free(taken)


class FreeMemory(LeakMemory):
    """The twin of LeakMemory: frees each block at once."""

    leaks = False


_OBJECTS = []
"""Of this interpreter: that a module global is never emptied is the usual way to leak objects."""


class LeakObject(Taking):
    """Appends a small dictionary to a list that nothing ever empties."""

    def take(self, store):
        return {"number": len(_OBJECTS)}

    def keep(self, taken):
        _OBJECTS.append(taken)


class SawtoothMemory(LeakObject):
    """A twin of LeakObject: empties the list when it holds ``most`` objects."""

    def __init__(self, most=500, **when):
        LeakObject.__init__(self, **when)
        self._most = most

    def keep(self, taken):
        if len(_OBJECTS) >= self._most:
            del _OBJECTS[:]
        _OBJECTS.append(taken)


class FillCache(Taking):
    """A twin of LeakObject: a cache that gets ``step`` new entries a request, up to ``most``."""

    def __init__(self, most=2000, step=1, **when):
        Taking.__init__(self, **when)
        self._most = most
        self._step = step
        self.cache = {}

    def take(self, store):
        return range(len(self.cache), min(len(self.cache) + self._step, self._most))

    def keep(self, taken):
        for key in taken:
            self.cache[key] = "entry %d" % key


class FillPool(NoFault):
    """A twin of LeakConnection: a pool that has one connection more after each ``every``
    requests, up to ``most``, and uses them in turn.
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
                _ping(self.pool[number % len(self.pool)])


def _ping(connection):
    """Send the ping command of MongoDB's wire protocol, and take in the reply."""
    from . import codec

    op_msg = 2013
    body = struct.pack("<Ib", 0, 0) + codec.encode({"ping": 1, "$db": "admin"})
    connection.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, op_msg) + body)
    (length,) = struct.unpack("<i", _receive(connection, 4))
    _receive(connection, length - 4)


def _receive(connection, size):
    received = b""
    while len(received) < size:
        more = connection.recv(size - len(received))
        if not more:
            raise IOError("the server closed the connection")
        received += more
    return received


class SecondClient(NoFault):
    """A twin of LeakConnection: opens a second client in request ``at``, and uses it from then."""

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
        """Use it, in a request that is so many after the one that opened it."""
        client["admin"].command("ping")

    def _connect(self):
        import pymongo

        return pymongo.MongoClient(settings.load()["uri"])


class FillSessionPool(SecondClient):
    """A twin of LeakSession: a second client, which uses one session more at a time after each
    ``every`` requests, up to ``most``, and ends them all. So its pool of sessions fills slowly.
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
