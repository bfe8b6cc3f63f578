"""What PyMongo says of itself, and the work that it does in each request."""

from __future__ import absolute_import

import os

import bson
import pymongo

from . import extras, roundtrip, tls
from .pools import POOLS
from .store import Store

_OF_STORE = ("uri", "database", "documents", "batch_size", "prefix", "close", "closed_app_name")


def identity(settings):
    """Return the version that was imported, from where, whether its C extensions were, and which
    extras it uses.

    With TLS, also whether PyMongo refuses a server whose authority it was not told to trust; None
    if that is unknown.
    """
    return {
        "version": pymongo.version,
        "path": os.path.abspath(pymongo.__file__),
        "bson_has_c": bson.has_c(),
        "pymongo_has_c": pymongo.has_c(),
        "extras": extras.usable(settings["extras"]),
        "verifies_tls": tls.verifies(settings["uri"], settings["stranger"]),
    }


def fill_pools(seconds, together):
    """Keep one connection and one session of each client busy for ``seconds``."""
    POOLS.occupy(seconds, together)


def operations():
    """Return the encoding and the decoding of each sample, to find out which of them leaks."""
    return roundtrip.operations()


class Workload(object):
    """Encodes and decodes a value of every BSON type, and reads documents that have them.

    ``store`` is None without a deployment. A value that ``bson`` refuses to encode or decode is a
    problem, too.
    """

    def __init__(self, settings):
        self.uri = settings["uri"]
        self.authority = settings["authority"]
        of_store = {name: settings[name] for name in _OF_STORE}
        self.store = Store(**of_store) if settings["documents"] else None

    def work(self):
        """Do the work of one request, and return what came out wrong."""
        found = [] if self.store is None else self.store.read_back()
        found.extend(roundtrip.encode_decode())
        return found

    def close(self):
        """Drop the documents."""
        if self.store is not None:
            self.store.close()
