"""Locks between processes of one user (flock(2)), with messages that name the holder.

A lock is a file of this user with mode 0600, since anybody who can open it could hold it forever.
Acquiring it never blocks: it is tried again and again until a deadline, and after a second a
message says who holds it. The kernel releases a lock when its last holder dies, however that
happens.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wsgiproof.errors import CannotRun, Locked, one_line
from wsgiproof.files import read_file

_PAUSE = 0.05
_SILENT_WAIT = 1.0
"""Seconds of waiting without a message."""
_LONGEST_COMMAND = 120
_LARGEST = 16 << 20
"""Bytes of ``/proc/locks``: about sixty for each lock of the machine."""


def notify(text: str) -> None:
    """Print a message for the user on standard error."""
    sys.stderr.write(f"wsgiproof: {one_line(text)}\n")
    sys.stderr.flush()


def open_lock(path: Path) -> int:
    """Open a lock file, and create it if it does not exist. The caller closes the descriptor.

    Raises :class:`CannotRun` if the path is a link, a FIFO, a directory or a file of another user,
    and OSError if the file can't be opened or created.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _unusable(path, "it is not a regular file") from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _unusable(path, "it is not a regular file")
        if status.st_uid != os.geteuid():
            raise _unusable(path, f"it belongs to another user (uid {status.st_uid})")
        if stat.S_IMODE(status.st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def acquire(
    descriptor: int,
    path: Path,
    *,
    seconds: float,
    shared: bool = False,
    on_wait: Callable[[str], None] = notify,
    heartbeat: Callable[[], None] = lambda: None,
) -> None:
    """Acquire an open lock, which is held until the descriptor is closed.

    ``path`` is its name in messages. ``on_wait`` is called once with a message if the wait takes
    more than a second. ``heartbeat`` is called about twenty times a second, and may end the wait by
    raising. Raises :class:`Locked` if another process has the lock for all of ``seconds``; at once
    if that is 0.
    """
    operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    began, notified = time.monotonic(), False
    while True:
        try:
            fcntl.flock(descriptor, operation)
        except BlockingIOError:
            waited = time.monotonic() - began
        else:
            return
        if waited >= seconds:
            raise Locked(
                f"{path} is locked by {holders(descriptor)}: wait until it ends, or end it"
            )
        if not notified and waited >= _SILENT_WAIT:
            on_wait(f"waiting for {path}, which is locked by {holders(descriptor)}")
            notified = True
        heartbeat()
        time.sleep(min(_PAUSE, seconds - waited))


@contextmanager
def locked(
    path: Path, *, seconds: float, heartbeat: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold the lock at ``path`` exclusively in the context. Raises what :func:`open_lock` and
    :func:`acquire` do."""
    descriptor = open_lock(path)
    try:
        acquire(descriptor, path, seconds=seconds, heartbeat=heartbeat)
        yield
    finally:
        os.close(descriptor)


def holders(descriptor: int) -> str:
    """Return who has locked this file: pids and commands, as the kernel lists them."""
    status = os.fstat(descriptor)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    try:
        table = read_file("/proc/locks", _LARGEST).decode(errors="replace")
    except OSError:
        table = ""
    # The device number there may differ from that of stat(2) (btrfs, overlayfs).
    found = re.findall(rf"^\d+: FLOCK .* (\d+) ([0-9a-f]+:[0-9a-f]+):{status.st_ino} ", table, re.M)
    pids = [pid for pid, on in found if on == device] or [pid for pid, _ in found]
    others = [pid for pid in dict.fromkeys(pids) if pid not in ("0", str(os.getpid()))]
    named = [f"process {pid}{_command(pid)}" for pid in others or pids if pid != "0"]
    return " and ".join(named) or "a process that is not visible here"


def _command(pid: str) -> str:
    with suppress(OSError):
        words = read_file(f"/proc/{pid}/cmdline", _LARGEST).decode(errors="replace").split("\0")
        command = one_line(" ".join(words)).strip()
        return f" ({command[:_LONGEST_COMMAND]})" if command else ""
    return " (which has ended, but a child holds the lock)"


def _unusable(path: Path, why: str) -> CannotRun:
    return CannotRun(f"{path} can't be used as a lock because {why}: remove it")
