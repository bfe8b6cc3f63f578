"""Counts what an application leaves outside its process: children, files and shared memory.

What belongs to the application is known by its place (a directory of the server alone) or by the
process that made it. Elsewhere only the user is known. That counts only if the server's processes
are the only ones of this user.
"""

from __future__ import annotations

import ctypes
import os
import re
import stat
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from wsgiproof.process.guard.kernel import CLONE_NEWIPC, call_libc
from wsgiproof.provision.toolchain import Application
from wsgiproof.records.observed import Role
from wsgiproof.server.places import SHARED_MEMORY, TEMPORARY

_SYSV = Path("/proc/sysvipc")
_MOST_ENTRIES = 20_000
_MOST_SECONDS = 1.0
"""The limits of one walk: an application may leave any number of files."""
_DEEPEST = 32
_STATUS = re.compile(rb"^State:\t(.).*^PPid:\t(\d+)$.*^Uid:\t\d+\t(\d+)", re.M | re.S)
"""The state, the parent and the effective user in ``/proc/PID/status`` (proc_pid_status(5))."""
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Process(msgspec.Struct, frozen=True):
    """A process of this machine, from ``/proc/PID/status``."""

    pid: int
    parent: int
    user: int
    """The effective user."""
    zombie: bool


class Remains:
    """Counts what the application of one server has left behind so far."""

    def __init__(
        self, application: Application, private: Mapping[Path, Path] | None = None, pid: int = 0
    ) -> None:
        """``private`` are the directories that the server ``pid`` has in place of shared ones."""
        self._application = application
        self._private = private or {}
        self._pid = pid
        self._own = [self._private[place] for place in TEMPORARY if place in self._private]
        self._elsewhere = [place for place in TEMPORARY if place not in self._private]
        if application.home:
            # Resolved, since a walk follows no link: the operator's may be one.
            self._elsewhere.append(Path(application.home).resolve())

    def read(self, living: Mapping[int, Role], ever: Collection[int]) -> dict[str, int | None]:
        """Return the counts by name, as :class:`~wsgiproof.records.observed.Sample` records them.

        ``living`` are the server's processes, and ``ever`` all that it has had.
        """
        processes = read_process_table()
        counts: dict[str, int | None] = {"children": _children(processes, living)}
        application = self._application
        user = application.user
        # Others own what leads to visible directories; nobody else has a place below TMPDIR.
        own = _Walk(user if self._own else None)
        for place in (application.tmp, *self._own):
            own.add(place)
        counts["files"] = own.entries
        counts["bytes"] = own.bytes
        segments = self._system_v("shm")
        if segments is not None:
            counts["segments"] = sum(int(row["cpid"]) in ever for row in segments)
        if user is not None:
            alone = not _others(processes, user, ever)
            counts |= self._counts_of(user, alone=alone)
        return counts

    def _counts_of(self, user: int, *, alone: bool) -> dict[str, int | None]:
        """Return what the user owns elsewhere, as far as it is the server's: in private places, and
        in others if the server is ``alone``. Places of others that are too large are left out."""
        counts: dict[str, int | None] = {}
        if alone or not self._elsewhere:
            counts |= _owned("files elsewhere", self._elsewhere, user)
        memory = self._private.get(SHARED_MEMORY)
        if memory is not None:
            # Its own, so a number that could not be told is missing evidence.
            counts["shared files"] = None
        if memory is not None or alone:
            counts |= _owned("shared files", [memory or SHARED_MEMORY], user)
        for name, kind in (("semaphores", "sem"), ("queues", "msg")):
            rows = self._system_v(kind) if self._private or alone else None
            if rows is not None:
                counts[name] = sum(int(row["cuid"]) == user for row in rows)
        return counts

    def _system_v(self, kind: str) -> list[dict[str, str]] | None:
        """Return the System V objects that the server sees, as rows of ``/proc/sysvipc/KIND``
        (sysvipc(7)); None if the kernel does not tell."""
        if not self._private:
            return _rows(kind)
        # The file shows the namespace of the thread that opens it, and this thread keeps its own.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(_rows, kind, self._pid).result()


def _owned(name: str, places: Iterable[Path], user: int) -> dict[str, int | None]:
    """Return the entries in these places that the user owns, by name; nothing for too many."""
    walk = _Walk(user)
    for place in places:
        walk.add(place)
    return {} if walk.entries is None else {name: walk.entries}


def _children(processes: Iterable[Process], living: Mapping[int, Role]) -> int:
    """Return how many processes the workers have started that are alive, or zombies.

    A process is first seen in the process table. The guard also knows those that have been left by
    their parent.
    """
    children: defaultdict[int, list[int]] = defaultdict(list)
    for one in processes:
        children[one.parent].append(one.pid)
    found = {pid for pid, role in living.items() if role is Role.HELPER}
    waiting = [*found, *(pid for pid, role in living.items() if role is Role.WORKER)]
    while waiting:
        new = [pid for pid in children[waiting.pop()] if pid not in found]
        found.update(new)
        waiting += new
    return len(found)


def _others(processes: Iterable[Process], user: int, ever: Collection[int]) -> bool:
    """Return whether a process of this user does not belong to the server."""
    return any(one.user == user and not one.zombie and one.pid not in ever for one in processes)


def read_process_table() -> tuple[Process, ...]:
    """Return every process of this machine, zombies included."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with suppress(OSError), open(f"/proc/{name}/status", "rb", buffering=0) as file:
            status = _STATUS.search(file.read())  # of a process that has not ended meanwhile
            if status is not None:
                state, parent, user = status.groups()
                found.append(
                    Process(pid=int(name), parent=int(parent), user=int(user), zombie=state == b"Z")
                )
    return tuple(found)


def _rows(kind: str, namespace_of: int | None = None) -> list[dict[str, str]] | None:
    """Return the rows of ``/proc/sysvipc/KIND``; None if there is no such file.

    With a process, this thread changes to its namespace first (ipc_namespaces(7)), for good.
    """
    try:
        if namespace_of is not None:
            with open(f"/proc/{namespace_of}/ns/ipc", "rb") as namespace:
                call_libc("setns", ctypes.c_int(namespace.fileno()), ctypes.c_int(CLONE_NEWIPC))
        head, *rows = (_SYSV / kind).read_text().splitlines()
    except (OSError, ValueError):
        return None
    return [dict(zip(head.split(), row.split(), strict=False)) for row in rows]


class _Walk:
    """Counts the entries of directories, and their bytes. It follows no link, and enters a
    directory once.

    With a user, only what this user owns counts, and only directories are entered in which it can
    create something. The counts are None if a limit was reached.
    """

    def __init__(self, user: int | None) -> None:
        self._user = user
        self._entries = 0
        self._bytes = 0
        self._seen = 0
        self._entered: set[tuple[int, int]] = set()
        self._until = time.monotonic() + _MOST_SECONDS

    @property
    def entries(self) -> int | None:
        return None if self._over() else self._entries

    @property
    def bytes(self) -> int | None:
        return None if self._over() else self._bytes

    def add(self, top: Path) -> None:
        """Count what is below ``top``; nothing if it can't be entered."""
        self._add(str(top), None, 0)

    def _over(self) -> bool:
        return self._seen > _MOST_ENTRIES

    def _add(self, name: str, parent: int | None, depth: int) -> None:
        if depth > _DEEPEST or self._over():
            return
        try:
            opened = os.open(name, _OPEN, dir_fd=parent)
        except OSError:  # it is gone, or it is no directory any more
            return
        try:
            status = os.fstat(opened)
            if (status.st_dev, status.st_ino) in self._entered:
                return
            self._entered.add((status.st_dev, status.st_ino))
            with os.scandir(opened) as entries:
                for entry in entries:
                    self._see(entry, opened, depth)
                    if self._over():
                        return
        except OSError:
            return
        finally:
            os.close(opened)

    def _see(self, entry: os.DirEntry[str], parent: int, depth: int) -> None:
        self._seen += 1
        if self._seen % 256 == 0 and time.monotonic() > self._until:
            self._seen = _MOST_ENTRIES + 1
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return
        mine = self._user in (None, status.st_uid)
        if mine:
            self._entries += 1
            self._bytes += status.st_blocks * 512
        if stat.S_ISDIR(status.st_mode) and (mine or status.st_mode & stat.S_IWOTH):
            self._add(entry.name, parent, depth + 1)
