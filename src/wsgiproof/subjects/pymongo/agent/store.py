"""What a workload has in the deployment, which only this interpreter uses, like an application."""

from __future__ import absolute_import

import gc
import os
import socket

import pymongo

from ..identity import interpreter_token
from . import codec, pools

SECONDS_TO_DROP = 1.0
_SECONDS_TO_CLOSE = 2.0
_MILLISECONDS_TO_SPREAD = 5000


class Store(object):
    """Prepares what the requests need with one client, closes that, and serves with another one.

    PYTHON-353 was a connection that the first one left. It has the appName ``closed_app_name``, by
    which the host sees what is left of it; None for a PyMongo without appName. :meth:`close` drops
    the collections. The second client stays open after that unless ``close`` is true: PyMongo
    recommends one client for the life of the process, and few applications close it.

    This is the base class of each workload. Its requests run in many threads.
    """

    parts = ("",)
    """What its collections have after :attr:`name`, so that they can be dropped."""
    sessions = 1
    """How many sessions a request uses at the same time: an open cursor keeps one, too."""

    def __init__(self, settings):
        self.uri = settings["uri"]
        self.documents = settings["documents"]
        self.batch_size = settings["batch_size"]
        self.name = "%s%d_%s" % (settings["prefix"], os.getpid(), interpreter_token())
        self._closes_clients = settings["close"]
        closed_app_name = settings["closed_app_name"]
        named = {} if closed_app_name is None else {"appname": closed_app_name}
        self.connect(settings["database"], named)

    def connect(self, database, named):
        """Make both clients. ``named`` are options of the first one."""
        first = pymongo.MongoClient(self.uri, **named)
        self.prepare(first, first[database])
        first.close()
        del first
        # Before 4.0 a closed client connects again if it is used, and others find it by its type.
        gc.collect()
        self.client = pymongo.MongoClient(self.uri, **self.options())
        self.database = of_primary(self.client, database)
        self.collection = codec.collection(self.database, self.name)
        self.address = _address(self.client)
        self.begin()

    def prepare(self, client, database):
        """Prepare with the first client what the requests need."""

    def options(self):
        """Return options of the second client."""
        return {}

    def begin(self):
        """Make what the requests share, with the second client."""

    def work(self):
        """Do the work of one request, and return the problems."""
        raise NotImplementedError

    def close(self):
        """Drop the collections, and close all clients if ``close`` was true."""
        with _deadline(self.address):
            for part in self.parts:
                self.database.drop_collection(self.name + part)
        if self._closes_clients:
            pools.close_all(_SECONDS_TO_CLOSE)


def of_primary(client, name):
    """Return a database that reads from the primary, whatever the URI prefers.

    A secondary may not have yet what was just written.
    """
    if not hasattr(type(client), "get_database"):  # before 3.0
        return client[name]
    return client.get_database(name, read_preference=pymongo.ReadPreference.PRIMARY)


def spread(client, collection):
    """Wait until each member that the URI's read preference may choose has all that was written."""
    members = _readable(client)
    if members < 2:
        return
    concern = pymongo.WriteConcern(w=members, wtimeout=_MILLISECONDS_TO_SPREAD)
    try:
        # It deletes nothing, but is acknowledged only after all earlier writes.
        collection.with_options(write_concern=concern).delete_one({"index": -1})
    except pymongo.errors.WTimeoutError:
        pass  # a member is down, so no read goes to it


def _readable(client):
    """Return how many members this client may read from."""
    if not client.read_preference.mode:
        return 1  # only the primary
    reply = client.admin.command("ismaster")
    return len(reply.get("hosts", ())) + len(reply.get("passives", ()))


def _address(client):
    """Return the (host, port) of the primary, or of a mongos, that the client is connected to."""
    if not hasattr(pymongo.MongoClient, "address"):  # before 3.0
        return (client.host, client.port)
    try:
        return client.address
    except pymongo.errors.InvalidOperation:  # it uses several mongos in turn
        return min(client.nodes)


def _deadline(address):
    """Return a context in which the subject does not wait long for a server that is down."""
    if hasattr(pymongo, "timeout"):
        return pymongo.timeout(SECONDS_TO_DROP)
    return _Reachable(address)  # before 4.2


class _Reachable(object):
    """Raises on entry if nothing listens at the address: an old client would wait 30 seconds."""

    def __init__(self, address):
        self._address = address

    def __enter__(self):
        socket.create_connection(self._address, SECONDS_TO_DROP).close()

    def __exit__(self, *exc_info):
        return False
