"""Where the requests of a burst wait for each other, in one interpreter."""

from __future__ import absolute_import

import threading

from . import probe


class Barrier(object):
    """Opens whenever enough requests wait at it.

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
