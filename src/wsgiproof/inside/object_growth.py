"""What grows in this interpreter: its objects, by type.

For the diagnosing pass alone, after memory was seen to grow. Only names and numbers are kept, never
an object of the subject's. There is no tracemalloc here: in a sub interpreter its hooks deadlock,
as they take the GIL by PyGILState_Ensure (docs of the C API, "Sub-interpreter support").
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

    What nobody refers to any more but C code has forgotten to release is not among them.
    """
    now = _types()
    now.subtract(_before.pop("types", {}))
    return {"types": [list(one) for one in now.most_common(_MOST) if one[1] > 0]}


def _types():
    """Count all objects by type: those that the collector knows, and what these refer to."""
    gc.collect()
    known = gc.get_objects()
    tracked = set(map(id, known))
    tracked.add(id(known))
    seen = set()
    counts = Counter(_name(type(one)) for one in known)
    for one in known:
        for referent in gc.get_referents(one):
            if id(referent) not in tracked and id(referent) not in seen:
                seen.add(id(referent))
                counts[_name(type(referent))] += 1
    return counts


def _name(kind):
    module = getattr(kind, "__module__", None)
    if not isinstance(module, str) or module in ("builtins", "__builtin__"):
        return kind.__name__
    return "%s.%s" % (module, kind.__name__)
