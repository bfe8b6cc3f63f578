"""The limits of this machine and of this process: which one an error tells of, and how to raise it.

What a limit breaks is nobody's fault but the machine's, so whoever meets one says so here, in one
line with the limit's present value, and never blames the subject for it.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import socket
from pathlib import Path

_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FILES = Path("/proc/sys/fs/file-max")
_LEAST_ROOM = 64 * 1024
"""Bytes; a disk with less is full for a process that buffers what it writes."""

_OF_LOG = re.compile(
    r"(?:\[[^]]*\] \[[^]]*\] \[pid \d+\] )?\((\d+)\)[A-Z][^:]*: (?:AH\d|mod_wsgi \()"
)


def explain(error: BaseException) -> str:
    """Which limit stopped us, in one line; empty if it was none."""
    if isinstance(error, MemoryError):
        return of_errno(errno.ENOMEM)
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return of_errno(errno.EAGAIN)
    if isinstance(error, OSError) and error.errno is not None:
        return of_errno(error.errno, str(error.filename or ""))
    return ""


def of_errno(code: int, where: str = "") -> str:
    """The same for an errno, which came up with file ``where``."""
    at = f" at {where}" if where else ""
    first, last = ports()
    told = {
        errno.EMFILE: (
            f"this process has no descriptor left, of the {_soft(resource.RLIMIT_NOFILE)} that it "
            f"may have; raise `ulimit -n` ({_hard(resource.RLIMIT_NOFILE)})"
        ),
        errno.ENFILE: (
            f"this machine has no descriptor left, of the {_read(_FILES, 'number')} that it may "
            "have; raise fs.file-max"
        ),
        errno.EAGAIN: (
            "no process or thread can be started any more: this user may have "
            f"{_soft(resource.RLIMIT_NPROC)}; raise `ulimit -u` "
            f"({_hard(resource.RLIMIT_NPROC)}), or pids.max of the control group"
        ),
        errno.ENOMEM: (
            "this machine has no memory left for us; free some, or raise `ulimit -v` "
            f"(it is {_soft(resource.RLIMIT_AS)})"
        ),
        errno.ENOBUFS: "this machine has no memory left for sockets",
        errno.EADDRNOTAVAIL: (
            f"no local port is left for a new connection, of those from {first} to {last}; widen "
            "net.ipv4.ip_local_port_range, or see in `ss -tan` what has them"
        ),
        errno.ENOSPC: f"No space left on device{at}: make room",
        errno.EDQUOT: f"Disk quota exceeded{at}: make room, or have the quota raised",
        errno.EROFS: f"Read-only file system{at}: mount it for writing, or use another",
        errno.EFBIG: (
            f"File too large{at}: raise `ulimit -f` (it is {_soft(resource.RLIMIT_FSIZE)})"
        ),
    }
    return told.get(code, "")


def of_log(line: str) -> str:
    """Which limit a line of Apache's error log tells of; empty if none.

    Apache and mod_wsgi begin a message with the errno. What an application prints does not count.
    """
    match = _OF_LOG.match(line)
    return of_errno(int(match[1])) if match else ""


def full(directory: Path) -> str:
    """Why nothing more can be written in a directory; empty while something can."""
    try:
        disk = os.statvfs(directory)
    except OSError:
        return ""  # whoever uses it will say why not
    if disk.f_flag & os.ST_RDONLY:
        return of_errno(errno.EROFS, str(directory))
    # A file system that tells no size has none of these numbers.
    if disk.f_blocks and disk.f_bavail * disk.f_frsize < _LEAST_ROOM:
        return of_errno(errno.ENOSPC, str(directory))
    if disk.f_files and not disk.f_favail:
        return f"{of_errno(errno.ENOSPC, str(directory))} (no inode is left)"
    return ""


def no_port(address: str = "127.0.0.1") -> str:
    """Why no local port can be had; empty while one can."""
    try:
        with socket.socket() as probe:
            probe.bind((address, 0))
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
            return of_errno(errno.EADDRNOTAVAIL)
        return explain(error)
    return ""


def ports() -> tuple[int, int]:
    """The first and the last local port that the kernel gives to connections."""
    first, last = map(int, _read(_PORTS, "32768 60999").split())
    return first, last


def tasks(uid: int) -> int:
    """How many processes and threads a user has, as RLIMIT_NPROC counts them."""
    count = 0
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if _real_user(process) == uid:
                    count += len(os.listdir(process / "task"))  # noqa: PTH208 - names alone
            except OSError:
                continue  # it is gone
    return count


def _real_user(process: Path) -> int:
    # Not the owner of the directory: that is the effective user, or root (proc(5)).
    for line in (process / "status").read_text(errors="replace").splitlines():
        if line.startswith("Uid:"):
            return int(line.split()[1])
    return -1


def _soft(kind: int) -> str:
    return _told(resource.getrlimit(kind)[0])


def _hard(kind: int) -> str:
    hard = resource.getrlimit(kind)[1]
    return f"its hard limit is {_told(hard)}" if hard != resource.RLIM_INFINITY else "no hard limit"


def _told(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)


def _read(path: Path, otherwise: str) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # no descriptor may be left to read it
        return otherwise
