"""How much memory this process has in use, as its own allocators count it.

Preparing is done once, when this module is imported, and reading keeps nothing. Import it only
where memory is asked for: it loads ctypes, which would otherwise be no part of the test.
"""

from __future__ import absolute_import

import gc
import sys
import threading

try:
    import ctypes
except ImportError:  # left out of the build, or it refuses an interpreter with a GIL of its own
    ctypes = None

_FIELDS = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd",
    "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)  # fmt: skip
_TRIAL = 65536  # bytes: below the size from which malloc takes a mapping of its own
_TRIALS = 3

_collecting = threading.Lock()
_begun = [0]  # collections so far


def read(collect):
    """Return the metrics as a dict of numbers; None is what can't be known here.

    ``blocks``  blocks that Python's own allocator has handed out, in all interpreters of the
                process (those with a GIL of their own as well, so read it while they are idle).
                None on Python 2.7, where ``PYTHONMALLOC=malloc`` turned the allocator off, and on
                3.10, where they grow for thousands of requests in a healthy process.
    ``malloc``  bytes that glibc's malloc has handed out in the whole process, to Python or to C, in
                all arenas. What a thread has freed into its own cache (tcache) still counts. Small
                Python objects do not: their allocator maps its memory itself.
                None without ctypes or glibc, where another malloc was preloaded, and, with glibc
                older than 2.33, above 2 GiB: its counters have 32 bits (above 4 GiB they may
                come round again, and then nobody knows).

    With ``collect`` true, the garbage of this interpreter (no other) is collected first, its free
    lists with it, and its cache of type attributes is emptied: each of the 4,096 slots of that
    keeps one name alive, and C code that asks for attributes by a C string makes a new name each
    time, so it fills for a thousand requests (CPython, ``Objects/typeobject.c``). Python 3.10
    can't bear that in several interpreters.
    """
    if collect:
        _collect()
    return {"blocks": _blocks(), "malloc": None if _malloc is None else _malloc()}


_IS_310 = sys.version_info[:2] == (3, 10)


def _nothing():
    """Leave the caches alone."""


def _way_to_clear_caches():
    """Return the function that empties the cache of type attributes, where that is safe."""
    # Python 3.10 has a cache for each interpreter, and one number of the next type's version for
    # all: emptying one begins to count anew, and the others' caches answer for the wrong types.
    if _IS_310:
        return _nothing
    # The former is the name from 3.13 on, where the latter is deprecated.
    return getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache


_clear_caches = _way_to_clear_caches()


def _collect():
    """Collect, unless another thread has begun to since we were asked, and is done."""
    asked = _begun[0]
    with _collecting:
        if _begun[0] == asked:
            _begun[0] += 1
            _clear_caches()
            gc.collect()


def _blocks():
    if _IS_310:
        return None
    count = getattr(sys, "getallocatedblocks", None)
    return None if count is None else count() or None


def _prepare():
    """Return the function that reads malloc's bytes in use, or None where there is none."""
    if ctypes is None:
        return None
    try:
        # The GIL is kept: no other Python thread gets in between, and malloc's locks are held
        # only by threads inside malloc, which does not need the GIL.
        libc = ctypes.PyDLL(None)
        in_use = _reader(libc)
        return in_use if _sees(libc, in_use) else None
    except (AttributeError, OSError, MemoryError):  # another libc; memory that may not be run
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


def _sees(libc, in_use):
    """Whether the counters know what ``malloc`` gives; a preloaded one counts elsewhere."""
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.restype = None
    libc.free.argtypes = [ctypes.c_void_p]
    for _ in range(_TRIALS):  # a thread without Python may free some in between
        before = in_use()
        block = libc.malloc(_TRIAL)
        after = in_use()
        libc.free(block)
        if before is not None and after is not None and after - before >= _TRIAL // 2:
            return True
    return False


_malloc = _prepare()
