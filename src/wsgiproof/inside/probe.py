"""Evidence from inside: the stacks of a crash, and a barrier for the request threads."""

from __future__ import absolute_import

import atexit
import errno
import glob
import json
import os
import threading
import time

try:
    import faulthandler
except ImportError:  # Python 2.7
    faulthandler = None

LONGEST_HOLD = 2.0  # seconds
MOST_CORES = 10

_NOT_STARTED_HERE = ("_MainThread", "_DummyThread")


def record_crashes(evidence):
    """Let a fatal signal write every thread's stack to ``<evidence>/fatal-<pid>.txt``.

    Takes effect for the first interpreter of a process that asks; later ones change nothing.
    """
    if faulthandler is None:
        return
    fd = _create_once(os.path.join(evidence, "fatal-%d.txt" % os.getpid()))
    if fd is None:
        return
    # A raw descriptor, never closed: the handler belongs to the process and outlives this
    # interpreter, so it must not hold one of the interpreter's objects.
    faulthandler.enable(file=fd, all_threads=True)
    atexit.register(_forget_this_interpreter, fd, os.getpid())


def record_leftover_threads(evidence):
    """Have the threads noted that are still there when all exit handlers have been called.

    To ``<evidence>/leftover-<pid>.txt``, a line of JSON for each interpreter that has any. They run
    on while it is taken down, and may crash the process then.
    """
    atexit.register(_record_leftover_threads, evidence, os.getpid())


def _record_leftover_threads(evidence, pid):
    if os.getpid() != pid:
        return  # a fork of the process that is meant
    threads = [one for one in threading.enumerate() if type(one).__name__ not in _NOT_STARTED_HERE]
    if threads:
        names = sorted(thread.name for thread in threads)
        told = {"application_group": application_group(), "threads": names}
        note(evidence, "leftover", json.dumps(told))


def application_group():
    """Return the name that mod_wsgi has for this interpreter; None if it is not mod_wsgi's."""
    try:
        import mod_wsgi
    except ImportError:
        return None
    return mod_wsgi.application_group


def work_alone(evidence):
    """Let this process work in ``<evidence>/core-<pid>``, where it leaves its core if it dies.

    Processes that crash at the same time would write theirs over one another's: the kernel may
    call them all ``core``, see core(5). When there are many cores there is no such directory any
    more, so that a process that dies each second fills no disk.
    """
    if len(glob.glob(os.path.join(evidence, "core-*", "*"))) >= MOST_CORES:
        return
    directory = os.path.join(evidence, "core-%d" % os.getpid())
    try:
        os.mkdir(directory, 0o700)
    except OSError as error:
        if error.errno != errno.EEXIST:  # another interpreter of this process has made it
            raise
    os.chdir(directory)
    _allow_core()


def _allow_core():
    """Let this process leave a core although it has changed its user, see prctl(2).

    Apache and mod_wsgi do so where ``CoreDumpDirectory`` is given; the daemon processes of mod_wsgi
    6.1.1 do not (docs/findings.md).
    """
    # The kernel gives files about a process that may leave no core to root, see proc(5).
    if os.stat("/proc/self/environ").st_uid == os.geteuid():
        return
    try:
        import ctypes  # what is not needed should not be loaded
    except ImportError:  # an interpreter with a GIL of its own, before Python 3.13
        return
    pr_set_dumpable = 4  # <linux/prctl.h>
    ctypes.CDLL(None).prctl(pr_set_dumpable, 1, 0, 0, 0)


def _create_once(path):
    """Return a descriptor of the new file, or None if this process has created it before.

    Exclusive creation is the one mark that all interpreters of a process share for certain:
    ``os.environ`` is a copy that some Python versions take before the mark could be made.
    """
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    except OSError as error:
        if error.errno == errno.EEXIST:
            return None
        raise


def _forget_this_interpreter(fd, pid):
    """Stop the handler from walking the threads of an interpreter that is going away.

    faulthandler keeps a pointer to the interpreter that enabled it, and reads that one's list of
    threads when it dumps all of them. The crashing thread alone needs no such pointer.
    """
    if os.getpid() == pid:
        faulthandler.enable(file=fd, all_threads=False)


def note(evidence, name, text):
    """Write ``text`` to ``<evidence>/<name>-<pid>.txt``."""
    with open(os.path.join(evidence, "%s-%d.txt" % (name, os.getpid())), "a") as file:
        file.write(text + "\n")


def hold(until):
    """Sleep until CLOCK_MONOTONIC reaches ``until``, in seconds; at most LONGEST_HOLD seconds.

    The host gives the same instant to many requests, so that all worker threads go on at once.
    """
    remaining = until - _monotonic()
    # Also false for NaN, which no clock ever reaches.
    if remaining > 0:
        time.sleep(min(remaining, LONGEST_HOLD))


def _monotonic_of_libc():
    """Return CLOCK_MONOTONIC in seconds, on a Python without ``time.monotonic``."""
    # Imported when first needed: the test of a Python 3 should not load ctypes.
    import ctypes

    class Timespec(ctypes.Structure):
        _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]

    now = Timespec()
    clock_monotonic = 1  # <linux/time.h>
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.clock_gettime(clock_monotonic, ctypes.byref(now)) != 0:
        raise OSError(ctypes.get_errno(), "clock_gettime")
    return now.seconds + now.nanoseconds * 1e-9


_monotonic = getattr(time, "monotonic", _monotonic_of_libc)
