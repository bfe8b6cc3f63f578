"""Reads /proc: what a process is, and what is below it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass


def read_small(path: str) -> bytes | None:
    """Return the content of a /proc file, or None if the process has ended.

    One read may return no more than a page, whatever size is requested.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        parts = []
        while part := os.read(descriptor, 65536):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return None
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Stat:
    """The fields of /proc/PID/stat that are used here; see proc_pid_stat(5)."""

    name: str
    state: str
    ppid: int
    started: int
    """Clock ticks after boot: with the pid, this identifies a process."""
    exit_code: int


def read_stat(pid: int) -> Stat | None:
    """Return the stat of a process or zombie; None if it does not exist."""
    text = read_small(f"/proc/{pid}/stat")
    if not text:
        return None
    # The name may contain blanks and parentheses, but the fields after it don't.
    head, _, tail = text.rpartition(b")")
    fields = tail.split()
    name = head.partition(b"(")[2].decode(errors="replace")
    return Stat(name, fields[0].decode(), int(fields[1]), int(fields[19]), int(fields[-1]))


def children_by_file(pid: int, every_thread: bool) -> list[int]:
    """Return the children of a process, or of its first thread (CONFIG_PROC_CHILDREN kernels)."""
    threads = [str(pid)]
    if every_thread:
        with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/task") as entries:
            threads = [entry.name for entry in entries]
    texts = [read_small(f"/proc/{pid}/task/{thread}/children") for thread in threads]
    return [int(child) for text in texts if text for child in text.split()]


def children(pid: int) -> list[int]:
    """Return the children of a process, zombies included."""
    if read_small(f"/proc/self/task/{os.getpid()}/children") is None:
        return children_of_everyone().get(pid, [])
    return children_by_file(pid, every_thread=True)


def children_of_everyone() -> dict[int, list[int]]:
    """Return pid → children for the whole machine, for kernels without the ``children`` file."""
    tree: dict[int, list[int]] = {}
    with os.scandir("/proc") as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    for pid in pids:
        stat = read_stat(pid)
        if stat is not None:
            tree.setdefault(stat.ppid, []).append(pid)
    return tree


def descendants(root: int, every_thread: bool = True) -> list[int]:
    """Return the pids below ``root``, zombies included.

    A child belongs to the thread that forked it. Reading only first threads is ten times cheaper
    for a server with a pool of threads, and enough for a program that forks as Apache does. A child
    whose parent ends during the scan may be missed (proc_pid_task_children(5)). It is a child of
    the guard then, and the next scan finds it.
    """
    everyone: dict[int, list[int]] | None = None
    if read_small(f"/proc/self/task/{os.getpid()}/children") is None:
        everyone = children_of_everyone()
    found: list[int] = []
    seen = {root}
    queue = [root]
    while queue:
        parent = queue.pop()
        if everyone is None:
            children = children_by_file(parent, every_thread)
        else:
            children = everyone.get(parent, [])
        fresh = [pid for pid in children if pid not in seen]
        seen.update(fresh)
        found.extend(fresh)
        queue.extend(fresh)
    return found


def is_descendant(pid: int) -> bool:
    """Whether a process is a descendant of this one."""
    while pid > 1:
        stat = read_stat(pid)
        if stat is None:
            return False
        pid = stat.ppid
        if pid == os.getpid():
            return True
    return False


def last_pid() -> bytes | None:
    """Return the newest pid of the machine: the last field of /proc/loadavg, proc_loadavg(5).

    If it has not changed since the last scan, no process has forked, and idling costs nothing. In a
    container with lxcfs, the file does not change with a fork, and every scan is made.
    """
    text = read_small("/proc/loadavg")
    return text.split()[-1] if text else None
