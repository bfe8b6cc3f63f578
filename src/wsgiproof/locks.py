"""Locks between processes (flock(2)) that nobody else can hold, and that say who does.

A lock is a file of ours, mode 0600: who could open it could keep us waiting for ever. It is taken
without blocking, again and again until a deadline, and after a second of that the user learns who
holds it. The kernel lets go of a lock when its last holder dies, however that happens.
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
_PATIENCE = 1.0
"""Seconds of waiting without a word."""
_LONGEST_COMMAND = 120
_LARGEST = 16 << 20
"""Bytes of ``/proc/locks``: some sixty for each lock of the machine."""


def say(text: str) -> None:
    """Tell the user, beside whatever is shown on standard output."""
    sys.stderr.write(f"wsgiproof: {one_line(text)}\n")
    sys.stderr.flush()


def open_lock(path: Path) -> int:
    """Open a lock, made if it isn't there; the descriptor is the caller's to close.

    Raises :class:`CannotRun` for what is there and is no lock of ours (a link, a FIFO, a directory,
    a file of another user), and OSError where the file can't be opened or made.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _no_lock(path, "it is not a regular file") from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _no_lock(path, "it is not a regular file")
        if status.st_uid != os.geteuid():
            raise _no_lock(path, f"it belongs to another user (uid {status.st_uid})")
        if stat.S_IMODE(status.st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def take(
    descriptor: int,
    path: Path,
    *,
    seconds: float,
    shared: bool = False,
    tell: Callable[[str], None] = say,
    heartbeat: Callable[[], None] = lambda: None,
) -> None:
    """Take an open lock; it is held until the descriptor is closed.

    ``path`` is what messages call it; ``tell`` gets one, once the wait is longer than a second.
    ``heartbeat`` is called some twenty times a second, and may end the wait by raising. Raises
    :class:`Locked` if somebody else has the lock for all of ``seconds``; at once if that is 0.
    """
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    began, told = time.monotonic(), False
    while True:
        try:
            fcntl.flock(descriptor, how)
        except BlockingIOError:
            waited = time.monotonic() - began
        else:
            return
        if waited >= seconds:
            raise Locked(f"{path} is locked by {holders(descriptor)}: wait for its end, or end it")
        if not told and waited >= _PATIENCE:
            tell(f"waiting for {path}, which is locked by {holders(descriptor)}")
            told = True
        heartbeat()
        time.sleep(min(_PAUSE, seconds - waited))


@contextmanager
def locked(
    path: Path, *, seconds: float, heartbeat: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold the lock at ``path`` alone inside. Raises what :func:`open_lock` and :func:`take` do."""
    descriptor = open_lock(path)
    try:
        take(descriptor, path, seconds=seconds, heartbeat=heartbeat)
        yield
    finally:
        os.close(descriptor)


def holders(descriptor: int) -> str:
    """Who has locked this file: pids and commands, as the kernel lists them."""
    status = os.fstat(descriptor)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    try:
        table = read_file("/proc/locks", _LARGEST).decode(errors="replace")
    except OSError:
        table = ""
    # A file system may have another device number there than stat(2) gives (btrfs, overlayfs).
    found = re.findall(rf"^\d+: FLOCK .* (\d+) ([0-9a-f]+:[0-9a-f]+):{status.st_ino} ", table, re.M)
    pids = [pid for pid, on in found if on == device] or [pid for pid, _ in found]
    others = [pid for pid in dict.fromkeys(pids) if pid not in ("0", str(os.getpid()))]
    named = [f"process {pid}{_command(pid)}" for pid in others or pids if pid != "0"]
    return " and ".join(named) or "a process that can't be seen from here"


def _command(pid: str) -> str:
    with suppress(OSError):
        words = read_file(f"/proc/{pid}/cmdline", _LARGEST).decode(errors="replace").split("\0")
        told = one_line(" ".join(words)).strip()
        return f" ({told[:_LONGEST_COMMAND]})" if told else ""
    return " (which has ended, and left it to a child)"


def _no_lock(path: Path, why: str) -> CannotRun:
    return CannotRun(f"{path} can't be used as a lock, since {why}: remove it")
