"""What PyMongo says of itself, and the work that it does in each request."""

from __future__ import absolute_import

import os

import bson
import pymongo

from . import roundtrip
from .pools import POOLS
from .store import Store


def identity():
    """Return the version that was imported, from where, and whether its C extensions were."""
    return {
        "version": pymongo.version,
        "path": os.path.abspath(pymongo.__file__),
        "bson_has_c": bson.has_c(),
        "pymongo_has_c": pymongo.has_c(),
    }


def fill_pools(seconds, together):
    """Keep one connection and one session of each client busy for ``seconds``."""
    POOLS.occupy(seconds, together)


class Workload(object):
    """Encodes and decodes a value of every BSON type, and reads documents that have them.

    ``store`` is None without a deployment. A value that ``bson`` refuses to encode or decode is a
    problem, too.
    """

    def __init__(self, settings):
        self.uri = settings["uri"]
        self.store = Store(**settings) if settings["documents"] else None

    def work(self):
        """Do the work of one request, and return what came out wrong."""
        found = [] if self.store is None else self.store.read_back()
        found.extend(roundtrip.encode_decode())
        return found

    def close(self):
        """Drop the documents."""
        if self.store is not None:
            self.store.close()
