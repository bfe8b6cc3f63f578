"""Resource leaks, and their negative controls, which release everything or stop growing."""

from __future__ import absolute_import

import atexit
import os
import threading
import time
from collections import deque
from functools import partial

from .faults_base import Acquiring, Forgetting, daemon_thread


class LeakDescriptor(Acquiring):
    """Opens /dev/null and never closes it."""

    def acquire(self, workload):
        return os.open(os.devnull, os.O_RDONLY)

    def release(self, resource):
        os.close(resource)


class ReopenDescriptor(LeakDescriptor):
    """The negative control of LeakDescriptor: closes each descriptor at once."""

    leaks = False


class LeakThread(Acquiring):
    """Starts a thread that waits forever."""

    def acquire(self, workload):
        end = threading.Event()
        return end, daemon_thread(end.wait)

    def release(self, resource):
        end, thread = resource
        end.set()
        thread.join()


class JoinThread(LeakThread):
    """The negative control of LeakThread: ends each thread at once."""

    leaks = False


class LeakMemory(Forgetting):
    """Allocates ``size`` bytes with malloc, without Python's allocator."""

    def __init__(self, size=64, **when):
        Acquiring.__init__(self, **when)
        self._size = size

    def at_load(self, workload):
        import ctypes

        libc = ctypes.CDLL(None)
        self._malloc, self._free = libc.malloc, libc.free
        self._malloc.restype = ctypes.c_void_p
        self._malloc.argtypes = [ctypes.c_size_t]
        self._free.restype = None
        self._free.argtypes = [ctypes.c_void_p]
        self._memset = ctypes.memset

    def acquire(self, workload):
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

    def acquire(self, workload):
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

    def acquire(self, workload):
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


class KeptForSeconds(object):
    """Releases what a fault keeps forever after ``seconds``: the base of negative controls."""

    seconds = 3.0

    def at_load(self, workload):
        super(KeptForSeconds, self).at_load(workload)
        self._later = _Later(self.seconds)

    def keep(self, resource):
        self._later.add(partial(self.release, resource))


class CloseDescriptorLater(KeptForSeconds, LeakDescriptor):
    """A negative control of LeakDescriptor: closes each descriptor three seconds later."""


class EndThreadLater(KeptForSeconds, LeakThread):
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
