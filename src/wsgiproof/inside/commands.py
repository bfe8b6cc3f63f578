"""Commands of the host to the probe, in a request header.

    X-Wsgiproof: SECRET until=1234.5 occupy=0.1 memory=2

Method, path, query string and body belong to the application. Any user of this machine can send
requests, so the header is accepted only with the secret of this server, which only the host knows.
"""

from __future__ import absolute_import

import hmac
import re

KEY = "HTTP_X_WSGIPROOF"
"""The name of the header in the WSGI environ (PEP 3333)."""

LONGEST_OCCUPY = 5.0  # seconds

_NAME = re.compile(r"[a-z0-9]{1,16}$")


class Commands(object):
    """The commands of one request; each is None if it was not given.

    ``name``    the host's name for the request
    ``until``   CLOCK_MONOTONIC seconds: wait for that instant
    ``occupy``  seconds to keep a connection of each client busy
    ``memory``  1 to read memory, 2 to collect garbage first
    ``object_growth``  'begin' or 'end'

    ``from_host`` is true if the request had the secret.
    """

    from_host = False
    name = until = occupy = memory = object_growth = None

    def names(self):
        """Return the names of the commands that were given, as text; empty if there are none."""
        return ", ".join(name for name in sorted(_READERS) if name in vars(self))


NONE = Commands()


def take(environ, secret):
    """Return the :class:`Commands` of a request, and remove their header from its environ.

    A header without the secret belongs to the application: it stays, and there are no commands.
    Raises ValueError for an unknown command, and for a value out of range.
    """
    header = environ.get(KEY)
    if header is None or not secret:
        return NONE
    given, _, rest = header.partition(" ")
    if not hmac.compare_digest(_bytes(given), _bytes(secret)):
        return NONE
    del environ[KEY]
    commands = Commands()
    commands.from_host = True
    for word in rest.split():
        name, _, value = word.partition("=")
        if name not in _READERS:
            raise ValueError("there is no command %r" % name)
        try:
            setattr(commands, name, _READERS[name](value))
        except ValueError:
            raise ValueError("%r is no value for the command %s" % (value, name))
    return commands


def _bytes(text):
    # A WSGI string holds one byte per character; a JSON string may be unicode on Python 2.
    return text if isinstance(text, bytes) else text.encode("latin-1")


def _seconds(most):
    def read(value):
        seconds = float(value)
        if not 0 <= seconds <= most:  # false for NaN
            raise ValueError
        return seconds

    return read


def _one_of(*choices):
    def read(value):
        if value not in choices:
            raise ValueError
        return value

    return read


def _name(value):
    if not _NAME.match(value):
        raise ValueError
    return value


_READERS = {
    "name": _name,
    # probe.hold limits how long it waits.
    "until": _seconds(1e12),
    "occupy": _seconds(LONGEST_OCCUPY),
    "memory": _one_of("1", "2"),
    "object_growth": _one_of("begin", "end"),
}
