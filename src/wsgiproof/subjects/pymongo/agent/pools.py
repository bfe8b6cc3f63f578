"""Fills the subject's pools of connections and sessions before anything is counted."""

from __future__ import absolute_import

import contextlib
import gc
import threading
import time
import weakref

import pymongo
from pymongo.errors import PyMongoError

from .. import probe

_MOST_CLIENTS = 8
_PUNCTUAL = 0.9  # of the time that a server is asked to wait
_LONGEST = 1.0  # seconds for which a connection is kept busy at most
_FRESH = 1.0  # seconds for which the clients that were found are reused
_LOOP_ANSWERS = 5.0  # seconds
_KINDS = ("MongoClient", "MongoReplicaSetClient", "Connection")  # the last: 2.x
_ASYNC = "AsyncMongoClient"  # 4.9


class Pools(object):
    """All clients of this interpreter; it keeps none of them alive.

    ``sessions`` is how many sessions a request uses at the same time.
    """

    def __init__(self):
        self.sessions = 1
        self._lock = threading.Lock()
        self._clients = []
        self._searched = None
        self._turn = self._admitting = None
        self._admitted = 0
        self._first_start = self._last_end = 0.0

    def occupy(self, seconds, together):
        """Keep one connection and some sessions of each client busy for ``seconds``, or longer.

        If all request threads do so at once, the pools grow to their full size. ``together`` makes
        a thread wait for all others.
        """
        for reference in self._search():
            client = reference()
            if client is not None:
                self._occupy(client, seconds, together)

    def _occupy(self, client, seconds, together):
        run = _runner(client)
        if run is None:
            return

        def command(*args, **options):
            return run(client["admin"].command(*args, **options))

        try:
            if not client.nodes:  # it has not found a server yet, and would wait for one
                return
            with _sessions(client, self.sessions, run, command):
                self._keep_busy(command, _most_connections(client), seconds, together)
        except PyMongoError:
            return  # the client is closed, or the server is too old: there is no pool to fill

    def _keep_busy(self, command, most, seconds, together):
        """Keep a connection busy at the same time as all other threads do, or as ``most`` of them.

        On a busy machine a thread may begin when another has ended, and use the same connection.
        Then all of them do it again, for longer. ``hello`` waits as it does for monitors: MongoDB
        4.4 and newer answers it only when its topology changes or the time is over. Older versions
        answer at once, so nothing is kept busy.
        """
        while True:
            topology = command("hello").get("topologyVersion")
            turn = together()  # each thread has a session now
            if topology is None:
                return
            if self._admits(turn, most):
                started = probe.monotonic()
                command("hello", topologyVersion=topology, maxAwaitTimeMS=int(seconds * 1000))
                self._note(turn, started, probe.monotonic(), seconds)
            if together() is None or self._overlapped(seconds) or seconds >= _LONGEST:
                return
            seconds *= 2

    def _admits(self, turn, most):
        """Return whether this thread is one of those that a connection of the pool is for."""
        with self._lock:
            if turn != self._admitting:
                self._admitting, self._admitted = turn, 0
            self._admitted += 1
            return turn is None or self._admitted <= most

    def _note(self, turn, started, ended, seconds):
        """Note when one thread kept a connection busy, if that was for ``seconds``."""
        with self._lock:
            if turn != self._turn:
                self._turn = turn
                self._first_start, self._last_end = started, ended
            self._first_start = min(self._first_start, started)
            at_once = ended - started < _PUNCTUAL * seconds
            self._last_end = float("inf") if at_once else max(self._last_end, ended)

    def _overlapped(self, seconds):
        """Return whether there was a moment at which all threads of this turn had a connection.

        The server answers after ``seconds``. So each thread had its connection at the latest by
        ``seconds`` before its end, and at least until ``seconds`` after its start.
        """
        least = _PUNCTUAL * seconds
        with self._lock:
            return self._last_end - least < self._first_start + least

    def _search(self):
        with self._lock:
            now = time.time()
            if self._searched is None or not 0 <= now - self._searched < _FRESH:
                found = _instances(_KINDS + (_ASYNC,))
                self._clients = [weakref.ref(one) for one in found[:_MOST_CLIENTS]]
                self._searched = time.time()
            return self._clients


POOLS = Pools()


def _instances(names):
    """Return the clients of these types, as far as this PyMongo has them."""
    kinds = tuple(vars(pymongo)[name] for name in names if name in vars(pymongo))
    # By type alone: isinstance on a proxy could make it import something.
    return [one for one in gc.get_objects() if issubclass(type(one), kinds)]


def _runner(client):
    """Return a function that waits for what an operation of the client returns.

    That is a coroutine if the client is an async one, to be run in the loop that it is bound to.
    Return None if this does not run in another thread: then no thread could wait for it.
    """
    if not issubclass(type(client), vars(pymongo).get(_ASYNC, ())):
        return _returned
    loop = getattr(client, "_loop", None)  # PyMongo has no public name for it
    if loop is None or not loop.is_running():
        return None
    from asyncio import run_coroutine_threadsafe
    from concurrent.futures import TimeoutError

    def wait(coroutine):
        future = run_coroutine_threadsafe(coroutine, loop)
        try:
            return future.result(_LOOP_ANSWERS)
        except TimeoutError:
            future.cancel()
            raise PyMongoError("the loop of this client is blocked")

    return wait


def _returned(result):
    return result


def _most_connections(client):
    """Return how many connections to one server the client may have."""
    if hasattr(type(client), "options"):  # 3.10
        most = client.options.pool_options.max_pool_size
    else:
        most = client.max_pool_size
    return most or float("inf")  # None and 0: as many as it likes


def close_all(seconds):
    """Close every client of this interpreter, and wait at most ``seconds`` for their threads.

    Not those that are async: they have no threads, and only their loop can close them. ``close``
    only asks the threads to end, and PyMongo's own exit handler waits one second for each, which
    may be too short on a busy machine.
    """
    for client in _instances(_KINDS):
        client.close()
    until = time.time() + seconds
    for thread in threading.enumerate():
        if thread.name.startswith("pymongo"):
            thread.join(max(until - time.time(), 0))


@contextlib.contextmanager
def _sessions(client, number, run, command):
    """Use so many of the client's server sessions; only a command takes one from the pool."""
    if not hasattr(getattr(pymongo, "MongoClient", None), "start_session"):  # before 3.6
        yield
        return
    sessions = [client.start_session() for _ in range(number)]
    try:
        for session in sessions:
            command("ping", session=session)
        yield
    finally:
        for session in sessions:
            run(session.end_session())
