"""A value of every BSON type that this PyMongo can write, with the value that it has to read back.

The samples are made of this interpreter's classes, so a class of another interpreter shows.
"""

from __future__ import absolute_import, unicode_literals

import datetime
import re
import sys
import uuid

from bson.binary import MD5_SUBTYPE, OLD_BINARY_SUBTYPE, USER_DEFINED_SUBTYPE, Binary
from bson.code import Code
from bson.dbref import DBRef
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.son import SON
from bson.timestamp import Timestamp
from bson.tz_util import utc

try:
    from bson.regex import Regex
except ImportError:  # before 2.7
    Regex = None

try:
    from bson.int64 import Int64
except ImportError:  # before 3.0
    Int64 = None

try:
    from bson.decimal128 import Decimal128
except ImportError:  # before 3.4
    Decimal128 = None

try:
    from bson.datetime_ms import DatetimeMS
except ImportError:  # before 4.3
    DatetimeMS = None

_PYTHON_2 = sys.version_info[0] == 2
_BYTES = b"\x00\xff bytes \x80"
_TEXT = "\u00e9\u4e16\U0001f600"
_OBJECT_ID = ObjectId("0123456789abcdef01234567")

# Milliseconds, because BSON stores no more.
_MOMENT = datetime.datetime(2026, 11, 5, 12, 34, 56, 789000)

ONE_OF_EACH_TYPE = frozenset(
    (
        "double string document array_tuple binary_native binary_user uuid object_id true datetime "
        "datetime_ms null regex dbref code code_scope int32 int64_large timestamp decimal128 "
        "min_key max_key"
    ).split()
)
"""The names of one sample for each BSON type, or for each class that stands for one."""

OF_EVERYDAY = frozenset(
    "double string document array_tuple object_id true datetime null int32".split()
)
"""The names of the samples that most applications store."""


def pairs():
    """Return a list of ``(name, written, read)``: ``written`` has to be read back as ``read``."""
    found = []
    for family in (_numbers, _texts, _binaries, _times, _containers, _regexes, _bson_only):
        found.extend(family())
    return found


def aware_datetime():
    """Return a datetime in UTC, as PyMongo returns it with ``tz_aware``."""
    return _MOMENT.replace(tzinfo=utc)


def _same(name, value):
    return (name, value, value)


def _numbers():
    found = [
        _same("double", 3.5),
        _same("double_nan", float("nan")),
        _same("double_infinity", float("inf")),
        _same("double_minus_infinity", float("-inf")),
        _same("double_minus_zero", -0.0),
        _same("int32", -2147483648),
        ("int_wide", 1 << 40, _read_int64(1 << 40)),
        ("int_widest", -(1 << 63), _read_int64(-(1 << 63))),
        _same("true", True),
        _same("false", False),
        _same("null", None),
    ]
    if Int64 is not None:
        found.append(_same("int64_small", Int64(5)))
        found.append(_same("int64_large", Int64(1 << 62)))
    if Decimal128 is not None:
        found.append(_same("decimal128", Decimal128("-1.10")))
        found.append(_same("decimal128_nan", Decimal128("NaN")))
    return found


def _read_int64(value):
    """Return a 64-bit integer as it is read: Int64 since PyMongo 3.0, Python 2's long before."""
    if Int64 is not None:
        return Int64(value)
    return type(sys.maxsize + 1)(value)


def _texts():
    return [
        _same("string", _TEXT),
        _same("string_nul", "a\x00b"),
        _same("string_empty", ""),
        # PyMongo takes Python 2's str for text, and returns unicode.
        ("string_native", str("native"), "native"),
    ]


def _binaries():
    # Python 3 reads subtype 0 as bytes; Python 2 has no other type for it than Binary.
    plain = Binary(_BYTES) if _PYTHON_2 else _BYTES
    return [
        ("binary", Binary(_BYTES), plain),
        ("binary_native", plain, plain),
        _same("binary_old", Binary(_BYTES, OLD_BINARY_SUBTYPE)),
        _same("binary_md5", Binary(b"0123456789abcdef", MD5_SUBTYPE)),
        _same("binary_user", Binary(_BYTES, USER_DEFINED_SUBTYPE)),
        _same("uuid", uuid.UUID("12345678-1234-4678-9234-567812345678")),
    ]


def _times():
    found = [
        _same("datetime", _MOMENT),
        _same("datetime_before_epoch", datetime.datetime(1969, 7, 20, 20, 17, 40, 1000)),
        ("datetime_micro", _MOMENT.replace(microsecond=789123), _MOMENT),
        ("datetime_aware", aware_datetime(), _MOMENT),
        # Not Timestamp(0, 0), which the server replaces by its own time.
        _same("timestamp", Timestamp(1700000000, 4294967295)),
    ]
    if DatetimeMS is not None:
        year_after_9999 = 253402300800000
        found.append(_same("datetime_ms", DatetimeMS(year_after_9999)))
    return found


def _containers():
    inner = {"id": _OBJECT_ID, "empty": {}, "list": [], "\u00e9": 1}
    return [
        _same("document", inner),
        (
            "document_son",
            SON([("b", 1), ("a", Binary(_BYTES, 128))]),
            {"b": 1, "a": Binary(_BYTES, 128)},
        ),
        _same("array", [1, "two", 3.0, None, inner, [_OBJECT_ID, [Code("x")]]]),
        ("array_tuple", (1, _TEXT), [1, _TEXT]),
    ]


def _regexes():
    native = re.compile("^caf\u00e9", re.IGNORECASE | re.UNICODE)
    if Int64 is None:  # PyMongo before 3.0 reads a regular expression as a native one
        found = [_same("regex_native", native)]
        if Regex is not None:
            found.append(("regex", Regex(native.pattern, native.flags), native))
        return found
    regex = Regex(native.pattern, native.flags)
    # A possessive quantifier, which most versions of ``re`` can't compile.
    return [
        ("regex_native", native, regex),
        _same("regex", regex),
        _same("regex_foreign", Regex("a++", "ms")),
    ]


def _bson_only():
    return [
        _same("object_id", _OBJECT_ID),
        _same("dbref", DBRef("collection", _OBJECT_ID, "database")),
        _same("dbref_extra", DBRef("collection", 1, extra=_OBJECT_ID)),
        _same("code", Code("function () { return 1; }")),
        _same("code_scope", Code("x", {"x": 1, "id": _OBJECT_ID, "raw": Binary(_BYTES, 128)})),
        _same("min_key", MinKey()),
        _same("max_key", MaxKey()),
    ]
