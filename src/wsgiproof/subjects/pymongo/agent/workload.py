"""What PyMongo says of itself, and the work that it does in each request.

Each workload is a module: ``change-streams`` is :mod:`.work_change_streams`. It defines ``Work``, a
:class:`.store.Store`, and perhaps ``in_memory()``, which returns the problems of what needs no
deployment. Only the module of the chosen workload is imported.
"""

from __future__ import absolute_import

import importlib
import os

import bson
import pymongo

from . import extras, roundtrip, tls
from .pools import POOLS

_PACKAGE = __name__.rpartition(".")[0]


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
    """The workload that the settings name: what it has in the deployment, and what needs none.

    ``store`` is None without a deployment.
    """

    def __init__(self, settings):
        self.uri = settings["uri"]
        self.authority = settings["authority"]
        module = "work_" + settings["workload"].replace("-", "_")
        chosen = importlib.import_module("%s.%s" % (_PACKAGE, module))
        self.store = chosen.Work(settings) if settings["documents"] else None
        POOLS.sessions = chosen.Work.sessions
        self._in_memory = getattr(chosen, "in_memory", list)

    def work(self):
        """Do the work of one request, and return what came out wrong."""
        found = [] if self.store is None else self.store.work()
        found.extend(self._in_memory())
        return found

    def close(self):
        """Drop what the workload has in the deployment."""
        if self.store is not None:
            self.store.close()
