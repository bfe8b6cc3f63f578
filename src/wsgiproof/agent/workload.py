"""The built-in application: uses the subject in each request, and says what came out wrong."""

from __future__ import absolute_import

import json

from . import faults, identity, roundtrip
from .agent import PROBLEMS
from .store import Store


class Workload(object):
    """A WSGI application that answers 200 with the identity of its interpreter as JSON, even if
    there are problems: the host judges them.

    A value that ``bson`` refuses to encode or decode is a problem, too. No other exception is
    caught.
    """

    def __init__(self, settings):
        self._store = _store(settings)
        self._fault = faults.named(settings["fault"], settings["fault_options"])
        self._fault.at_load(self._store)
        self._body = (json.dumps(identity.of_interpreter()) + "\n").encode("ascii")

    def __call__(self, environ, start_response):
        environ[PROBLEMS].extend(self.work())
        self._fault.on_request(self._store)
        return self._fault.answer(self._body, start_response)

    def work(self):
        """Do the work of one request, and return what came out wrong."""
        found = [] if self._store is None else self._store.read_back()
        found.extend(roundtrip.encode_decode())
        return found


def _store(settings):
    if settings["documents"] == 0:
        return None
    keys = ("uri", "database", "documents", "batch_size", "prefix", "evidence", "close")
    return Store(**{key: settings[key] for key in keys})
