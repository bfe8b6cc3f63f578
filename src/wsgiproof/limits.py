"""The limits of this machine and of this process: which one caused an error, and how to raise it.

The subject must never be blamed for a limit of the machine. So code that hits a limit describes it
with this module, in one line with the current value.
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
_LEAST_SPACE = 64 * 1024
"""Bytes; a disk with less free space counts as full, since processes buffer what they write."""

_LOGGED_ERRNO = re.compile(
    r"(?:\[[^]]*\] \[[^]]*\] \[pid \d+(?::tid \d+)?\] (?:\[/[^]]*\] )?)?"
    r"\((\d+)\)[A-Z][^:]*: (?:AH\d|mod_wsgi \()"
)


def explain(error: BaseException) -> str:
    """Return which limit caused an error, in one line; empty if none did."""
    if isinstance(error, MemoryError):
        return explain_errno(errno.ENOMEM)
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return explain_errno(errno.EAGAIN)
    if isinstance(error, OSError) and error.errno is not None:
        return explain_errno(error.errno, str(error.filename or ""))
    return ""


def explain_errno(code: int, where: str = "") -> str:
    """Return which limit caused an errno, in one line; empty if none did. ``where`` is the file."""
    at = f" at {where}" if where else ""
    first, last = ports()
    messages = {
        errno.EMFILE: (
            "this process has no descriptor left (its limit is "
            f"{_soft(resource.RLIMIT_NOFILE)}): raise `ulimit -n` ({_hard(resource.RLIMIT_NOFILE)})"
        ),
        errno.ENFILE: (
            "this machine has no descriptor left (its limit is "
            f"{_read(_FILES, 'unknown')}): raise fs.file-max"
        ),
        errno.EAGAIN: (
            "no more processes or threads can be started (the limit of this user is "
            f"{_soft(resource.RLIMIT_NPROC)}): raise `ulimit -u` "
            f"({_hard(resource.RLIMIT_NPROC)}), or pids.max of the control group"
        ),
        errno.ENOMEM: (
            "this machine has no memory left: free some, or raise `ulimit -v` "
            f"(it is {_soft(resource.RLIMIT_AS)})"
        ),
        errno.ENOBUFS: "this machine has no memory left for sockets: free some",
        errno.EADDRNOTAVAIL: (
            f"no local port from {first} to {last} is left for a new connection: widen "
            "net.ipv4.ip_local_port_range, or see in `ss -tan` what uses them"
        ),
        errno.ENOSPC: f"No space left on device{at}: make room",
        errno.EDQUOT: f"Disk quota exceeded{at}: make room, or have the quota raised",
        errno.EROFS: f"Read-only file system{at}: mount it for writing, or use another",
        errno.EFBIG: (
            f"File too large{at}: raise `ulimit -f` (it is {_soft(resource.RLIMIT_FSIZE)})"
        ),
    }
    return messages.get(code, "")


def explain_log_line(line: str) -> str:
    """Return which limit a line of Apache's error log reports; empty if none.

    Apache and mod_wsgi begin such a message with the errno. What an application prints does not
    count.
    """
    match = _LOGGED_ERRNO.match(line)
    return explain_errno(int(match[1])) if match else ""


def why_full(directory: Path) -> str:
    """Return why nothing more can be written to a directory; empty if something can."""
    try:
        disk = os.statvfs(directory)
    except OSError:
        return ""  # using the directory will raise the same error
    if disk.f_flag & os.ST_RDONLY:
        return explain_errno(errno.EROFS, str(directory))
    # These numbers are 0 for a file system without a size.
    if disk.f_blocks and disk.f_bavail * disk.f_frsize < _LEAST_SPACE:
        return explain_errno(errno.ENOSPC, str(directory))
    if disk.f_files and not disk.f_favail:
        return f"{explain_errno(errno.ENOSPC, str(directory))} (no inode is left)"
    return ""


def why_no_port(address: str = "127.0.0.1") -> str:
    """Return why no local port can be bound; empty if one can."""
    try:
        with socket.socket() as probe:
            probe.bind((address, 0))
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
            return explain_errno(errno.EADDRNOTAVAIL)
        return explain(error)
    return ""


def ports() -> tuple[int, int]:
    """Return the first and the last local port that the kernel gives to connections."""
    first, last = map(int, _read(_PORTS, "32768 60999").split())
    return first, last


def tasks(uid: int) -> int:
    """Return how many processes and threads a user has, as RLIMIT_NPROC counts them."""
    count = 0
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if _real_user(process) == uid:
                    count += len(os.listdir(process / "task"))  # noqa: PTH208 - names alone
            except OSError:
                continue  # it has ended
    return count


def _real_user(process: Path) -> int:
    # Not the owner of the directory, which is the effective user, or root (proc(5)).
    for line in (process / "status").read_text(errors="replace").splitlines():
        if line.startswith("Uid:"):
            return int(line.split()[1])
    return -1


def _soft(kind: int) -> str:
    return _limit_text(resource.getrlimit(kind)[0])


def _hard(kind: int) -> str:
    hard = resource.getrlimit(kind)[1]
    if hard == resource.RLIM_INFINITY:
        return "it has no hard limit"
    return f"its hard limit is {_limit_text(hard)}"


def _limit_text(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)


def _read(path: Path, default: str) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # there may be no descriptor left to read it
        return default
