"""Faults of an application outside its requests: in processes and threads that it starts."""

from __future__ import absolute_import

import atexit
import socket
import subprocess
import sys
import threading
import time

from .counter import Counter
from .faults_base import NoFault, daemon_thread, need_store


class LeaveProcess(NoFault):
    """Starts a process that has a connection to mongod, and that outlives all others."""

    ends = False

    def at_load(self, store):
        need_store(store)
        self._connection = socket.create_connection(store.address)
        inherited = {"close_fds": False}
        if sys.version_info[0] >= 3:
            inherited = {"pass_fds": [self._connection.fileno()]}
        process = subprocess.Popen(["/bin/sleep", "1000"], **inherited)
        if self.ends:
            atexit.register(_end, process)


class EndProcess(LeaveProcess):
    """The negative control of LeaveProcess: ends the process with the interpreter."""

    ends = True


def _end(process):
    process.kill()
    process.wait()


class LeakWhenIdle(NoFault):
    """Opens a file twice a second and keeps it, after two seconds without a request."""

    leaks = True
    pause = 2  # seconds

    def __init__(self):
        self._requests = Counter()
        self._latest = None
        self._files = []
        self._ended = threading.Event()

    def on_request(self, store):
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
