"""Where the requests of a burst wait for each other."""

from __future__ import absolute_import

import os
import threading
import time

from . import probe

_STEP = 0.001
"""Seconds between two looks of a request at how many have come, in other processes."""


def gather(size, until, directory):
    """Wait until ``size`` requests wait for the same instant, in all processes with ``directory``.

    They go on at that instant at the latest, as those of ``probe.hold`` do. It is CLOCK_MONOTONIC
    in seconds, and tells them from the requests of another burst.
    """
    path = os.path.join(directory, "gathered-%.6f" % until)
    try:
        gate = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError:  # the subject may have used up the descriptors
        probe.hold(until)
        return
    limit = min(until, probe.monotonic() + probe.LONGEST_HOLD)
    try:
        os.write(gate, b".")  # one byte for each request
        while os.fstat(gate).st_size < size and probe.monotonic() < limit:
            time.sleep(_STEP)
    finally:
        os.close(gate)
        try:
            os.remove(path)
        except OSError:  # another one of them has removed it
            pass


class Barrier(object):
    """Opens whenever enough requests of one interpreter wait at it.

    Unlike ``threading.Barrier``, which Python 2 does not have, it never breaks: a request that has
    waited for too long goes on, and the others wait for the next one.
    """

    def __init__(self):
        self._condition = threading.Condition()
        self._waiting = 0
        self._opened = 0

    def wait(self, size, seconds):
        """Wait until ``size`` requests wait here, and return how often that has come to pass.

        Return None if fewer came within ``seconds``.
        """
        until = probe.monotonic() + seconds
        with self._condition:
            self._waiting += 1
            opened = self._opened
            if self._waiting >= size:
                self._waiting = 0
                self._opened += 1
                self._condition.notify_all()
            while self._opened == opened:
                left = until - probe.monotonic()
                if left <= 0:
                    self._waiting -= 1
                    return None
                self._condition.wait(left)
            return opened + 1


class Burst(object):
    """One request of a burst of ``size``."""

    def __init__(self, barrier, size):
        self._barrier = barrier
        self._complete = size > 1
        self._size = size

    def together(self):
        """Wait for all other requests of the burst, and return a number that they all get.

        Return None if one did not come within LONGEST_HOLD seconds. After that, nothing waits.
        """
        if not self._complete:
            return None
        turn = self._barrier.wait(self._size, probe.LONGEST_HOLD)
        self._complete = turn is not None
        return turn
