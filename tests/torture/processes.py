"""Processes as /proc shows them: their descendants, and their roles in a run."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWNS = 0x00020000
_CLONE_NEWNET = 0x40000000
_MS_REC_PRIVATE = 0x4000 | 0x40000

_libc = ctypes.CDLL(None, use_errno=True)


class Process(msgspec.Struct, frozen=True):
    """A process at one moment."""

    pid: int
    parent: int
    state: str
    name: str
    command: str
    born: int
    """Its start, in clock ticks since boot: with the pid it identifies the process."""

    @property
    def alive(self) -> bool:
        """Whether it is running, and not a zombie."""
        return self.state not in "ZX"


def read_process(pid: int) -> Process | None:
    """Return a process; None if it does not exist."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    head, _, tail = stat.rpartition(")")
    fields = tail.split()
    return Process(
        pid=pid,
        parent=int(fields[1]),
        state=fields[0],
        name=head.partition("(")[2],
        command=command.replace(b"\0", b" ").decode(errors="replace").strip(),
        born=int(fields[19]),
    )


def all_processes() -> Iterator[Process]:
    """Yield all processes of the machine."""
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and (process := read_process(int(path.name))):
            yield process


def descendants(ancestor: int) -> list[Process]:
    """Return the running descendants of a process, the oldest first."""
    children: dict[int, list[Process]] = {}
    for process in all_processes():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    waiting = [ancestor]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += [process.pid for process in below]
    return sorted((one for one in found if one.alive), key=lambda one: (one.born, one.pid))


def marked(marker: str) -> list[Process]:
    """Return the running processes of the machine that have this text in their environment."""
    found = []
    for process in all_processes():
        with suppress(OSError):
            if marker.encode() in Path(f"/proc/{process.pid}/environ").read_bytes():
                found.append(process)
    return [one for one in found if one.alive]


def signal_it(process: Process, number: int) -> bool:
    """Send a signal to exactly this process, and not to a later one with its pid; return whether it
    was alive.

    The descriptor keeps the pid from being reused between the check and the signal.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        now = read_process(process.pid)
        if now is None or now.born != process.born or not now.alive:
            return False
        signal.pidfd_send_signal(descriptor, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)


def role(process: Process, main: int) -> str:
    """Return the role of a process in the run of the ``wsgiproof`` with the pid ``main``."""
    command, name = process.command, process.name
    if process.pid == main:
        return "wsgiproof"
    if "guard/__main__.py" in command:
        return "guard"
    if "multiprocessing.resource_tracker" in command:
        return "tracker"
    if "multiprocessing.spawn" in command or "wsgiproof.run.executors.workers import" in command:
        return "worker"
    if command.startswith("(wsgi:"):
        return "daemon"
    if name in ("apache2", "httpd"):
        above = read_process(process.parent)
        below = above is not None and above.name == name
        return "frontend" if below else "parent"
    if name == "mongod":
        return "mongod"
    if name == "uv":
        return "uv"
    if name in ("cc", "cc1", "gcc", "as", "ld", "collect2", "apxs", "make", "libtool"):
        return "compiler"
    return "other"


def become_subreaper() -> None:
    """Become the parent of every orphan among the descendants (prctl(2))."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")


def own_mounts() -> None:
    """Unshare the mount namespace, whose mounts end with this process; root only."""
    if _libc.unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNS)")
    if _libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None) != 0:
        raise OSError(ctypes.get_errno(), "making mounts private")


def own_network() -> None:
    """Unshare the network namespace, which has only a loopback interface, which is down; root
    only."""
    if _libc.unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
