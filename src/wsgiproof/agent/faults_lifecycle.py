"""Crashes, hangs and failures to load, and their negative controls, which are only slow."""

from __future__ import absolute_import

import atexit
import fcntl
import hashlib
import os
import threading
import time

from . import settings
from .faults_base import At, AtSomeExits, NoFault, Sometimes, WhenIdle


class CrashInRequest(At):
    """Reads address 0 in a request."""

    def at_load(self, workload):
        self._crash = _crash()

    def act(self, workload):
        self._crash()


class CrashWhenIdle(WhenIdle):
    """Dies of SIGSEGV after ``idle`` seconds without a request."""

    look = 0.1

    def __init__(self, idle=2.0):
        WhenIdle.__init__(self)
        self.pause = idle
        self._crash = _crash()

    def act(self):
        self._crash()


class CrashAtExit(AtSomeExits):
    """Dies of SIGSEGV when its interpreter ends."""

    def at_exit(self):
        return _crash()


def _crash():
    """Return a function that reads address 0 in the thread that calls it."""
    import ctypes  # imported here, so that a run without this fault does not load it

    def crash_here():
        ctypes.string_at(0)

    return crash_here


class WorkInRequest(Sometimes):
    """The negative control of CrashInRequest: computes for ``seconds``."""

    def __init__(self, seconds=1.0, **when):
        Sometimes.__init__(self, **when)
        self._seconds = seconds

    def act(self, workload):
        _work(self._seconds)


class WorkAtExit(NoFault):
    """The negative control of CrashAtExit: computes for ``seconds`` when its interpreter ends."""

    def __init__(self, seconds=0.1):
        self._seconds = seconds

    def at_load(self, workload):
        atexit.register(_work, self._seconds)


def _work(seconds):
    end = time.time() + seconds
    while time.time() < end:
        hashlib.sha256(b"honest work" * 1000).hexdigest()


class HangInRequest(At):
    """Never answers one request."""

    def act(self, workload):
        _hang()


class HangAtImport(NoFault):
    """Never finishes importing the application."""

    def at_load(self, workload):
        _hang()


class HangAtExit(AtSomeExits):
    """Never finishes ending its interpreter."""

    def at_exit(self):
        return _hang


def _hang():
    while True:
        time.sleep(3600)


class SlowRequest(Sometimes):
    """The negative control of HangInRequest: answers after ``seconds``."""

    def __init__(self, seconds=1.0, **when):
        Sometimes.__init__(self, **when)
        self._seconds = seconds

    def act(self, workload):
        time.sleep(self._seconds)


class SlowStart(NoFault):
    """The negative control of HangAtImport: finishes after ``seconds``."""

    def __init__(self, seconds=3.0):
        self._seconds = seconds

    def at_load(self, workload):
        time.sleep(self._seconds)


class Deadlock(Sometimes):
    """Takes two locks that all interpreters of a process share, in opposite orders.

    The first interpreter takes them in one order, the others in the other. They are locks of
    flock(2), which belong to the open file description: two interpreters that open the same file
    exclude each other, even in one process.
    """

    ordered = False
    between = 0.02  # seconds between the two locks

    def __init__(self, **when):
        Sometimes.__init__(self, **when)
        # The threads of this interpreter share its open files, so flock does not separate them.
        self._mine = threading.Lock()
        self._files = []

    def at_load(self, workload):
        prefix = os.path.join(settings.load()["evidence"], "lock-%d-" % os.getpid())
        self._files = [open(prefix + name, "a") for name in "ab"]
        if not self.ordered and not _is_first(prefix + "first"):
            self._files.reverse()

    def act(self, workload):
        one, other = self._files
        with self._mine:
            fcntl.flock(one, fcntl.LOCK_EX)
            time.sleep(self.between)
            fcntl.flock(other, fcntl.LOCK_EX)
            fcntl.flock(other, fcntl.LOCK_UN)
            fcntl.flock(one, fcntl.LOCK_UN)


class OrderedLocks(Deadlock):
    """The negative control of Deadlock: every interpreter takes the locks in the same order."""

    ordered = True


def _is_first(path):
    """Create the file; return whether it did not exist before."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except OSError:
        return False
    return True


class FailToImport(NoFault):
    """Makes the application fail to import."""

    def at_load(self, workload):
        raise ImportError("planted by wsgiproof: fail-to-import")
