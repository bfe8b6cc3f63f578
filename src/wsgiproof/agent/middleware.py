"""The WSGI application that Apache loads: it wraps the tested one, and reports to the host.

The tested application answers every request itself. The report travels in one more header of its
response, so that status, headers and body reach mod_wsgi, Apache and the client as they are.
"""

from __future__ import absolute_import

import functools
import json

from . import commands, identity, probe, protocol
from .barrier import Barrier, Burst, gather
from .counter import Counter
from .in_flight import RequestSlots
from .subject import workload

PROBLEMS = "wsgiproof.problems"
"""The key of environ with a list: the built-in workload appends what it found to be wrong."""

# mod_wsgi 4.9 takes 8,192 bytes for a header of a daemon process; the rest of a report is about
# 1,000. Both limits are of encoded JSON.
_LONGEST_PROBLEM = 1200
_LONGEST_PROBLEMS = 5000


class Agent(object):
    """Calls ``application`` for each request, and carries out the commands of the host.

    A request that only measures does not reach the application. No exception is caught: it goes to
    mod_wsgi, like that of any application. Without ``make_application`` it has none of its own, and
    calls those that it is given.
    """

    def __init__(self, settings, make_application=None):
        told = identity.of_interpreter(workload.identity(settings["subject"]))
        # Encoded once, and the rest of a report is formatted by hand: the agent has to be cheap.
        self._identity = json.dumps(told)[:-1]
        self._requests = Counter()
        self._barrier = Barrier()
        self._secret = settings["secret"]
        self._evidence = settings["evidence"]
        # Written now, in case no request is ever answered.
        probe.note(self._evidence, protocol.IDENTITY, self._report(0))
        self._slots = RequestSlots(self._evidence, identity.interpreter_token())
        self._application = make_application(settings) if make_application else None

    def __call__(self, environ, start_response):
        return self._call(self._application, environ, start_response)

    def around(self, application):
        """Return a WSGI application that has this one called by the agent."""
        return functools.partial(self._call, application)

    def _call(self, application, environ, start_response):
        try:
            given = commands.take(environ, self._secret)
        except ValueError as error:
            return _refuse("the agent refused a command: %s" % error, start_response)
        slot = self._slots.begin(environ, given)
        try:
            result = self._respond(application, environ, given, start_response)
        except BaseException:
            self._slots.end(slot)
            raise
        if _is_complete(result):
            self._slots.end(slot)
            return result
        return _Body(result, self._slots, slot)

    def _respond(self, application, environ, given, start_response):
        if given.until is not None:
            self._hold(given)
        together = _alone
        if given.together is not None:
            together = Burst(self._barrier, given.together).together
            together()
        if given.occupy is not None:
            workload.fill_pools(given.occupy, together)
        for name, measure in _MEASURING.items():
            asked = getattr(given, name)
            if asked is not None:
                return self._measured(start_response, **{name: measure(asked)})
        problems = environ[PROBLEMS] = []
        number = self._requests.next()
        if not given.from_host:  # another program's request gets no report
            return application(environ, start_response)

        def start_with_report(status, headers, exc_info=None):
            if isinstance(headers, list):  # mod_wsgi refuses anything else
                headers = headers + [(protocol.REPORT, self._report(number, problems))]
            if exc_info is None:
                return start_response(status, headers)
            try:
                return start_response(status, headers, exc_info)
            finally:
                exc_info = None  # PEP 3333: it would refer to this frame, and this frame to it

        return application(environ, start_with_report)

    def _hold(self, given):
        if given.gather is None:
            probe.hold(given.until)
        else:
            gather(given.gather, given.until, self._evidence)

    def _measured(self, start_response, **measured):
        report = self._report(self._requests.next(), **measured)
        start_response("200 OK", [("Content-Length", "0"), (protocol.REPORT, report)])
        return []

    def _report(self, number, problems=(), **measured):
        """Return the report of a request as JSON: identity, problems, and what was ``measured``."""
        text = '%s, "request": %d, "thread_id": %d, "gil_enabled": %s, "problems": %s' % (
            self._identity,
            number,
            identity.thread_id(),
            "true" if identity.gil_enabled() else "false",
            _encoded(problems) if problems else "[]",
        )
        for name, value in measured.items():
            text += ', "%s": %s' % (name, json.dumps(value))
        return text + "}"


def _alone():
    """Wait for nobody: the request belongs to no burst."""


class _Body(object):
    """What the application returned. The request is in flight until the server closes it."""

    def __init__(self, result, slots, slot):
        self._result = result
        self._slots = slots
        self._slot = slot

    def __iter__(self):
        return iter(self._result)

    def close(self):
        """Close what the application returned, if that can be closed."""
        try:
            if hasattr(self._result, "close"):
                self._result.close()
        finally:
            self._slots.end(self._slot)
            self._slot = None


def _is_complete(result):
    """Return whether no code of the application is needed for the rest of the response.

    mod_wsgi treats a list of one part and its own file wrapper in special ways, so these may not be
    wrapped.
    """
    return type(result) in (list, tuple) or type(result).__module__ == "mod_wsgi"


def _refuse(reason, start_response):
    """Answer that the commands in the request are invalid."""
    report = json.dumps({protocol.REFUSED: reason})
    start_response("400 Bad Request", [("Content-Length", "0"), (protocol.REPORT, report)])
    return []


def _encoded(problems):
    """Return the problems as a JSON list of limited size."""
    texts, size = [], 0
    for number, problem in enumerate(problems):
        text = json.dumps(problem)
        if len(text) > _LONGEST_PROBLEM:
            # An escape takes six characters at most.
            text = json.dumps(problem[: _LONGEST_PROBLEM // 6])
        size += len(text)
        if size > _LONGEST_PROBLEMS:
            texts.append(json.dumps("%d more" % (len(problems) - number)))
            break
        texts.append(text)
    return "[%s]" % ", ".join(texts)


def _memory(how):
    """Return the metrics of memory; with ``2``, collect garbage first."""
    # Imported only here: a run that reads no memory should not load ctypes.
    from . import memory

    return memory.read(collect=how == "2")


def _socket_origins(which):
    """Begin to remember where sockets are opened, or return that of those still open (``end``)."""
    from . import socket_origins

    return socket_origins.begin() if which == "begin" else socket_origins.end()


def _object_growth(which):
    """Begin an object count (``begin``), or return what has grown since (``end``).

    In the latter case also return which operations of the subject leave memory behind.
    """
    from . import object_growth, operation_growth

    if which == "begin":
        return object_growth.begin()
    operations = getattr(workload, "operations", tuple)
    return dict(object_growth.end(), operations=operation_growth.measure(operations()))


_MEASURING = {
    "memory": _memory,
    "object_growth": _object_growth,
    "socket_origins": _socket_origins,
}
"""What measures for each command of :data:`protocol.MEASURED`."""
