"""Faults of an application outside its requests, in threads that it starts."""

from __future__ import absolute_import

from .faults_base import WhenIdle


class LeakWhenIdle(WhenIdle):
    """Opens a file twice a second and keeps it, after two seconds without a request."""

    leaks = True

    def __init__(self):
        WhenIdle.__init__(self)
        self._kept = []

    def act(self):
        file = open("/dev/null")
        if self.leaks:
            self._kept.append(file)
        else:
            file.close()


class WorkWhenIdle(LeakWhenIdle):
    """The negative control of LeakWhenIdle: closes the file."""

    leaks = False


class GrowWhenIdle(LeakWhenIdle):
    """Keeps 300 KB of memory twice a second, after a second without a request."""

    pause = 1

    def act(self):
        memory = bytearray(300000)
        if self.leaks:
            self._kept.append(memory)


class AllocateWhenIdle(GrowWhenIdle):
    """The negative control of GrowWhenIdle: frees the memory at once."""

    leaks = False
