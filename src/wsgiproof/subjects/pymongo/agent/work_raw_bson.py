"""The workload ``raw-bson``: documents that stay bytes, types of the application, and vectors.

Since PyMongo 3.8; vectors since 4.10.
"""

from __future__ import absolute_import, unicode_literals

from functools import partial

from bson import BSON
from bson.codec_options import CodecOptions, TypeCodec, TypeRegistry
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from bson.son import SON

from . import bson_values, codec, roundtrip
from .compare import Expected, problems
from .store import Store

try:
    from bson.binary import Binary, BinaryVector, BinaryVectorDtype
except ImportError:  # before 4.10
    BinaryVector = None


class Price(object):
    """A type of the application, in cents."""

    def __init__(self, cents):
        self.cents = cents

    def __eq__(self, other):
        return type(other) is Price and other.cents == self.cents

    def __ne__(self, other):
        return not self == other

    def __hash__(self):
        return hash(self.cents)

    def __repr__(self):
        return "Price(%r)" % self.cents


class _PriceCodec(TypeCodec):
    python_type = Price
    bson_type = Int64

    def transform_python(self, value):
        return Int64(value.cents)

    def transform_bson(self, value):
        return Price(value)


def _other_types(value):
    """Return what BSON has for a type that it does not know: the fallback encoder."""
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError("no type for the BSON of %r" % (value,))


_TYPED = CodecOptions(type_registry=TypeRegistry([_PriceCodec()], _other_types))
_PRICES = {
    "price": Price(250),
    "nested": {"prices": [Price(1), Price(1 << 40)]},
    "set": frozenset([3, 1, 2]),
}
_PRICES_BACK = Expected(dict(_PRICES, set=[1, 2, 3]))

_RAW_OPTIONS = codec.NAIVE.with_options(document_class=RawBSONDocument)
_UNREADABLE = "code_scope"
"""The sample that no RawBSONDocument may have before PyMongo 4.9, which can't read it."""
_PAIRS = [pair for pair in bson_values.pairs() if pair[0] != _UNREADABLE]
_READ_BACK = Expected({name: read for name, _, read in _PAIRS})
_NESTED = ("document", "array", "dbref", "code")
"""How the names of samples begin that have documents in them, which stay bytes, too."""
_FLAT = {name: read for name, _, read in _PAIRS if not name.startswith(_NESTED)}
_FLAT_BACK = Expected(_FLAT)


def _vectors():
    if BinaryVector is None:
        return {}
    kinds = BinaryVectorDtype
    return {
        "float32": BinaryVector([0.5, -1.25, 2.0**100], kinds.FLOAT32),
        "int8": BinaryVector([-128, 0, 127], kinds.INT8),
        "packed_bit": BinaryVector([0, 127, 248], kinds.PACKED_BIT, padding=3),
    }


_VECTORS = _vectors()


def in_memory():
    """Return the problems of one round trip through ``bson``, without a server."""
    raw = _raw(codec.encode({name: written for name, written, _ in _PAIRS}))
    found = _FLAT_BACK.problems({name: raw[name] for name in _FLAT})
    inner = _raw(codec.encode({"inner": raw}))["inner"]
    found.extend(_in_raw(inner.raw, raw.raw))
    found.extend(_READ_BACK.problems(codec.decode(inner.raw)))
    found.extend(_PRICES_BACK.problems(_decode(_encode(_PRICES))))
    found.extend(_in_vectors(_decode(_encode(_binaries()))))
    return found


def _raw(data):
    return RawBSONDocument(data, _RAW_OPTIONS)


def _encode(document):
    return BSON.encode(document, codec_options=_TYPED)


def _decode(data):
    return BSON(data).decode(_TYPED)


def _binaries():
    return {
        name: Binary.from_vector(vector.data, vector.dtype, vector.padding)
        for name, vector in _VECTORS.items()
    }


def _in_raw(actual, expected):
    if actual == expected:
        return []
    return ["a raw document has other bytes: %r, not %r" % (actual[:40], expected[:40])]


def _in_vectors(document):
    if not set(_VECTORS) <= set(document):
        return ["a document with vectors has only %r" % (sorted(document),)]
    found = []
    for name, vector in _VECTORS.items():
        read = document[name].as_vector()
        for part in ("data", "dtype", "padding"):
            expected = {name: getattr(vector, part)}
            found.extend(problems(expected, {name: getattr(read, part)}))
    return found


class Work(Store):
    """Reads raw documents and compares their bytes, and reads the types of the application."""

    def prepare(self, client, database):
        self._expected = {}
        for document in roundtrip.documents(self.documents):
            document.pop(_UNREADABLE, None)
            # The server moves the key to the front, and keeps the order of the rest.
            document = SON([("_id", document.pop("_id"))] + sorted(document.items()))
            self._expected[document["_id"]] = codec.encode(document)
        self._prices, self._binaries = ObjectId(), ObjectId()
        raw = database.get_collection(self.name, codec_options=_RAW_OPTIONS)
        raw.insert_many([_raw(data) for data in self._expected.values()])
        typed = database.get_collection(self.name, codec_options=_TYPED)
        typed.insert_one(dict(_PRICES, _id=self._prices))
        typed.insert_one(dict(_binaries(), _id=self._binaries))

    def begin(self):
        with_options = partial(self.database.get_collection, self.name)
        self.collection = with_options(codec_options=_RAW_OPTIONS)
        self._typed = with_options(codec_options=_TYPED)

    def work(self):
        found, missing = [], set(self._expected)
        query = {"_id": {"$nin": [self._prices, self._binaries]}}
        for document in self.collection.find(query).batch_size(self.batch_size):
            identifier = document["_id"]
            missing.discard(identifier)
            found.extend(_in_raw(document.raw, self._expected.get(identifier, b"")))
        if missing:
            found.append("%d documents were not read" % len(missing))
        prices = self._typed.find_one({"_id": self._prices}) or {}
        prices.pop("_id", None)
        found.extend(_PRICES_BACK.problems(prices))
        found.extend(_in_vectors(self._typed.find_one({"_id": self._binaries}) or {}))
        return found
