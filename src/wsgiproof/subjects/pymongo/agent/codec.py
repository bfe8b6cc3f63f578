"""BSON encoding and decoding with the options that the samples need, for any PyMongo."""

from __future__ import absolute_import

import bson
from bson.binary import UUID_SUBTYPE

try:
    from bson.int64 import Int64  # noqa: F401

    # 2.9 has CodecOptions too, but its bson functions do not take them.
    MODERN = True
except ImportError:  # before 3.0
    MODERN = False

if MODERN:
    from bson.codec_options import CodecOptions

try:
    from bson.codec_options import DatetimeConversion
except ImportError:  # before 4.3
    DatetimeConversion = None


def _options(tz_aware=False):
    """Return the CodecOptions: standard UUIDs, and DatetimeMS beyond the range of datetime."""
    options = {"uuid_representation": UUID_SUBTYPE, "tz_aware": tz_aware}
    if DatetimeConversion is not None:
        options["datetime_conversion"] = DatetimeConversion.DATETIME_AUTO
    return CodecOptions(**options)


if MODERN:
    NAIVE = _options()
    _AWARE = _options(tz_aware=True)

    def encode(document):
        """Return the BSON of a document."""
        return bson.BSON.encode(document, codec_options=NAIVE)

    def decode(data, tz_aware=False):
        """Return the document in ``data``."""
        return bson.BSON(data).decode(_AWARE if tz_aware else NAIVE)

    def collection(database, name):
        """Return a collection that encodes and decodes as this module does."""
        return database.get_collection(name, codec_options=NAIVE)

else:

    def encode(document):
        """Return the BSON of a document."""
        return bson.BSON.encode(document, uuid_subtype=UUID_SUBTYPE)

    def decode(data, tz_aware=False):
        """Return the document in ``data``."""
        return bson.BSON(data).decode(tz_aware=tz_aware, uuid_subtype=UUID_SUBTYPE)

    def collection(database, name):
        """Return a collection that encodes and decodes as this module does."""
        found = database[name]
        found.uuid_subtype = UUID_SUBTYPE
        return found
