"""Gives a command what it does not share with the rest of the machine."""

from __future__ import annotations

import ctypes
import json
import os
import time
from collections.abc import Mapping, Sequence

from wsgiproof.process.guard.confinement import why_not
from wsgiproof.process.guard.kernel import (
    CLONE_NEWIPC,
    CLONE_NEWNS,
    MS_BIND,
    MS_REC,
    MS_SLAVE,
    call_libc,
)


def separate(private: Mapping[str, str], visible: Sequence[str], events: int) -> None:
    """Give this process and its children directories and System V objects that nobody else sees.

    Each directory is mounted at its place. It has to hold an empty directory for each visible one
    below the place. If the kernel does not allow all of it, nothing changes; the events file gets
    its error.
    """
    error = why_not(lambda: enter_namespaces(private, visible))
    line = {"t": round(time.monotonic(), 6), "event": "private", "error": error}
    os.write(events, json.dumps(line).encode() + b"\n")


def enter_namespaces(private: Mapping[str, str], visible: Sequence[str]) -> None:
    """Do that, or raise OSError with nothing changed."""
    reading = os.O_RDONLY | os.O_CLOEXEC
    homes = [os.open(f"/proc/self/ns/{kind}", reading) for kind in ("mnt", "ipc")]
    root, here = (os.open(place, reading | os.O_DIRECTORY) for place in ("/", "."))
    call_libc("unshare", ctypes.c_int(CLONE_NEWNS | CLONE_NEWIPC))
    try:
        mount_all(private, visible)
    except OSError:
        for home in homes:
            call_libc("setns", ctypes.c_int(home), ctypes.c_int(0))
        # setns(2) goes to the root of the namespace, which is outside of a chroot(2).
        os.fchdir(root)
        os.chroot(".")
        os.fchdir(here)
        raise


def mount_all(private: Mapping[str, str], visible: Sequence[str]) -> None:
    """Mount the directories at their places, and what is visible below them. Raises OSError."""
    # What the machine mounts or unmounts later is seen here, too, but not the other way round.
    call_libc("mount", None, b"/", None, ctypes.c_ulong(MS_REC | MS_SLAVE), None)
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    # All are opened before one hides another, and in the namespace in which they are mounted.
    mounts = [(os.open(directory, flags), place) for place, directory in private.items()]
    mounts += [(os.open(directory, flags), directory) for directory in visible]
    for opened, place in mounts:
        source = f"/proc/self/fd/{opened}".encode()
        bind = ctypes.c_ulong(MS_BIND | MS_REC)
        call_libc("mount", source, os.fsencode(place), None, bind, None)
