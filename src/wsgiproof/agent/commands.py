"""Reads the commands of the host, which are in a request header.

Method, path, query string and body belong to the application. Any user of this machine can send
requests, so the header is accepted only with the secret of this server, which only the host knows.
"""

from __future__ import absolute_import

import hmac

from .protocol import COMMANDS, READERS

KEY = "HTTP_" + COMMANDS.upper().replace("-", "_")
"""The name of the header in the WSGI environ (PEP 3333)."""


class Commands(object):
    """The commands of one request; the protocol explains them. One that was not given is None.

    ``from_host`` is true if the request had the secret.
    """

    from_host = False
    name = until = gather = together = occupy = memory = object_growth = socket_origins = None

    def names(self):
        """Return the names of the commands that were given, as text; empty if there are none."""
        return ", ".join(name for name in sorted(READERS) if name in vars(self))


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
        if name not in READERS:
            raise ValueError("there is no command %r" % name)
        try:
            setattr(commands, name, READERS[name](value))
        except ValueError:
            raise ValueError("%r is no value for the command %s" % (value, name))
    return commands


def _bytes(text):
    # A WSGI string holds one byte per character; a JSON string may be unicode on Python 2.
    return text if isinstance(text, bytes) else text.encode("latin-1")
