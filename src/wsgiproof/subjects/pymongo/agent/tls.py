"""Whether PyMongo checks the certificate of its server, by trying one that it must refuse."""

from __future__ import absolute_import

import re

import pymongo

try:
    from urllib import quote  # Python 2
except ImportError:
    from urllib.parse import quote

_MILLISECONDS = (300, 1000, 3000, 9000)
"""How long a client looks for a server. It does so until the time is over, also if it was refused:
so short at first, and longer for a busy machine."""
_REFUSED = "verify failed"
"""What the messages of OpenSSL have in common."""

_found = {}


def verifies(uri, stranger):
    """Return whether a client refuses the servers of ``uri`` if it is told to trust ``stranger``.

    That is the file with the certificate of an authority that has not signed theirs; None if there
    is no TLS. Return None then, and if no server could be reached.
    """
    if stranger is not None and stranger not in _found:
        _found[stranger] = _refuses(_trusting(uri, stranger))
    return _found.get(stranger)


def _trusting(uri, authority):
    return re.sub("(?<=tlsCAFile=)[^&]*", quote(authority, safe=""), uri)


def _refuses(uri):
    from pymongo.errors import ServerSelectionTimeoutError  # 3.0

    for milliseconds in _MILLISECONDS:
        client = pymongo.MongoClient(uri, serverSelectionTimeoutMS=milliseconds)
        try:
            client["admin"].command("ping")
            return False
        except ServerSelectionTimeoutError as error:
            if _REFUSED in str(error):
                return True
        finally:
            client.close()
    return None
