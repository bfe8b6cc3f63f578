"""The identity of this interpreter, as reported by the process itself."""

from __future__ import absolute_import

import os
import sys
import uuid

from . import protocol

try:
    import apache
except ImportError:  # not inside Apache
    apache = None

try:
    import mod_wsgi
except ImportError:  # not inside Apache
    mod_wsgi = None

try:
    from thread import get_ident
except ImportError:  # Python 3
    from threading import get_ident

_TOKEN = "_wsgiproof_interpreter_token"


def interpreter_token():
    """Return a hex string that only this interpreter has."""
    # Each interpreter has its own ``sys``. setdefault is atomic, so two scripts that load at the
    # same time get the same token.
    return vars(sys).setdefault(_TOKEN, uuid.uuid4().hex)


def of_interpreter(subject):
    """Return the fields INTERPRETER and SUBJECT of the protocol; the latter is ``subject``."""
    fields = {
        "pid": os.getpid(),
        "token": interpreter_token(),
        "interpreter_id": _interpreter_id(),
        "gil": _whose_gil(),
        protocol.SUBJECT: subject,
    }
    fields.update(_of_server())
    fields.update(_of_python())
    return fields


def _of_server():
    return {
        "application_group": getattr(mod_wsgi, "application_group", None),
        # '' in embedded mode.
        "process_group": getattr(mod_wsgi, "process_group", None),
        "mod_wsgi": _dotted(getattr(mod_wsgi, "version", None)),
        "mpm": getattr(apache, "mpm_name", None),
    }


def _of_python():
    return {
        "python": _dotted(sys.version_info[:3]),
        "prefix": sys.prefix,
    }


def _dotted(version):
    return None if version is None else ".".join(str(part) for part in version)


def _interpreter_id():
    """Return the interpreter's number, or None if this Python can't report it safely.

    Before 3.12 the module for that has static types and a global table, which could themselves
    cause problems.
    """
    try:
        if sys.version_info >= (3, 13):
            import _interpreters

            return int(_interpreters.get_current()[0])
        if sys.version_info >= (3, 12):
            import _xxsubinterpreters

            return int(_xxsubinterpreters.get_current())
    except ImportError:  # private modules: a build may leave them out
        pass
    return None


def _whose_gil():
    """Return 'own', 'shared' or 'none', or None if this Python can't report it.

    3.13 reports the configuration of an interpreter. In 3.12, an interpreter with its own GIL
    refuses every extension that does not support that, such as ``_datetime`` (PEP 684).
    """
    if not gil_enabled():
        return "none"
    if sys.version_info < (3, 12):
        return "shared"
    try:
        if sys.version_info >= (3, 13):
            import _interpreters

            gil = _interpreters.get_config(_interpreters.get_current()[0]).gil
            return "own" if gil == "own" and _interpreter_id() != 0 else "shared"
        import _datetime  # noqa: F401
    except ImportError as error:
        return "own" if "does not support loading in subinterpreters" in str(error) else None
    return "shared"


def thread_id():
    """Return Python's identifier of this thread."""
    return get_ident()


def gil_enabled():
    """Return whether this interpreter has a GIL now; an extension may have enabled it again."""
    ask = getattr(sys, "_is_gil_enabled", None)
    return True if ask is None else ask()
