"""Wrong values, a wrong subject, and what the error log says of it; the twins only talk."""

from __future__ import absolute_import

import sys
import traceback
import types
import warnings

from .counter import Counter
from .faults_base import NoFault, Sometimes, need_store


class _Decoding(NoFault):
    """Changes a document that was decoded, in each ``every``-th request.

    That of the round trip without a server, or, with ``from_server``, the first that is read back.
    """

    def __init__(self, every=1, from_server=False):
        self._every = every
        self._from_server = from_server
        self._requests = Counter()

    def at_load(self, store):
        from . import codec

        if self._from_server:
            need_store(store)
            store._collection = _Changing(store._collection, self.sometimes_change)
        else:
            codec.decode = _changing(codec.decode, self.sometimes_change)

    def sometimes_change(self, document):
        """Change the document in each ``every``-th call."""
        if self._requests.next() % self._every == 0:
            self.change(document)

    def change(self, document):
        """Put something wrong into a document of :mod:`.bson_values`."""
        raise NotImplementedError


def _changing(decode, change):
    """Return a ``codec.decode`` of which ``change`` gets the results."""

    def decode_and_change(data, tz_aware=False):
        document = decode(data, tz_aware)
        # A request decodes twice, and only the first time without time zones.
        if not tz_aware:
            change(document)
        return document

    return decode_and_change


class _Changing(object):
    """A collection of which ``change`` gets the first document that a find gives."""

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
    """Decodes one integer with one bit of it wrong."""

    def change(self, document):
        document["int32"] ^= 1


class ForeignType(_Decoding):
    """Decodes a Binary of another interpreter's class.

    An extension that keeps a class in a static variable does this. Here the module loaded a second
    time stands for that of another interpreter.
    """

    def at_load(self, store):
        import bson.binary

        # All of it: Python 2 empties a module that nobody holds.
        self._foreign = _loaded_again(bson.binary)
        _Decoding.at_load(self, store)

    def change(self, document):
        binary = document["binary_user"]
        document["binary_user"] = self._foreign.Binary(bytes(binary), binary.subtype)


def _loaded_again(module):
    """Return a second module made of the same source, of which ``sys.modules`` knows nothing."""
    copy = types.ModuleType(module.__name__)
    copy.__package__ = module.__name__.rpartition(".")[0]
    copy.__file__ = path = module.__file__.replace(".pyc", ".py")
    with open(path, "rb") as source:
        exec(compile(source.read(), path, "exec"), vars(copy))
    return copy


class NoExtension(NoFault):
    """Keeps PyMongo's C extensions from being imported, whereupon it silently does without."""

    def before_import(self):
        # None is how the import system says that there is no such module.
        for name in ("bson._cbson", "pymongo._cmessage"):
            sys.modules[name] = None


class WrongVersion(NoFault):
    """Lets PyMongo say that it is another version.

    No other version is loaded: what ``environment`` reads is changed, right after the import.
    """

    def before_import(self):
        import pymongo

        pymongo.version = "0.0.0"


class LogTraceback(Sometimes):
    """Handles an exception, answers as it should, and leaves the traceback in the log."""

    def act(self, store):
        try:
            raise ValueError("planted by wsgiproof: log-traceback")
        except ValueError:
            traceback.print_exc()


class LogLines(Sometimes):
    """A twin of LogTraceback: ``burst`` lines of log about nothing much."""

    def act(self, store):
        sys.stderr.write("answered as it should be, and somebody wanted to know\n")


class LogWarnings(Sometimes):
    """The twin of LogTraceback: what reads like trouble and is none, or none of the subject's."""

    def at_load(self, store):
        # By default a DeprecationWarning is shown to the author of a main script only.
        warnings.filterwarnings("always", category=DeprecationWarning, module=__name__)

    def act(self, store):
        warnings.warn("an old way of doing something else", DeprecationWarning, stacklevel=1)
        sys.stderr.write("error: 0, retried: 0, all is well\n")
