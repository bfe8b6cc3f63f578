"""Faults of values and of the environment."""

from __future__ import absolute_import

import re
import sys
import types

from ..counter import Counter
from ..faults_base import NoFault
from ..probe import application_group
from .faults import store_of


class _Decoding(NoFault):
    """Changes a decoded document in each ``every``-th request.

    It is that of the round trip without a server or, with ``from_server``, the first document that
    is read from the server.
    """

    def __init__(self, every=1, from_server=False):
        self._every = every
        self._from_server = from_server
        self._requests = Counter()

    def at_load(self, workload):
        from . import codec

        if self._from_server:
            store = store_of(workload)
            store.collection = _Changing(store.collection, self.sometimes_change)
        else:
            codec.decode = _changing(codec.decode, self.sometimes_change)

    def sometimes_change(self, document):
        """Change the document in each ``every``-th call."""
        if self._requests.next() % self._every == 0:
            self.change(document)

    def change(self, document):
        """Put a wrong value into a document of :mod:`.bson_values`."""
        raise NotImplementedError


def _changing(decode, change):
    """Return a ``codec.decode`` that passes its results to ``change``."""

    def decode_and_change(data, tz_aware=False):
        document = decode(data, tz_aware)
        # A request decodes twice, the first time without time zones.
        if not tz_aware:
            change(document)
        return document

    return decode_and_change


class _Changing(object):
    """A collection that passes the first document of each find to ``change``."""

    def __init__(self, documents, change):
        self._documents = documents
        self._change = change

    def find(self):
        return self

    def batch_size(self, size):
        for number, document in enumerate(self._documents.find().batch_size(size)):
            if number == 0:
                self._change(document)
            yield document

    def __getattr__(self, name):
        return getattr(self._documents, name)


class WrongValue(_Decoding):
    """Decodes an integer with one wrong bit."""

    def change(self, document):
        document["int32"] ^= 1


class ForeignType(_Decoding):
    """Decodes a Binary of another interpreter's class.

    An extension that keeps a class in a static variable does this. Here the same module is loaded a
    second time, and stands for that of another interpreter.
    """

    def at_load(self, workload):
        import bson.binary

        # The module itself is kept: Python 2 empties a module without references.
        self._foreign = _loaded_again(bson.binary)
        _Decoding.at_load(self, workload)

    def change(self, document):
        binary = document["binary_user"]
        document["binary_user"] = self._foreign.Binary(bytes(binary), binary.subtype)


def _loaded_again(module):
    """Return a second module made from the same source, which is not in ``sys.modules``."""
    copy = types.ModuleType(module.__name__)
    copy.__package__ = module.__name__.rpartition(".")[0]
    copy.__file__ = path = module.__file__.replace(".pyc", ".py")
    with open(path, "rb") as source:
        exec(compile(source.read(), path, "exec"), vars(copy))
    return copy


class NoExtension(NoFault):
    """Prevents the import of PyMongo's C extensions, so that it silently falls back to Python."""

    def before_import(self):
        # For the import system, None means that there is no such module.
        for name in ("bson._cbson", "pymongo._cmessage"):
            sys.modules[name] = None


class LoseExtra(NoFault):
    """Prevents the import of zstd in the interpreter of the application group ``only``."""

    def __init__(self, only):
        self._here = only == application_group()

    def before_import(self):
        if self._here:
            for name in ("backports.zstd", "compression.zstd", "zstandard"):
                sys.modules[name] = None


class WrongVersion(NoFault):
    """Makes PyMongo report another version.

    No other version is loaded: the version that the check reads is changed right after the import.
    """

    def before_import(self):
        import pymongo

        pymongo.version = "0.0.0"


class _ChangedClient(NoFault):
    """Changes each client as it is made: its URI, and its options."""

    def before_import(self):
        import pymongo

        make, change = pymongo.MongoClient.__init__, self.change

        def make_changed(client, host=None, *args, **options):
            host, changed = change(host)
            make(client, host, *args, **dict(options, **changed))

        pymongo.MongoClient.__init__ = make_changed

    def change(self, uri):
        """Return another URI, and more options."""
        raise NotImplementedError


class TrustAnyCertificate(_ChangedClient):
    """Does not check the certificates of its servers."""

    def change(self, uri):
        return uri, {"tlsAllowInvalidCertificates": True} if "tls=true" in uri else {}


class SkipTls(_ChangedClient):
    """Connects without TLS."""

    def change(self, uri):
        return re.sub("tls[A-Za-z]*=[^&]*&?", "", uri), {"serverSelectionTimeoutMS": 500}


class WrongPassword(_ChangedClient):
    """Has another password than the deployment knows."""

    def change(self, uri):
        return re.sub("(?<=:)[^:/@]+(?=@)", "wrong", uri), {}
