"""Faults of answers and of the error log, and their negative controls."""

from __future__ import absolute_import

import sys
import time
import traceback
import warnings

from .counter import Counter
from .faults_base import NoFault, Sometimes


class _Answering(Sometimes):
    """Answers each ``every``-th request in another way."""

    def on_request(self, workload):
        """Act only in the answer."""

    def answer(self, environ, body, start_response):
        if not self._due():
            return NoFault.answer(self, environ, body, start_response)
        return self.unusual(start_response)

    def unusual(self, start_response):
        """Answer the request."""
        raise NotImplementedError


class WrongHeader(_Answering):
    """Gives a header a value that is no text, which mod_wsgi refuses after the request's work."""

    def unusual(self, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", 3)])
        return [b"ok\n"]


class ShortBody(_Answering):
    """Sends less of a body than its Content-Length says."""

    def unusual(self, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "30")])
        return [b"ok\n"]


class NoneInBody(_Answering):
    """Has None among the parts of a body, which mod_wsgi refuses when it has sent the first."""

    def unusual(self, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok\n", None]


class AnswerRedirect(_Answering):
    """Redirects, as an application does whose user has to log in first."""

    def unusual(self, start_response):
        start_response("302 Found", [("Location", "/login"), ("Content-Length", "0")])
        return []


class StreamBody(_Answering):
    """The negative control of these: answers in parts, of which the first is sent by ``write``.

    Between two parts it works, and its headers have values that are Latin-1.
    """

    def unusual(self, start_response):
        write = start_response(
            "201 Created", [("Content-Type", "text/plain"), ("X-Name", "Andr\xe9")]
        )
        write(b"first part, ")
        return self._parts()

    def _parts(self):
        for number in range(20):
            yield b"" if number % 5 == 0 else ("part %d, " % number).encode("ascii")


class _Naming(NoFault):
    """Answers with the X-Request-ID of a request."""

    def answer(self, environ, body, start_response):
        name = self.name(environ.get("HTTP_X_REQUEST_ID", ""))
        return NoFault.answer(self, environ, name.encode("ascii"), start_response)

    def name(self, own):
        """Return what to answer to the request with this X-Request-ID."""
        raise NotImplementedError


class AnswerAnother(_Naming):
    """Keeps a request in an attribute of a shared object, so that requests at the same time get the
    answers of one another."""

    def name(self, own):
        self._current = own
        time.sleep(0.002)
        return self._current


class AnswerFromCache(_Naming):
    """The negative control of AnswerAnother: the answer names the request that made it, and is kept
    for 20 requests, also those that come one after the other."""

    def __init__(self):
        self._requests = Counter()
        self._kept = ""

    def name(self, own):
        if not self._kept or self._requests.next() % 20 == 0:
            self._kept = own
        return self._kept


class LogTraceback(Sometimes):
    """Handles an exception, answers correctly, and leaves the traceback in the log."""

    def act(self, workload):
        try:
            raise ValueError("planted by wsgiproof: log-traceback")
        except ValueError:
            traceback.print_exc()


class LogLines(Sometimes):
    """A negative control of LogTraceback: logs ``burst`` lines of ordinary information."""

    def act(self, workload):
        sys.stderr.write("answered as it should be, and somebody wanted to know\n")


class LogWarnings(Sometimes):
    """The negative control of LogTraceback: logs lines that only look like the subject's errors."""

    def at_load(self, workload):
        # By default a DeprecationWarning is shown only for code in __main__.
        warnings.filterwarnings("always", category=DeprecationWarning, module=__name__)

    def act(self, workload):
        warnings.warn("an old way of doing something else", DeprecationWarning, stacklevel=1)
        sys.stderr.write("error: 0, retried: 0, all is well\n")
