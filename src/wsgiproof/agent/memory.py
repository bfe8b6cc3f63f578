"""Reads how much memory this process has in use, by the counters of its allocators.

All preparation is done at import, and reading allocates nothing that stays. Import this module only
to read memory: it loads ctypes, which would otherwise not be part of the test.
"""

from __future__ import absolute_import

import gc
import sys
import threading

try:
    import ctypes
except ImportError:  # the build has none, or it refuses an interpreter with its own GIL
    ctypes = None

_FIELDS = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd",
    "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)  # fmt: skip
_TRIAL = 65536  # bytes: small enough that malloc does not map it separately
_TRIALS = 3

_collecting = threading.Lock()
_collections = [0]  # how many have been started


def read(collect):
    """Return the metrics as a dict of numbers; a metric that is not available is None.

    ``blocks``  blocks allocated by Python's own allocator, in all interpreters of the process
                (those with their own GIL included, so read it while they are idle). None on Python
                2.7, if ``PYTHONMALLOC=malloc`` turned the allocator off, and on 3.10, where they
                grow for thousands of requests in a healthy process.
    ``malloc``  bytes allocated by glibc's malloc in the whole process, by Python or by C, in all
                arenas. What a thread has freed into its own cache (tcache) still counts. Small
                Python objects do not count: their allocator maps its memory itself. None without
                ctypes or glibc, or if another malloc was preloaded. With glibc older than 2.33 also
                None above 2 GiB, since its counters have 32 bits (above 4 GiB they may wrap around
                to a wrong value).

    If ``collect`` is true, the garbage of this interpreter (and of no other) is collected first,
    free lists included, unless the application has turned the collector off: what nobody collects
    is then in use. Also its type attribute cache is cleared. Each of the 4,096 slots of that
    cache keeps a name alive, and C code that looks up attributes by a C string makes a new name
    each time, so the cache fills for a thousand requests (CPython, ``Objects/typeobject.c``).
    Python 3.10 does not survive clearing it in several interpreters.
    """
    if collect:
        _collect()
    return {"blocks": _blocks(), "malloc": None if _malloc is None else _malloc()}


_IS_310 = sys.version_info[:2] == (3, 10)


def _nothing():
    """Leave the caches alone."""


def _way_to_clear_caches():
    """Return the function that clears the type attribute cache, if that is safe."""
    # Python 3.10 has a cache for each interpreter, but one counter of type versions for all.
    # Clearing a cache resets the counter, so the other caches would return attributes of wrong
    # types.
    if _IS_310:
        return _nothing
    # The former is the name since 3.13, where the latter is deprecated.
    return getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache


_clear_caches = _way_to_clear_caches()


def _collect():
    """Collect garbage, unless another thread started and finished a collection meanwhile."""
    before = _collections[0]
    with _collecting:
        if _collections[0] == before:
            _collections[0] += 1
            _clear_caches()
            if gc.isenabled() and gc.get_threshold()[0]:
                gc.collect()


def _blocks():
    if _IS_310:
        return None
    count = getattr(sys, "getallocatedblocks", None)
    return None if count is None else count() or None


def _prepare():
    """Return the function that reads malloc's bytes in use, or None if that is not possible."""
    if ctypes is None:
        return None
    try:
        # PyDLL keeps the GIL, so that no other Python thread runs in between. malloc's locks are
        # held only by threads inside malloc, which does not need the GIL.
        libc = ctypes.PyDLL(None)
        in_use = _reader(libc)
        return in_use if _counts(libc, in_use) else None
    except (AttributeError, OSError, MemoryError):  # another libc; no executable memory allowed
        return None


def _reader(libc):
    if hasattr(libc, "mallinfo2"):  # glibc 2.33
        function, number = libc.mallinfo2, ctypes.c_size_t
    else:
        function, number = libc.mallinfo, ctypes.c_int

    class Info(ctypes.Structure):
        _fields_ = [(name, number) for name in _FIELDS]

    function.restype = Info
    function.argtypes = []

    def in_use():
        info = function()
        if info.uordblks < 0 or info.hblkhd < 0:
            return None
        return info.uordblks + info.hblkhd

    return in_use


def _counts(libc, in_use):
    """Return whether the counters include what ``malloc`` allocates; not if one was preloaded."""
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.restype = None
    libc.free.argtypes = [ctypes.c_void_p]
    for _ in range(_TRIALS):  # a thread that does not run Python may free memory in between
        before = in_use()
        block = libc.malloc(_TRIAL)
        after = in_use()
        libc.free(block)
        if before is not None and after is not None and after - before >= _TRIAL // 2:
            return True
    return False


_malloc = _prepare()
