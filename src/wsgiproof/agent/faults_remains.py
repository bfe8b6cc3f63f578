"""What is left outside of Python's own counts, and the negative controls, which clean up."""

from __future__ import absolute_import

import gc
import os
import subprocess
import tempfile

from .counter import Counter
from .faults_base import Acquiring, Forgetting, NoFault, Sometimes

_PAGE = 4096
_REMOVE = 0  # IPC_RMID, <linux/ipc.h>


class LeaveChild(Acquiring):
    """Starts a process that sleeps, and leaves it alone."""

    def acquire(self, workload):
        return subprocess.Popen(["/bin/sleep", "1000"], close_fds=True)

    def release(self, resource):
        resource.kill()
        resource.wait()


class LeaveZombie(LeaveChild):
    """Starts a process that ends at once, and never asks how it ended."""

    def acquire(self, workload):
        return subprocess.Popen(["/bin/true"], close_fds=True)


class LeaveFile(Forgetting):
    """Makes a temporary file and does not remove it."""

    def acquire(self, workload):
        descriptor, path = tempfile.mkstemp()
        os.write(descriptor, b"x" * 1000)
        os.close(descriptor)
        return path

    def release(self, resource):
        os.remove(resource)


class LeaveSegment(Acquiring):
    """Makes a segment of System V shared memory, which the kernel removes with the process."""

    def at_load(self, workload):
        import ctypes  # imported here, so that a run without this fault does not load it

        self._libc = ctypes.CDLL(None)
        self._libc.shmat.restype = ctypes.c_void_p
        self._libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
        self._libc.shmdt.argtypes = [ctypes.c_void_p]

    def acquire(self, workload):
        ipc_private, ipc_create = 0, 0o1000
        segment = self._libc.shmget(ipc_private, _PAGE, ipc_create | 0o600)
        if segment < 0:
            raise OSError("shmget")
        address = self._libc.shmat(segment, None, 0)
        # It stays as long as it is attached: a process that is killed leaves none behind.
        self._libc.shmctl(segment, _REMOVE, None)
        return address

    def release(self, resource):
        self._libc.shmdt(resource)


class LeaveNothing(Sometimes):
    """The negative control of all of these: makes one of each in turn, and removes it."""

    def __init__(self, **when):
        Sometimes.__init__(self, **when)
        kinds = (LeaveChild, LeaveZombie, LeaveFile, LeaveSegment)
        self._faults = [kind() for kind in kinds]
        self._turns = Counter()

    def at_load(self, workload):
        for fault in self._faults:
            fault.at_load(workload)

    def act(self, workload):
        fault = self._faults[self._turns.next() % len(self._faults)]
        fault.release(fault.acquire(workload))


class SlowDown(NoFault):
    """Counts up to the square of the number of requests so far, times ``step``."""

    def __init__(self, step=20):
        self._step = step
        self._requests = Counter()

    def on_request(self, workload):
        counted, end = 0, self._requests.next() ** 2 * self._step
        while counted < end:
            counted += 1


class LeaveMapping(Forgetting):
    """Maps the same file once more, and leaves the mapping: no page of it is private."""

    def at_load(self, workload):
        import ctypes

        libc = ctypes.CDLL(None)
        self._map, self._unmap, self._memset = libc.mmap, libc.munmap, ctypes.memset
        size = ctypes.c_size_t
        self._map.restype = ctypes.c_void_p
        self._map.argtypes = [ctypes.c_void_p, size] + [ctypes.c_int] * 3 + [ctypes.c_long]
        self._unmap.argtypes = [ctypes.c_void_p, size]
        self._file = tempfile.TemporaryFile()
        self._file.truncate(_PAGE)

    def acquire(self, workload):
        read_write, shared = 3, 1  # <sys/mman.h>
        address = self._map(None, _PAGE, read_write, shared, self._file.fileno(), 0)
        self._memset(address, 1, _PAGE)
        return address

    def release(self, resource):
        self._unmap(resource, _PAGE)


class CloseMapping(LeaveMapping):
    """The negative control of LeaveMapping: unmaps the file again."""

    leaks = False


class LeaveCycles(Forgetting):
    """Turns the collector off, and makes ``size`` objects that only the collector frees."""

    def __init__(self, size=1, **when):
        Forgetting.__init__(self, **when)
        self._size = size

    def at_load(self, workload):
        gc.disable()

    def acquire(self, workload):
        for _ in range(self._size):
            cycle = []
            cycle.append(cycle)


class CollectByHand(LeaveCycles):
    """The negative control of LeaveCycles: collects after every ``collect`` requests."""

    def __init__(self, collect=20, **when):
        LeaveCycles.__init__(self, **when)
        self._collect = collect
        self._served = Counter()

    def on_request(self, workload):
        LeaveCycles.on_request(self, workload)
        if self._served.next() % self._collect == 0:
            gc.collect()
