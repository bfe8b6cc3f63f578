"""A counter that many request threads share."""

import threading


class Counter(object):
    """Counts from 1. It has a lock because a free-threaded build has no GIL."""

    def __init__(self):
        self._lock = threading.Lock()
        self._count = 0

    def next(self):
        """Return the next number."""
        with self._lock:
            self._count += 1
            return self._count
