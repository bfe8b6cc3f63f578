"""The user's own application: loads it from its file, and calls it."""

from __future__ import absolute_import

import os
import sys
import types

_MODULE = "_wsgiproof_own_application"


class UserApplication(object):
    """The ``application`` that a file defines, in this interpreter.

    It gets what connects it to its backend in the environ of each request, and before it is loaded
    in environment variables.
    """

    def __init__(self, settings):
        self._environ = native_items(settings["environ"])
        os.environ.update(native_items(settings["variables"]))
        self._application = _load(_native(settings["app"]))

    def __call__(self, environ, start_response):
        environ.update(self._environ)
        return self._application(environ, start_response)


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


def native_items(mapping):
    """Return a mapping from JSON with ``str`` as keys and values."""
    return {_native(name): _native(value) for name, value in mapping.items()}
