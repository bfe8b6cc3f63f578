"""Faults of answers and of the error log, and their negative controls."""

from __future__ import absolute_import

import sys
import traceback
import warnings

from .faults_base import NoFault, Sometimes


class _Answering(Sometimes):
    """Answers each ``every``-th request in another way."""

    def on_request(self, workload):
        """Act only in the answer."""

    def answer(self, body, start_response):
        if not self._due():
            return NoFault.answer(self, body, start_response)
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
