"""The base classes of all planted faults: when they act, and how."""

from __future__ import absolute_import

import atexit
import random
import re
import threading
import time

from .counter import Counter
from .probe import application_group


class NoFault(object):
    """Does nothing; the base class of every fault, which overrides the hooks that it needs."""

    def before_import(self):
        """Called once per interpreter, before the subject is imported, on a separate object."""

    def at_load(self, workload):
        """Called once per interpreter, after the subject's workload has been made."""

    def on_request(self, workload):
        """Called in each request, after the workload has done its work."""

    def answer(self, environ, body, start_response):
        """Called at the end of each request: answer it with ``body``."""
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response("200 OK", headers)
        return [body]


class Sometimes(NoFault):
    """Acts in each ``every``-th request of its interpreter, ``burst`` times.

    With ``only``, the name of an application group, it acts in that interpreter alone. With
    ``irregular`` it acts in any request with a probability of one in ``every``.
    """

    def __init__(self, every=1, burst=1, only=None, irregular=False):
        self._every = every
        self._burst = burst
        self._irregular = irregular
        self._here = only is None or only == application_group()
        self._requests = Counter()

    def on_request(self, workload):
        if self._here and self._due():
            for _ in range(self._burst):
                self.act(workload)

    def _due(self):
        number = self._requests.next()
        if self._irregular:
            return random.random() * self._every < 1
        return number % self._every == 0

    def act(self, workload):
        """Act once."""
        raise NotImplementedError


class Acquiring(Sometimes):
    """Acquires a resource; a fault keeps it, and its negative control releases it."""

    leaks = True

    def __init__(self, **when):
        Sometimes.__init__(self, **when)
        self.kept = []

    def act(self, workload):
        resource = self.acquire(workload)
        if self.leaks:
            self.keep(resource)
        else:
            self.release(resource)

    def acquire(self, workload):
        """Return a new resource."""
        raise NotImplementedError

    def keep(self, resource):
        """Never release the resource."""
        self.kept.append(resource)

    def release(self, resource):
        """Release the resource."""
        raise NotImplementedError


class Forgetting(Acquiring):
    """Leaves a resource behind without a trace of it: a list of what was left would itself leak."""

    def keep(self, resource):
        """Forget the resource."""


class At(NoFault):
    """Acts in request number ``at`` of its interpreter only."""

    def __init__(self, at=1):
        self._at = at
        self._requests = Counter()

    def on_request(self, workload):
        if self._requests.next() == self._at:
            self.act(workload)

    def act(self, workload):
        """Act once."""
        raise NotImplementedError


class AtSomeExits(NoFault):
    """Does something when its interpreter ends, with a ``probability``."""

    def __init__(self, probability=1.0):
        self._chosen = random.random() < probability

    def at_load(self, workload):
        if self._chosen:
            atexit.register(self.at_exit())

    def at_exit(self):
        """Return the function to call as the interpreter ends."""
        raise NotImplementedError


class WhenIdle(NoFault):
    """Acts in a thread after ``pause`` seconds without a request, counted from the first one, and
    again at each look."""

    pause = 2  # seconds
    look = 0.5  # seconds from one to the next

    def __init__(self):
        self._requests = Counter()
        self._latest = None
        self._ended = threading.Event()

    def on_request(self, workload):
        self._latest = time.time()
        if self._requests.next() == 1:
            # A thread that is still running when its interpreter ends can crash the process.
            atexit.register(self._end, daemon_thread(self._run))

    def _run(self):
        while not self._ended.wait(self.look):
            if time.time() - self._latest > self.pause:
                self.act()

    def _end(self, thread):
        self._ended.set()
        thread.join()

    def act(self):
        """Do what is planted."""
        raise NotImplementedError


def daemon_thread(target):
    """Start a daemon thread and return it."""
    thread = threading.Thread(target=target)
    thread.daemon = True
    thread.start()
    return thread


def by_name(*modules):
    """Return the faults of these modules by name: ``leak-thread`` is the class LeakThread."""
    return {
        re.sub("(?<!^)([A-Z])", r"-\1", name).lower(): kind
        for module in modules
        for name, kind in vars(module).items()
        if name[0] != "_"
        and isinstance(kind, type)
        and issubclass(kind, NoFault)
        and kind.__module__ == module.__name__
    }
