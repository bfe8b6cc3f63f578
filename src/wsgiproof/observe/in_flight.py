"""Reads the requests that were in flight in a process when it ended, from its slots."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

from wsgiproof.observe.evidence import Evidence
from wsgiproof.records.observed import Unfinished

_SLOTS = 1 << 16
"""Bytes of one interpreter's slots; it has 64 of 128 bytes."""
_MOST_SLOTS = 64 << 20
"""Bytes of the slots of all interpreters."""
_MOST = 10_000
"""Requests that are recorded."""
_LARGEST_TID = 1 << 31


def read_unfinished(
    evidence: Evidence, pids: Collection[int] | None = None
) -> tuple[Unfinished, ...]:
    """Return the requests in the slots of all interpreters, which began and did not end.

    With ``pids``, only those of these processes.
    """
    found: list[Unfinished] = []
    for pid, content in evidence.files("requests", _SLOTS, _MOST_SLOTS, pids):
        found += _slots(pid, content)
        if len(found) > _MOST:
            evidence.note("requests", f"more than {_MOST:,} requests are said to be in flight")
            break
    return tuple(sorted(found[:_MOST], key=lambda one: (one.pid, one.started)))


def _slots(pid: int, content: bytes) -> Iterator[Unfinished]:
    for slot in content.split(b"\n"):
        one = _slot(pid, slot.rstrip(b"\0 "))
        if one is not None:
            yield one


def _slot(pid: int, slot: bytes) -> Unfinished | None:
    """Return the request in a slot; None if the slot is empty or holds no valid request."""
    thread, _, rest = slot.partition(b" ")
    moment, _, rest = rest.partition(b" ")
    name, _, url = rest.partition(b" ")
    try:
        tid, started = int(thread), float(moment)
    except ValueError:
        return None
    if not url or not 0 <= tid < _LARGEST_TID or not math.isfinite(started):
        return None
    return Unfinished(
        pid=pid,
        tid=tid,
        url=url.decode(errors="replace"),
        started=started,
        name="" if name == b"-" else name.decode(errors="replace"),
    )
