"""The WSGI application: uses the subject, and answers with its identity and the problems found."""

from __future__ import absolute_import

import json

from . import commands, faults, identity, probe, roundtrip
from .counter import Counter
from .user_app import UserApplication
from .pools import Pools
from .in_flight import RequestSlots
from .store import Store

_MOST_PROBLEMS = 20
_LONGEST_PROBLEM = 300  # characters


class Responder(object):
    """Answers 200 with JSON, even if there are problems: the host judges them.

    The user's own application replaces the work of this class; if its status is an error, its
    answer is returned. A value that ``bson`` refuses to encode or decode is a problem, too. No
    other exception is caught: it goes to mod_wsgi, like that of any application.
    """

    def __init__(self, settings):
        # Encoded once, and the rest of an answer is formatted by hand: the probe has to be cheap.
        self._identity = json.dumps(identity.of_interpreter())[:-1]
        self._requests = Counter()
        self._secret = settings["secret"]
        # Written now, in case no request is ever answered.
        probe.note(settings["evidence"], "identity", self._answer(request=0).decode("ascii"))
        self._slots = RequestSlots(settings["evidence"], identity.interpreter_token())
        self._store = _store(settings)
        self._user_app = _user_app(settings)
        self._pools = Pools()
        self._fault = faults.named(settings["fault"], settings["fault_options"])
        self._fault.at_load(self._store)

    def __call__(self, environ, start_response):
        try:
            given = commands.take(environ, self._secret)
        except ValueError as error:
            return _refuse(str(error), start_response)
        slot = self._slots.begin(environ, given)
        try:
            return self._respond(environ, given, start_response)
        finally:
            self._slots.end(slot)

    def _respond(self, environ, given, start_response):
        self._warm_up(given)
        if given.memory is not None:
            body = self._answer(memory=_memory(given.memory))
        elif given.object_growth is not None:
            body = self._answer(object_growth=_object_growth(given.object_growth))
        elif self._user_app is not None:
            reply = self._user_app.call(environ)
            if not reply.succeeded:
                start_response(reply.status, reply.headers)
                return reply.body
            body = self._answer()
        else:
            body = self._answer(problems=_shortened(self._work()))
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response("200 OK", headers)
        return [body]

    def _warm_up(self, given):
        """Wait for the instant ``until``, then keep connections busy for ``occupy`` seconds."""
        if given.until is not None:
            probe.hold(given.until)
        if given.occupy is not None:
            self._pools.occupy(given.occupy)

    def _work(self):
        found = [] if self._store is None else self._store.read_back()
        found.extend(roundtrip.encode_decode())
        self._fault.on_request(self._store)
        return found

    def _answer(self, problems=(), request=None, **more):
        """Return an answer as JSON: the identity, the problems found, and what ``more`` has."""
        if request is None:
            request = self._requests.next()
        text = '%s, "request": %d, "thread_id": %d, "gil_enabled": %s, "problems": %s' % (
            self._identity,
            request,
            identity.thread_id(),
            "true" if identity.gil_enabled() else "false",
            json.dumps(problems) if problems else "[]",
        )
        for name, value in more.items():
            text += ', "%s": %s' % (name, json.dumps(value))
        return (text + "}").encode("ascii")


def _refuse(reason, start_response):
    """Answer that the commands in the request are invalid."""
    body = ("wsgiproof: %s" % reason).encode("ascii", "replace")
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("400 Bad Request", headers)
    return [body]


def _shortened(found):
    return [text[:_LONGEST_PROBLEM] for text in found[:_MOST_PROBLEMS]]


def _memory(how):
    """Return the metrics of memory; with ``2``, collect garbage first."""
    # Imported only here: a run that reads no memory should not load ctypes.
    from . import memory

    return memory.read(collect=how == "2")


def _object_growth(which):
    """Begin an object count (``begin``), or return what has grown since (``end``)."""
    from . import object_growth

    return object_growth.begin() if which == "begin" else object_growth.end()


def _user_app(settings):
    if settings["app"] is None:
        return None
    return UserApplication(settings["app"], settings["uri"], settings["database"])


def _store(settings):
    if settings["documents"] == 0:
        return None
    keys = ("uri", "database", "documents", "batch_size", "evidence", "close")
    return Store(**{key: settings[key] for key in keys})
