"""Documents with a value of every BSON type, and the problems of their round trips."""

from __future__ import absolute_import

from functools import partial

from bson.errors import BSONError
from bson.objectid import ObjectId

from . import bson_values, codec
from .compare import Expected, problems

_PAIRS = bson_values.pairs()
_WRITTEN = {name: written for name, written, _ in _PAIRS}
_READ = {name: read for name, _, read in _PAIRS}
_ONE_OF_EACH = [name for name, _, _ in _PAIRS if name in bson_values.ONE_OF_EACH_TYPE]
_EVERYDAY = [name for name, _, _ in _PAIRS if name in bson_values.OF_EVERYDAY]
_AWARE = {"aware": bson_values.aware_datetime()}
_READ_BACK = Expected(_READ)
_AWARE_BACK = Expected(_AWARE)


def documents(n):
    """Return ``n`` new documents to write; their ``index`` counts from 0.

    The first document has all samples, every second one a value of each BSON type, and the others
    have what most applications store. More requests in the same time find more than the same value
    twenty times in each request.
    """
    return [_part(_WRITTEN, index, ObjectId()) for index in range(n)]


def expected(document):
    """Return the :class:`Expected` result of reading a document of :func:`documents`."""
    return Expected(_part(_READ, document["index"], document["_id"]))


def everyday(**fields):
    """Return a document of what most applications store and of these fields, and the
    :class:`Expected` result of reading it."""
    written = dict(((name, _WRITTEN[name]) for name in _EVERYDAY), **fields)
    return written, Expected(dict(((name, _READ[name]) for name in _EVERYDAY), **fields))


def _part(values, index, identifier):
    if index == 0:
        names = values
    else:
        names = _EVERYDAY if index % 2 else _ONE_OF_EACH
    return dict(((name, values[name]) for name in names), _id=identifier, index=index)


def encode_decode():
    """Return the problems of one round trip through ``bson``, without a server."""
    try:
        found = _READ_BACK.problems(codec.decode(codec.encode(_WRITTEN)))
    except BSONError as error:
        found = [_refused("all types", error)] + _one_by_one()
    # An aware datetime needs one more class of the subject: its tzinfo.
    found.extend(_AWARE_BACK.problems(codec.decode(codec.encode(_AWARE), tz_aware=True)))
    return found


def operations():
    """Yield the name and the function of the encoding and of the decoding of each sample."""
    for name, written, _ in _PAIRS:
        document = {name: written}
        try:
            data = codec.encode(document)
            codec.decode(data)
        except BSONError:
            continue
        yield "encode " + name, partial(codec.encode, document)
        yield "decode " + name, partial(codec.decode, data)


def _one_by_one():
    """Return the problems of each sample in a separate document, since an error hides the rest."""
    found = []
    for name, written, read in _PAIRS:
        try:
            back = codec.decode(codec.encode({name: written}))
        except BSONError as error:
            found.append(_refused(name, error))
        else:
            found.extend(problems({name: read}, back))
    return found


def _refused(name, error):
    return "%s: refused: %r" % (name, error)
