"""Takes the network and all writable files from code that nobody has looked at."""

from __future__ import annotations

import ctypes
import json
import os
import struct
import time
from collections.abc import Callable, Sequence

from wsgiproof.process.guard.kernel import (
    AT_FDCWD,
    AT_RECURSIVE,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MOUNT_ATTR_RDONLY,
    MS_NODEV,
    MS_NOSUID,
    MS_PRIVATE,
    SYS_MOUNT_SETATTR,
    call_libc,
    write_to,
)

CONFINED_SPACE = "size=64m,nr_inodes=4096,mode=0700"
"""Of the file system that it makes, in memory; see tmpfs(5)."""


def confine(directory: str, user: Sequence[int] | None, events: int) -> None:
    """Take the network and all writable files from this process and its children.

    ``directory`` becomes a small file system of its own, which ends with them. What the kernel does
    not allow is left out, and reported in the events file.
    """
    line = {
        "t": round(time.monotonic(), 6),
        "event": "confined",
        "network": why_not(leave_network),
        "files": why_not(lambda: leave_files(directory, user or (os.getuid(), os.getgid()))),
    }
    os.write(events, json.dumps(line).encode() + b"\n")


def why_not(action: Callable[[], None]) -> str:
    """Return the error of a system call, or an empty text if there was none."""
    try:
        action()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def leave_network() -> None:
    """Enter a network namespace without any interface in use. Raises OSError.

    An ordinary user can do that only in a user namespace, in which the user keeps its ids.
    """
    uid, gid = os.getuid(), os.getgid()
    if os.geteuid() == 0:
        call_libc("unshare", ctypes.c_int(CLONE_NEWNET))
        return
    call_libc("unshare", ctypes.c_int(CLONE_NEWUSER | CLONE_NEWNET))
    write_to("/proc/self/setgroups", b"deny")
    write_to("/proc/self/uid_map", f"{uid} {uid} 1".encode())
    write_to("/proc/self/gid_map", f"{gid} {gid} 1".encode())


def leave_files(directory: str, owner: Sequence[int]) -> None:
    """Make all that is mounted read-only for this process, and mount a new file system at
    ``directory``. Raises OSError."""
    call_libc("unshare", ctypes.c_int(CLONE_NEWNS))
    attributes = struct.pack("=QQQQ", MOUNT_ATTR_RDONLY, 0, MS_PRIVATE, 0)
    call_libc(
        "syscall",
        ctypes.c_long(SYS_MOUNT_SETATTR),
        ctypes.c_int(AT_FDCWD),
        b"/",
        ctypes.c_uint(AT_RECURSIVE),
        attributes,
        ctypes.c_size_t(len(attributes)),
    )
    options = f"{CONFINED_SPACE},uid={owner[0]},gid={owner[1]}".encode()
    flags = ctypes.c_ulong(MS_NOSUID | MS_NODEV)
    call_libc("mount", b"tmpfs", os.fsencode(directory), b"tmpfs", flags, options)
