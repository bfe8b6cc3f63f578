"""Which requests are running, in memory that is still there when the process is not."""

from __future__ import absolute_import

import mmap
import os
import threading
import time

_SLOTS = 64
_SIZE = 128  # bytes of a slot, its newline included


class Running(object):
    """A file of slots, mapped into memory: one for each request thread of this interpreter.

    The kernel keeps what was written, however the process ends. A slot is a line: the tid, the
    CLOCK_MONOTONIC time at which the request began, what the host calls it or ``-``, its path and
    query, and the names of the commands that came with it; or blanks.
    """

    def __init__(self, evidence, token):
        path = os.path.join(evidence, "requests-%d-%s" % (os.getpid(), token))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, _SLOTS * _SIZE)
            self._slots = mmap.mmap(descriptor, _SLOTS * _SIZE)
        finally:
            os.close(descriptor)
        for number in range(_SLOTS):
            self._write(number, b"")
        self._free = list(range(_SLOTS))
        self._tid = getattr(threading, "get_native_id", lambda: 0)  # Python 3.8
        self._clock = getattr(time, "monotonic", lambda: 0.0)  # Python 3.3

    def begin(self, environ, asked):
        """Note the request and its commands, and return its slot; None if there are too many."""
        try:
            slot = self._free.pop()
        except IndexError:
            return None
        url = "%s%s?%s" % (
            environ.get("SCRIPT_NAME", ""),
            environ.get("PATH_INFO", ""),
            environ.get("QUERY_STRING", ""),
        )
        told = "%d %.6f %s %s" % (
            self._tid(),
            self._clock(),
            asked.name or "-",
            url.rstrip("?").replace("\n", " "),
        )
        names = asked.told()
        if names:
            told += " (%s)" % names
        self._write(slot, told if isinstance(told, bytes) else told.encode("utf-8", "replace"))
        return slot

    def end(self, slot):
        """The request is over."""
        if slot is not None:
            self._write(slot, b"")
            self._free.append(slot)

    def _write(self, slot, text):
        at = slot * _SIZE
        self._slots[at : at + _SIZE] = text[: _SIZE - 1].ljust(_SIZE - 1) + b"\n"
