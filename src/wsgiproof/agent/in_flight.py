"""Notes the requests in flight, in memory that outlives the process."""

from __future__ import absolute_import

import mmap
import os
import threading
import time

from .protocol import slots_file

_SLOTS = 64
_SIZE = 128  # bytes of a slot, its newline included


class RequestSlots(object):
    """A file of slots, mapped into memory: one for each request in flight of this interpreter.

    The kernel keeps the content, however the process ends. A used slot is a line with the tid, the
    CLOCK_MONOTONIC time at which the request began, its name or ``-``, its path and query, and the
    names of its commands. An unused slot is blank.
    """

    def __init__(self, evidence, token):
        path = os.path.join(evidence, slots_file(os.getpid(), token))
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

    def begin(self, environ, given):
        """Note a request with the commands ``given``; return its slot, or None if all are used."""
        try:
            slot = self._free.pop()
        except IndexError:
            return None
        url = "%s%s?%s" % (
            environ.get("SCRIPT_NAME", ""),
            environ.get("PATH_INFO", ""),
            environ.get("QUERY_STRING", ""),
        )
        text = "%d %.6f %s %s" % (
            self._tid(),
            self._clock(),
            given.name or "-",
            url.rstrip("?").replace("\n", " "),
        )
        names = given.names()
        if names:
            text += " (%s)" % names
        self._write(slot, text if isinstance(text, bytes) else text.encode("utf-8", "replace"))
        return slot

    def end(self, slot):
        """Free the slot of a request that has ended."""
        if slot is not None:
            self._write(slot, b"")
            self._free.append(slot)

    def _write(self, slot, text):
        at = slot * _SIZE
        self._slots[at : at + _SIZE] = text[: _SIZE - 1].ljust(_SIZE - 1) + b"\n"
