"""What Python has no function for: calls of the C library, and files of the kernel."""

from __future__ import annotations

import contextlib
import ctypes
import os

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS, CLONE_NEWIPC = 0x00020000, 0x08000000
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
"""Of unshare(2)."""
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC = 2, 4, 1 << 12, 1 << 14
MS_PRIVATE, MS_SLAVE = 1 << 18, 1 << 19
"""Of mount(2)."""
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY, SYS_MOUNT_SETATTR = -100, 0x8000, 1, 442
"""Of mount_setattr(2), which has the same number on every architecture that CPython supports."""


def prctl(option: int, value: int) -> None:
    """Call prctl(2). Raises OSError."""
    call_libc("prctl", ctypes.c_int(option), ctypes.c_ulong(value), 0, 0, 0)


def call_libc(function: str, *arguments: object) -> None:
    """Call a function of the C library that returns 0 or sets errno. Raises OSError."""
    if getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def write_to(path: str, content: bytes) -> None:
    """Write to a file of the kernel; ignore errors."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)
