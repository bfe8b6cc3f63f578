"""The WSGI application: works the subject and answers with what it saw."""

from __future__ import absolute_import

import json

from . import commands, faults, identity, probe, roundtrip
from .counter import Counter
from .user_app import UserApplication
from .pools import Pools
from .in_flight import Running
from .store import Store

_MOST_PROBLEMS = 20
_LONGEST_PROBLEM = 300  # characters


class Responder(object):
    """Answers 200 with JSON, also when there are problems: the host judges them.

    An application of one's own works in our place; where its status tells of a failure, that is
    the answer. What ``bson`` refuses to encode or decode is a problem too. Nothing else is caught:
    an exception goes to mod_wsgi, as that of any application does.
    """

    def __init__(self, settings):
        # Written once, and the rest of an answer without the encoder: the probe has to be cheap.
        self._identity = json.dumps(identity.of_interpreter())[:-1]
        self._requests = Counter()
        self._secret = settings["secret"]
        # Now, in case that no request is ever answered.
        probe.note(settings["evidence"], "identity", self._answer(request=0).decode("ascii"))
        self._running = Running(settings["evidence"], identity.interpreter_token())
        self._store = _store(settings)
        self._own = _own(settings)
        self._pools = Pools()
        self._fault = faults.named(settings["fault"], settings["fault_options"])
        self._fault.at_load(self._store)

    def __call__(self, environ, start_response):
        try:
            asked = commands.take(environ, self._secret)
        except ValueError as error:
            return _refuse(str(error), start_response)
        slot = self._running.begin(environ, asked)
        try:
            return self._respond(environ, asked, start_response)
        finally:
            self._running.end(slot)

    def _respond(self, environ, asked, start_response):
        self._warm_up(asked)
        if asked.memory is not None:
            body = self._answer(memory=_memory(asked.memory))
        elif asked.object_growth is not None:
            body = self._answer(object_growth=_census(asked.object_growth))
        elif self._own is not None:
            reply = self._own.call(environ)
            if not reply.succeeded:
                start_response(reply.status, reply.headers)
                return reply.body
            body = self._answer()
        else:
            body = self._answer(problems=_shortened(self._work()))
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response("200 OK", headers)
        return [body]

    def _warm_up(self, asked):
        """Wait for the instant ``until``, then use a connection for ``occupy`` seconds."""
        if asked.until is not None:
            probe.hold(asked.until)
        if asked.occupy is not None:
            self._pools.occupy(asked.occupy)

    def _work(self):
        found = [] if self._store is None else self._store.read_back()
        found.extend(roundtrip.encode_decode())
        self._fault.on_request(self._store)
        return found

    def _answer(self, problems=(), request=None, **more):
        """Return the JSON text of who we are, of the problems found, and of what more there is."""
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
    """Answer that the host has asked for what there is not."""
    body = ("wsgiproof: %s" % reason).encode("ascii", "replace")
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("400 Bad Request", headers)
    return [body]


def _shortened(found):
    return [text[:_LONGEST_PROBLEM] for text in found[:_MOST_PROBLEMS]]


def _memory(asked):
    """Return the metrics of memory; collect garbage before if ``2`` is asked for."""
    # Imported when first asked for: a run that asks nothing should not load ctypes.
    from . import memory

    return memory.read(collect=asked == "2")


def _census(asked):
    """Begin an object count if ``begin`` is asked for, or else return what has grown since."""
    from . import object_growth

    return object_growth.begin() if asked == "begin" else object_growth.end()


def _own(settings):
    if settings["app"] is None:
        return None
    return UserApplication(settings["app"], settings["uri"], settings["database"])


def _store(settings):
    if settings["documents"] == 0:
        return None
    keys = ("uri", "database", "documents", "batch_size", "evidence", "close")
    return Store(**{key: settings[key] for key in keys})
