"""The built-in application: lets the subject work in each request, and says what came out wrong."""

from __future__ import absolute_import

import atexit
import json
import os
import traceback

from . import faults, identity, probe, protocol
from .middleware import PROBLEMS
from .subject import workload


class BuiltInApplication(object):
    """A WSGI application that answers 200 with the identity of its interpreter as JSON, even if
    there are problems: the host judges them. No exception of the workload is caught.
    """

    def __init__(self, settings):
        self._workload = workload.Workload(settings["subject"])
        atexit.register(self._close, os.getpid(), settings["evidence"])
        self._fault = faults.named(settings["fault"], settings["fault_options"])
        self._fault.at_load(self._workload)
        told = identity.of_interpreter(workload.identity(settings["subject"]))
        self._body = (json.dumps(told) + "\n").encode("ascii")

    def __call__(self, environ, start_response):
        environ[PROBLEMS].extend(self._workload.work())
        self._fault.on_request(self._workload)
        return self._fault.answer(environ, self._body, start_response)

    def _close(self, pid, evidence):
        """Close the workload. A failure is noted in the evidence and not raised."""
        if os.getpid() != pid:
            return  # this is a fork of the process that made it
        try:
            self._workload.close()
        except Exception:
            probe.note(evidence, protocol.CLOSE, traceback.format_exc())
