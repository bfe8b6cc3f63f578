"""Attaches the probe to an application that mod_wsgi loads by itself, as the user configured it.

Nothing of the user's is changed: mod_wsgi loads the script, when and in which thread it always
does. The probe subscribes to the events of mod_wsgi. The one at the start of a request names the
application, and takes another one in its place: the same, called by the agent.
"""

from __future__ import absolute_import

import os
import sys
import threading

from . import probe, settings
from .user_app import native_items

_EVENTS = ("subscribe_events", "event_callbacks")
"""What mod_wsgi's module has once it takes subscribers."""


def attach():
    """Attach the probe to this interpreter, which is just being made.

    Nothing happens outside the server: what the application starts has the same environment.
    """
    chosen = settings.load()
    if os.readlink("/proc/self/exe") != chosen["server"]:
        return
    # The exit handler that is registered first is called last.
    probe.record_leftover_threads(chosen["evidence"])
    probe.record_crashes(chosen["evidence"])
    probe.keep_cores_apart(chosen["evidence"], chosen["core_descriptor"])
    os.environ.update(native_items(chosen["variables"]))
    sys.meta_path.insert(0, _Subscriber(_Attachment(chosen)))


class _Subscriber(object):
    """Subscribes to mod_wsgi's events, as soon as there are any.

    mod_wsgi makes its module after the interpreter, and says so to nobody. This is asked for each
    module that is imported, so it is asked while the script is loaded. It finds no module itself,
    and leaves when it is done.
    """

    def __init__(self, subscriber):
        self._subscriber = subscriber

    def find_spec(self, name, path=None, target=None):
        """Find nothing; what Python 3 asks."""
        self._look()

    def find_module(self, name, path=None):
        """Find nothing; what Python 2 asks."""
        self._look()

    def _look(self):
        server = sys.modules.get("mod_wsgi")
        if not all(hasattr(server, name) for name in _EVENTS):
            return
        try:
            sys.meta_path.remove(self)
        except ValueError:  # another thread has just done all this
            return
        server.subscribe_events(self._subscriber)


class _Attachment(object):
    """Has each request answered through the agent."""

    def __init__(self, chosen):
        self._settings = chosen
        self._agent = None
        self._lock = threading.Lock()

    def __call__(self, name, **event):
        if name != "request_started":
            return None
        return {"application_object": self._made().around(event["application_object"])}

    def _made(self):
        """Return the agent. It imports the subject, which the script has imported before it."""
        with self._lock:
            if self._agent is None:
                from .middleware import Agent

                self._agent = Agent(self._settings)
            return self._agent
