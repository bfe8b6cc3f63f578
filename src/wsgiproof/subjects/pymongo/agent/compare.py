"""Compares values by value and by exact type."""

from __future__ import absolute_import

import datetime
import math
import re

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
    subject.
    """

    def __init__(self, document):
        self._document = document
        self._matches = _matcher(document)

    def problems(self, actual):
        """Return what :func:`problems` returns."""
        if type(actual) is dict and self._matches(actual):
            return []
        return problems(self._document, actual)


def _matcher(expected):
    """Return a function that checks a value of the same type, or None if ``==`` is enough."""
    kind = type(expected)
    if kind is dict:
        return _matcher_of_items(list(expected), list(expected.values()))
    if kind is list:
        return _matcher_of_items(None, expected)
    walk = _WALKS.get(kind)
    return None if walk is None else lambda actual: not walk(expected, actual)


def _matcher_of_items(keys, values):
    """Return the function for a document with these keys, or for an array (None).

    It compares all types first, then the values.
    """
    types = [type(value) for value in values]
    matchers = [_matcher(value) for value in values]
    plain = [number for number, matcher in enumerate(matchers) if matcher is None]
    plain_values = [values[number] for number in plain]
    others = [(number, matcher) for number, matcher in enumerate(matchers) if matcher is not None]

    def matches(actual):
        if len(actual) != len(types):
            return False
        got = actual if keys is None else [actual.get(key, _MISSING) for key in keys]
        if [type(value) for value in got] != types:
            return False
        if [got[number] for number in plain] != plain_values:
            return False
        return all(matcher(got[number]) for number, matcher in others)

    return matches


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


_WALKS = {
    dict: _in_dict,
    list: _in_list,
    float: _in_float,
    datetime.datetime: _in_datetime,
    Code: _in_parts("scope"),
    DBRef: _in_parts("collection", "id", "database"),
    # Python 2 compares compiled patterns by identity.
    type(re.compile("")): _in_parts("pattern", "flags", compare=False),
}
if Regex is not None:
    _WALKS[Regex] = _in_parts("pattern")
