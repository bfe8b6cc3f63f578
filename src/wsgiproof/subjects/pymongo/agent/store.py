"""A collection in the deployment that only this interpreter uses, like a usual application's."""

from __future__ import absolute_import

import gc
import os
import socket

import pymongo
from pymongo.collection import Collection

from ..identity import interpreter_token
from . import codec, pools, roundtrip

_SECONDS_TO_DROP = 1.0
_SECONDS_TO_CLOSE = 2.0
_MILLISECONDS_TO_SPREAD = 5000


class Store(object):
    """Writes ``documents`` documents with one client, closes that, and reads with another one.

    PYTHON-353 was a connection that the first one left. It has the appName ``closed_app_name``, by
    which the host sees what is left of it; None for a PyMongo without appName. :meth:`close` drops
    the documents. The second client stays open after that unless ``close`` is true: PyMongo
    recommends one client for the life of the process, and few applications close it.
    """

    def __init__(self, uri, database, documents, batch_size, prefix, close, closed_app_name):
        name = "%s%d_%s" % (prefix, os.getpid(), interpreter_token())
        named = {} if closed_app_name is None else {"appname": closed_app_name}
        first = pymongo.MongoClient(uri, **named)
        self._expected = _write(first, first[database], name, roundtrip.documents(documents))
        first.close()
        del first
        # Before 4.0 a closed client connects again if it is used, and others find it by its type.
        gc.collect()
        self._client = pymongo.MongoClient(uri)
        self.collection = codec.collection(self._client[database], name)
        self._batch_size = batch_size
        self.address = _address(self._client)
        self._closes_clients = close

    def read_back(self):
        """Read all documents in batches and return the problems."""
        found, missing = [], set(self._expected)
        for document in self.collection.find().batch_size(self._batch_size):
            index = document.get("index")
            if index not in missing:
                found.append("read an unexpected document with index %r" % (index,))
                continue
            missing.remove(index)
            found.extend(self._expected[index].problems(document))
        if missing:
            found.append("%d documents were not read" % len(missing))
        return found

    def close(self):
        """Drop the collection, and close all clients if ``close`` was true."""
        with _deadline(self.address):
            self.collection.drop()
        if self._closes_clients:
            pools.close_all(_SECONDS_TO_CLOSE)


def _write(client, database, name, documents):
    """Write the documents, and return the expected results of reading them, by index."""
    collection = codec.collection(database, name)
    # Looked up on the class: any attribute of an old collection is a sub collection.
    if hasattr(Collection, "insert_many"):
        collection.insert_many(documents)
        _spread(client, collection)
    else:
        collection.insert(documents)
    return {document["index"]: roundtrip.expected(document) for document in documents}


def _spread(client, collection):
    """Wait until each member that the URI's read preference may choose has the documents."""
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
        return pymongo.timeout(_SECONDS_TO_DROP)
    return _Reachable(address)  # before 4.2


class _Reachable(object):
    """Raises on entry if nothing listens at the address: an old client would wait 30 seconds."""

    def __init__(self, address):
        self._address = address

    def __enter__(self):
        socket.create_connection(self._address, _SECONDS_TO_DROP).close()

    def __exit__(self, *exc_info):
        return False
