"""Compares values by value and by exact type."""

from __future__ import absolute_import

import datetime
import math
import operator
import re
import struct

from bson.code import Code
from bson.dbref import DBRef

try:
    from bson.regex import Regex
except ImportError:  # before 2.7
    Regex = None

_NONE = ()
_MISSING = object()


class Expected(object):
    """A document that is compared with many others, and prepared for that.

    :func:`problems` walks the whole document. This class avoids the walk in the usual case, in
    which nothing is wrong: it runs for each document of each request, and the time should go to the
    subject. It looks at every value that the walk looks at, but takes them out of the document and
    compares them with few calls, each for many values.

    To encode a document again and compare the bytes takes as long, and says nothing of classes.
    """

    def __init__(self, document):
        self._document = document
        self._steps, values = _taken_apart(document)
        self._types = [type(value) for value in values]
        floats = [number for number, kind in enumerate(self._types) if kind is float]
        others = [number for number, kind in enumerate(self._types) if kind not in _BY_PARTS]
        self._floats, self._others = _items(floats), _items(others)
        # As bytes, in which -0.0 is not 0.0, and NaN is NaN.
        self._pack = struct.Struct("%dd" % len(floats)).pack
        self._packed = self._pack(*self._floats(values))
        self._values = self._others(values)

    def problems(self, actual):
        """Return what :func:`problems` returns."""
        try:
            matched = self._is_matched_by(actual)
        except Exception:  # a value of another type: the walk says of which one
            matched = False
        return [] if matched else problems(self._document, actual)

    def _is_matched_by(self, actual):
        values = [actual]
        for position, length, take in self._steps:
            value = values[position]
            if length is not None and len(value) != length:
                return False
            values += take(value)
        return (
            [type(value) for value in values] == self._types
            and self._others(values) == self._values
            and self._pack(*self._floats(values)) == self._packed
        )


def _taken_apart(document):
    """Return how to make a list of a document and all that is in it, and that list.

    The first is a list of ``(position, length, take)``: ``take`` returns the parts of the value at
    this position of the list, which are added to it. ``length`` is None for what has none.
    """
    steps, values = [], [document]
    for position, value in enumerate(values):  # it grows
        kind = type(value)
        if kind is dict:
            steps.append((position, len(value), _items(value)))
        elif kind is list:
            steps.append((position, len(value), tuple))
        elif kind in _PARTS:
            steps.append((position, None, _attributes(_PARTS[kind])))
        elif kind is Code:
            steps.append((position, None, _text_and_scope))
        elif kind is datetime.datetime and value.tzinfo is not None:
            steps.append((position, None, _attributes(["tzinfo"])))
        else:
            continue
        values.extend(steps[-1][2](value))
    return steps, values


def _items(keys):
    """Return a function that returns a tuple of the items with these keys, or at these numbers."""
    return _tuple_of(operator.itemgetter, list(keys))


def _attributes(names):
    """Return a function that returns a tuple of the attributes with these names."""
    return _tuple_of(operator.attrgetter, list(names))


def _text_and_scope(code):
    return (str(code), code.scope)


def _tuple_of(getter, names):
    if not names:
        return lambda value: ()
    if len(names) == 1:  # of a single name, they return no tuple
        get = getter(*names)
        return lambda value: (get(value),)
    return getter(*names)


def problems(expected, actual):
    """Return one short string for each value in ``actual`` that differs from ``expected``.

    Walks documents and arrays, and the parts of DBRef, Code, regular expressions and aware
    datetimes. A type is right only if it is the very same class.
    """
    return [_line(path, text) for path, text in _differences(expected, actual)]


def _line(path, text):
    return "%s: %s" % (".".join(path), text) if path else text


def _differences(expected, actual):
    """Return ``(path, text)`` pairs. Most calls find none, so paths are built only when needed."""
    kind = type(expected)
    if type(actual) is not kind:
        return [(_NONE, _wrong_type(expected, actual))]
    walk = _WALKS.get(kind)
    if walk is not None:
        return walk(expected, actual)
    if expected == actual:
        return _NONE
    return [(_NONE, _wrong_value(expected, actual))]


def _wrong_type(expected, actual):
    kind, got = type(expected), type(actual)
    if _name(kind) == _name(got):
        return "a %s, but not the class of this interpreter" % _name(got)
    return "expected %s %r, got %s %r" % (_name(kind), expected, _name(got), actual)


def _wrong_value(expected, actual):
    return "expected %r, got %r" % (expected, actual)


def _name(kind):
    return "%s.%s" % (kind.__module__, kind.__name__)


def _in_dict(expected, actual):
    found = []
    for key, value in expected.items():
        got = actual.get(key, _MISSING)
        kind = type(value)
        # Most values take this path, without a call: it runs for each value of each request.
        if type(got) is kind and kind not in _WALKS and value == got:
            continue
        if got is _MISSING:
            found.append(((_text(key),), "missing"))
        else:
            found.extend(_below(key, _differences(value, got)))
    if len(actual) > len(expected) or found:
        found.extend(((_text(key),), "unexpected") for key in actual if key not in expected)
    return found


def _in_list(expected, actual):
    if len(expected) != len(actual):
        return [(_NONE, "expected %d elements, got %d" % (len(expected), len(actual)))]
    found = []
    for index, value in enumerate(expected):
        found.extend(_below(index, _differences(value, actual[index])))
    return found


def _below(key, differences):
    if not differences:
        return _NONE
    return [((_text(key),) + path, text) for path, text in differences]


def _text(key):
    """Return a key as ASCII, which prints the same on Python 2 and 3 in every locale."""
    if isinstance(key, int):
        return str(key)
    return str(key.encode("ascii", "backslashreplace").decode("ascii"))


def _in_float(expected, actual):
    if expected != expected:
        right = actual != actual
    else:
        # The sign distinguishes 0.0 from -0.0.
        right = expected == actual and math.copysign(1, expected) == math.copysign(1, actual)
    return _NONE if right else [(_NONE, _wrong_value(expected, actual))]


def _in_parts(*names, **options):
    """Return a walk over the attributes of these names, followed by ``==`` of the values.

    ``compare=False`` leaves out the ``==``.
    """
    compare = options.get("compare", True)

    def walk(expected, actual):
        found = []
        for name in names:
            inner = _differences(getattr(expected, name), getattr(actual, name))
            found.extend(_below(name, inner))
        if compare and not found and not expected == actual:
            found.append((_NONE, _wrong_value(expected, actual)))
        return found

    return walk


def _in_datetime(expected, actual):
    if expected.tzinfo is None and actual.tzinfo is None:
        return _NONE if expected == actual else [(_NONE, _wrong_value(expected, actual))]
    # Finally compared as naive ones: Python 2 can't compare a naive with an aware datetime.
    found = _differences(expected.tzinfo, actual.tzinfo)
    if found:
        return _below("tzinfo", found)
    return _in_datetime(expected.replace(tzinfo=None), actual.replace(tzinfo=None))


_PATTERN = type(re.compile(""))
_PARTS = {
    DBRef: ("collection", "id", "database"),
    _PATTERN: ("pattern", "flags"),
}
"""The attributes to compare, beside the value itself."""
if Regex is not None:
    _PARTS[Regex] = ("pattern",)
_BY_PARTS = frozenset((dict, list, float, _PATTERN, Code))
"""Types of which only the parts are compared, or the bytes of a float.

Python 2 compares compiled patterns by identity, and the ``==`` of Code, which is slow, compares its
two parts.
"""
_WALKS = {
    dict: _in_dict,
    list: _in_list,
    float: _in_float,
    datetime.datetime: _in_datetime,
    Code: _in_parts("scope"),
}
for _kind, _names in _PARTS.items():
    _WALKS[_kind] = _in_parts(*_names, compare=_kind not in _BY_PARTS)
