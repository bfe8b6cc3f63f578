"""What all planted faults are made of: when they act, and how."""

from __future__ import absolute_import

import random
import threading

from .counter import Counter
from .probe import application_group


class NoFault(object):
    """Does nothing; the base of every fault, which overrides the hook that it needs."""

    def before_import(self):
        """Called once per interpreter, before the subject is imported, on an object of its own."""

    def at_load(self, store):
        """Called once per interpreter, after the store has been filled (None: there is none)."""

    def on_request(self, store):
        """Called in each request, after the reading."""


class Sometimes(NoFault):
    """Acts in each ``every``-th request of its interpreter, ``burst`` times.

    With ``only``, the name of an application group, in that interpreter alone. With ``irregular``
    in any request, by a chance of one in ``every``.
    """

    def __init__(self, every=1, burst=1, only=None, irregular=False):
        self._every = every
        self._burst = burst
        self._irregular = irregular
        self._here = only is None or only == application_group()
        self._requests = Counter()

    def on_request(self, store):
        if self._here and self._due():
            for _ in range(self._burst):
                self.act(store)

    def _due(self):
        number = self._requests.next()
        if self._irregular:
            return random.random() * self._every < 1
        return number % self._every == 0

    def act(self, store):
        """Do what this fault is about, once."""
        raise NotImplementedError


class Taking(Sometimes):
    """Takes one of something; a fault keeps it, its twin gives it back."""

    leaks = True

    def __init__(self, **when):
        Sometimes.__init__(self, **when)
        self.kept = []

    def act(self, store):
        taken = self.take(store)
        if self.leaks:
            self.keep(taken)
        else:
            self.release(taken)

    def take(self, store):
        """Return a new one."""
        raise NotImplementedError

    def keep(self, taken):
        """Never give it back."""
        self.kept.append(taken)

    def release(self, taken):
        """Give it back."""
        raise NotImplementedError


class At(NoFault):
    """Acts in request number ``at`` of its interpreter, and in no other one."""

    def __init__(self, at=1):
        self._at = at
        self._requests = Counter()

    def on_request(self, store):
        if self._requests.next() == self._at:
            self.act(store)

    def act(self, store):
        """Do what this fault is about."""
        raise NotImplementedError


def daemon_thread(target):
    """Start a daemon thread and return it."""
    thread = threading.Thread(target=target)
    thread.daemon = True
    thread.start()
    return thread


def collection(store):
    """Return the store's own collection: a fault may reach where the application may not."""
    return store._collection


def need_store(store):
    """Raise ValueError where there is no deployment to plant a fault in."""
    if store is None:
        raise ValueError("a fault of connections needs a store: set documents above 0")
