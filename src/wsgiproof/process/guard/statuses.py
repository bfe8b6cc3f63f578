"""How a process ended: each function returns a wait(2) status, or None."""

from __future__ import annotations

import fcntl
import os
import signal
import struct

from wsgiproof.process.guard.proc import read_stat


def read_status(pid: int, pidfd: int) -> int | None:
    """Return the status of an ended process, from the first source that has it."""
    status = status_of_child(pid)
    if status is None:
        status = status_of_zombie(pid)
    if status is None:
        status = status_after_reaping(pidfd)
    return status


def status_of_child(pid: int) -> int | None:
    """Reap a child of the guard."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return status if done else None


def status_of_zombie(pid: int) -> int | None:
    """Read the status of another process's child before its parent reaps it.

    Without permission to ptrace it (root in a container without CAP_SYS_PTRACE, and a process of
    www-data) the field is 0, which is not the exit code: see exit_code in proc_pid_stat(5).
    """
    stat = read_stat(pid)
    if stat is None or stat.state not in "ZX":
        return None
    if stat.exit_code == 0:
        try:
            os.close(os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY))  # requires the same permission
        except OSError:
            return None
    return stat.exit_code


def status_after_reaping(pidfd: int) -> int | None:
    """Ask the kernel (Linux 6.15 or newer) for the status after the parent has reaped the process.

    This uses PIDFD_GET_INFO with PIDFD_INFO_EXIT of <linux/pidfd.h>. The status is available only
    after reaping, through a pidfd that was opened before.
    """
    size, exit_flag, exit_code_at = 64, 1 << 3, 60
    request = (3 << 30) | (size << 16) | (0xFF << 8) | 11
    info = bytearray(size)
    struct.pack_into("=Q", info, 0, exit_flag)
    try:
        fcntl.ioctl(pidfd, request, info, True)
    except OSError:
        return None
    if not struct.unpack_from("=Q", info, 0)[0] & exit_flag:
        return None
    return int(struct.unpack_from("=i", info, exit_code_at)[0])


def is_reaped(pidfd: int) -> bool:
    """Whether an ended process has been reaped, so that its pid is free."""
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
