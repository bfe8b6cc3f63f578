"""Faults of an application outside its requests, in threads that it starts."""

from __future__ import absolute_import

import atexit
import threading
import time

from .counter import Counter
from .faults_base import NoFault, daemon_thread


class LeakWhenIdle(NoFault):
    """Opens a file twice a second and keeps it, after two seconds without a request."""

    leaks = True
    pause = 2  # seconds

    def __init__(self):
        self._requests = Counter()
        self._latest = None
        self._files = []
        self._ended = threading.Event()

    def on_request(self, workload):
        self._latest = time.time()
        if self._requests.next() == 1:
            # A thread that is still running when its interpreter ends can crash the process.
            atexit.register(self._end, daemon_thread(self._run))

    def _run(self):
        while not self._ended.is_set():
            self._ended.wait(0.5)
            if time.time() - self._latest > self.pause:
                self._act()

    def _end(self, thread):
        self._ended.set()
        thread.join()

    def _act(self):
        file = open("/dev/null")
        if self.leaks:
            self._files.append(file)
        else:
            file.close()


class WorkWhenIdle(LeakWhenIdle):
    """The negative control of LeakWhenIdle: closes the file."""

    leaks = False


class GrowWhenIdle(LeakWhenIdle):
    """Keeps 300 KB of memory twice a second, after a second without a request."""

    pause = 1

    def _act(self):
        memory = bytearray(300000)
        if self.leaks:
            self._files.append(memory)


class AllocateWhenIdle(GrowWhenIdle):
    """The negative control of GrowWhenIdle: frees the memory at once."""

    leaks = False
