"""The user's own application: loads it from its file, and calls it according to PEP 3333."""

from __future__ import absolute_import

import os
import sys
import types

_MODULE = "_wsgiproof_own_application"


class UserApplication(object):
    """The ``application`` that a file defines, in this interpreter.

    It gets the URI and the database of its deployment in the environ of each request, as
    ``wsgiproof.mongodb_uri`` and ``wsgiproof.database``, and before it is loaded, in the
    environment variables WSGIPROOF_MONGODB_URI and WSGIPROOF_DATABASE.
    """

    def __init__(self, path, uri, database):
        uri, database = _native(uri), _native(database)
        self._environ = {"wsgiproof.mongodb_uri": uri, "wsgiproof.database": database}
        os.environ["WSGIPROOF_MONGODB_URI"] = uri
        os.environ["WSGIPROOF_DATABASE"] = database
        self._application = _load(_native(path))

    def call(self, environ):
        """Call it with one request, and return the :class:`Reply`. Exceptions are not caught."""
        reply = Reply()
        environ = dict(environ)
        environ.update(self._environ)
        reply.read(self._application(environ, reply.start_response))
        return reply


class Reply(object):
    """The server's side of one request, according to PEP 3333.

    ``status`` and ``headers`` come from the application. ``body`` is a list of bytes, which is kept
    only if ``succeeded`` is false, since the body of a successful request is not needed.
    """

    def __init__(self):
        self.status = None
        self.headers = []
        self.body = []
        self._begun = False  # whether a server would have sent the headers

    @property
    def succeeded(self):
        """Whether the status is a success or a redirect."""
        return self.status[:1] in ("2", "3")

    def start_response(self, status, headers, exc_info=None):
        """Set the status and the headers, and return the write callable.

        With ``exc_info`` they replace earlier ones; if the body has begun, ``exc_info`` is raised.
        """
        if exc_info is None:
            if self.status is not None:
                raise AssertionError("start_response was called again, without exc_info")
        elif self._begun:
            try:
                _raise(exc_info)
            finally:
                exc_info = None  # PEP 3333: it would refer to this frame, and this frame to it
        self.status, self.headers = status, headers
        return self.write

    def write(self, part):
        """Add a part of the body, which has to be bytes."""
        if self.status is None:
            raise AssertionError("the body began before start_response was called")
        if not isinstance(part, bytes):
            raise TypeError("the body has to be made of bytes, not of %s" % type(part).__name__)
        if part:
            self._begun = True
            if not self.succeeded:
                self.body.append(part)

    def read(self, result):
        """Read all that the application returned, and close it in any case."""
        try:
            for part in result:
                self.write(part)
            if self.status is None:
                raise AssertionError("start_response was not called")
        finally:
            if hasattr(result, "close"):
                result.close()


def _load(path):
    """Run the file as a new module, as mod_wsgi runs a script, and return its application."""
    module = types.ModuleType(_MODULE)
    module.__file__ = path
    sys.modules[_MODULE] = module  # dataclasses and pickle look a class's module up there
    try:
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec", 0, True)  # without our own __future__
        exec(code, vars(module))
        if not callable(vars(module).get("application")):
            raise ImportError("%s defines no callable named application" % path)
    except BaseException:
        del sys.modules[_MODULE]
        raise
    return module.application


def _native(text):
    """Return ``text``, which may come from JSON, as a ``str``: WSGI takes nothing else."""
    return text if isinstance(text, str) else text.encode("utf-8")  # Python 2


if sys.version_info[0] == 2:
    exec("def _raise(exc_info): raise exc_info[0], exc_info[1], exc_info[2]")
else:

    def _raise(exc_info):
        """Raise the exception again, with its traceback."""
        raise exc_info[1].with_traceback(exc_info[2])
