"""The requests that were running in a process when it ended, from the slots that it keeps."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from wsgiproof.records import Unfinished


def read_unfinished(evidence: Path, pids: Collection[int] | None = None) -> tuple[Unfinished, ...]:
    """What is in the slots of all interpreters: requests that began and did not end.

    With ``pids``, those of these processes alone.
    """
    found = []
    for path in sorted(evidence.glob("requests-*")):
        pid = int(path.name.split("-")[1])
        if pids is None or pid in pids:
            found += list(_slots(pid, path.read_bytes()))
    return tuple(sorted(found, key=lambda one: (one.pid, one.started)))


def _slots(pid: int, content: bytes) -> Iterator[Unfinished]:
    for slot in content.split(b"\n"):
        tid, _, rest = slot.rstrip(b"\0 ").partition(b" ")
        started, _, rest = rest.partition(b" ")
        name, _, url = rest.partition(b" ")
        if url:
            yield Unfinished(
                pid=pid,
                tid=int(tid),
                url=url.decode(errors="replace"),
                started=float(started),
                name="" if name == b"-" else name.decode(errors="replace"),
            )
