"""Counts the objects of this interpreter by type, to find out which of them grow.

It is used only in phase ``diagnosis``, after memory was found to leak. Only names and numbers are
kept, never an object of the subject. tracemalloc is not used, because its hooks deadlock in a sub
interpreter: they take the GIL with PyGILState_Ensure (C API docs, "Sub-interpreter support").
"""

from __future__ import absolute_import

import gc
from collections import Counter

_MOST = 8
_before = {}


def begin():
    """Remember how many objects of each type there are."""
    _before["types"] = _types()
    return {"types": []}


def end():
    """Return the types with the most new objects since :func:`begin`, as ``[name, objects]``.

    Objects without references, which C code failed to release, are not counted.
    """
    now = _types()
    now.subtract(_before.pop("types", {}))
    return {"types": [list(one) for one in now.most_common(_MOST) if one[1] > 0]}


def _types():
    """Count all objects by type: those that the collector tracks, and those that they refer to."""
    gc.collect()
    objects = gc.get_objects()
    tracked = set(map(id, objects))
    tracked.add(id(objects))
    counted = set()
    counts = Counter(_name(type(one)) for one in objects)
    for one in objects:
        for referent in gc.get_referents(one):
            if id(referent) not in tracked and id(referent) not in counted:
                counted.add(id(referent))
                counts[_name(type(referent))] += 1
    return counts


def _name(kind):
    module = getattr(kind, "__module__", None)
    if not isinstance(module, str) or module in ("builtins", "__builtin__"):
        return kind.__name__
    return "%s.%s" % (module, kind.__name__)
