"""Measures what each operation of the subject leaves in memory, to find out which of them leaks.

It is used only in phase ``diagnosis``, after memory was found to leak. An object that C code failed
to release has no referrer, so that no count of objects has it; the allocators do.
"""

from __future__ import absolute_import

import threading

from . import memory

_RUNS = 200
_REPEATS = 3
_MOST = 8
_BLOCKS, _BYTES = 0.5, 8.0  # that a run has to leave

_measuring = threading.Lock()


def measure(operations):
    """Return the operations that leave memory behind, as ``[name, blocks, bytes]`` of one run.

    ``operations`` are pairs of a name and a function without arguments. The result has the worst
    first; it is empty if another thread of this interpreter measures already.
    """
    if not _measuring.acquire(False):
        return []
    try:
        found = [[name] + left for name, run in operations for left in [_least(run)] if any(left)]
    finally:
        _measuring.release()
    return sorted(found, key=lambda one: (-one[1], -one[2]))[:_MOST]


def _least(run):
    """Return the blocks and bytes that a run leaves, by the least of several measurements.

    Something else may allocate memory at the same time. The first runs fill what the operation
    caches.
    """
    _many(run)
    if not any(_left(run, collect=False)):  # a collection takes longer than all runs
        return [0.0, 0.0]
    measured = [_left(run, collect=True) for _ in range(_REPEATS)]
    return [min(blocks for blocks, _ in measured), min(size for _, size in measured)]


def _left(run, collect):
    before = memory.read(collect)
    _many(run)
    after = memory.read(collect)
    return [
        _each(before["blocks"], after["blocks"], _BLOCKS),
        _each(before["malloc"], after["malloc"], _BYTES),
    ]


def _many(run):
    for _ in range(_RUNS):
        run()


def _each(before, after, least):
    """Return how much one run leaves; 0 for less than ``least``, and if it is unknown."""
    if before is None or after is None:
        return 0.0
    left = float(after - before) / _RUNS
    return round(left, 1) if left >= least else 0.0
