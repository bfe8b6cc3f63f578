"""Writes evidence from inside the process, and holds request threads until an instant."""

from __future__ import absolute_import

import atexit
import errno
import fcntl
import glob
import json
import os
import threading
import time

try:
    import faulthandler
except ImportError:  # Python 2.7
    faulthandler = None

from . import protocol

LONGEST_HOLD = 2.0  # seconds
MOST_CORES = 10

_NOT_STARTED_HERE = ("_MainThread", "_DummyThread")


def record_crashes(evidence):
    """Let a fatal signal write every thread's stack to ``<evidence>/fatal-<pid>.txt``.

    Only the first call in a process has an effect, whichever interpreter makes it.
    """
    if faulthandler is None:
        return
    fd = _create_once(os.path.join(evidence, protocol.note_file(protocol.FATAL, os.getpid())))
    if fd is None:
        return
    # A raw descriptor that is never closed: the handler belongs to the process and outlives this
    # interpreter, so it must not use one of the interpreter's objects.
    faulthandler.enable(file=fd, all_threads=True)
    atexit.register(_forget_this_interpreter, fd, os.getpid())


def record_leftover_threads(evidence):
    """Record the threads that still run after all exit handlers of this interpreter.

    They are written to ``<evidence>/leftover-<pid>.txt``, one line of JSON for each interpreter
    that has any. They keep running while the interpreter is destroyed, and may crash the process.
    """
    atexit.register(_record_leftover_threads, evidence, os.getpid())


def _record_leftover_threads(evidence, pid):
    if os.getpid() != pid:
        return  # this is a fork of the process
    threads = [one for one in threading.enumerate() if type(one).__name__ not in _NOT_STARTED_HERE]
    if threads:
        names = sorted(thread.name for thread in threads)
        record = {"application_group": application_group(), "threads": names}
        note(evidence, protocol.LEFTOVER, json.dumps(record))


def application_group():
    """Return mod_wsgi's name for this interpreter; None outside mod_wsgi."""
    try:
        import mod_wsgi
    except ImportError:
        return None
    return mod_wsgi.application_group


def keep_cores_apart(evidence, descriptor):
    """Open ``<evidence>/core-<pid>``, where this process leaves its core file if it crashes.

    Apache's handler of fatal signals changes to the directory that is open as ``descriptor``. So
    the application's working directory remains what it is without this probe. In one directory,
    processes that crash at the same time would overwrite each other's core files: the kernel may
    call them all ``core``, see core(5). If there are many core files already, nothing is done, so
    that a process that crashes every second does not fill the disk.
    """
    cores = os.path.join(evidence, protocol.CORE + "-*", "*")
    if descriptor is None or len(glob.glob(cores)) >= MOST_CORES:
        return
    directory = os.path.join(evidence, protocol.core_directory(os.getpid()))
    try:
        os.mkdir(directory, 0o700)
    except OSError as error:
        if error.errno == errno.EEXIST:  # another interpreter of this process has done all this
            return
        raise
    opened = os.open(directory, os.O_RDONLY)
    os.dup2(opened, descriptor)
    os.close(opened)
    fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    _allow_core()


def _allow_core():
    """Let this process leave a core file although it has changed its user, see prctl(2).

    Apache and mod_wsgi do so if ``CoreDumpDirectory`` is set, but not in the daemon processes of
    mod_wsgi 6.1.1 (docs/findings.md).
    """
    # If a process may leave no core file, its files in /proc belong to root, see proc(5).
    if os.stat("/proc/self/environ").st_uid == os.geteuid():
        return
    try:
        import ctypes  # imported here, so that it is loaded only if it is needed
    except ImportError:  # an interpreter with its own GIL, before Python 3.13
        return
    pr_set_dumpable = 4  # <linux/prctl.h>
    ctypes.CDLL(None).prctl(pr_set_dumpable, 1, 0, 0, 0)


def _create_once(path):
    """Return a descriptor of the new file, or None if this process has created it before.

    Only exclusive creation is certain to be shared by all interpreters of a process: some Python
    versions copy ``os.environ`` too early to hold such a mark.
    """
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    except OSError as error:
        if error.errno == errno.EEXIST:
            return None
        raise


def _forget_this_interpreter(fd, pid):
    """Stop the handler from reading the threads of an interpreter that is being destroyed.

    faulthandler keeps a pointer to the interpreter that enabled it, and reads its list of threads
    to dump all of them. To dump only the crashing thread, it does not need the pointer.
    """
    if os.getpid() == pid:
        faulthandler.enable(file=fd, all_threads=False)


def note(evidence, kind, text):
    """Add a line to the notes of one kind that this process leaves."""
    with open(os.path.join(evidence, protocol.note_file(kind, os.getpid())), "a") as file:
        file.write(text + "\n")


def hold(until):
    """Sleep until CLOCK_MONOTONIC reaches ``until``, in seconds; at most LONGEST_HOLD seconds.

    The host gives many requests the same instant, so that all worker threads continue at once.
    """
    remaining = until - monotonic()
    # Also false for NaN, which no clock ever reaches.
    if remaining > 0:
        time.sleep(min(remaining, LONGEST_HOLD))


def _monotonic_of_libc():
    """Return CLOCK_MONOTONIC in seconds, on a Python without ``time.monotonic``."""
    # Imported only here: the test of a Python 3 should not load ctypes.
    import ctypes

    class Timespec(ctypes.Structure):
        _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]

    now = Timespec()
    clock_monotonic = 1  # <linux/time.h>
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.clock_gettime(clock_monotonic, ctypes.byref(now)) != 0:
        raise OSError(ctypes.get_errno(), "clock_gettime")
    return now.seconds + now.nanoseconds * 1e-9


monotonic = getattr(time, "monotonic", _monotonic_of_libc)
