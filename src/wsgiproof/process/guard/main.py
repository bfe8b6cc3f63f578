"""Guards one command, from its start to the end of everything below it."""

from __future__ import annotations

import contextlib
import os
import resource
import signal

from wsgiproof.process.guard.command import NotStarted, start_command
from wsgiproof.process.guard.kernel import PR_SET_CHILD_SUBREAPER, prctl
from wsgiproof.process.guard.proc import last_pid
from wsgiproof.process.guard.removal import remove_directories
from wsgiproof.process.guard.settings import Settings
from wsgiproof.process.guard.watch import CONTROL, Guard


def main(arguments: list[str]) -> None:
    """Guard one command. The guard stops only when its owner ends, and ignores signals."""
    path, *command = arguments
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    if os.getsid(0) != os.getpid():
        os.setsid()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    events = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    received = read_settings()
    if received is None:
        return
    settings, rest = received
    owner_gone = guard_command(command, settings, events, rest)
    if settings.cgroup is not None:
        # Also the group of the run, if this was its last service; a living owner removes that
        # itself.
        with contextlib.suppress(OSError):
            os.rmdir(settings.cgroup)  # noqa: PTH106 - pathlib is slow to import
            if owner_gone:
                os.rmdir(settings.cgroup.rpartition("/")[0])  # noqa: PTH106
    if owner_gone:
        remove_directories(settings.remove)


def read_settings() -> tuple[Settings, bytes] | None:
    """Return the settings and the rest that was read from the control pipe; None if the owner has
    ended before it could send them."""
    received = b""
    while b"\n" not in received:
        more = os.read(CONTROL, 65536)
        if not more:
            return None
        received += more
    line, _, rest = received.partition(b"\n")
    return Settings.decode(line), rest


def guard_command(command: list[str], settings: Settings, events: int, received: bytes) -> bool:
    """Start the command and watch it until it ends; return whether the owner has ended.

    ``received`` is what the owner has already said after the settings.
    """
    files = raise_descriptor_limit()
    if settings.lock is not None:
        os.set_inheritable(settings.lock, False)
    guard = Guard(events, settings.cgroup, received)
    before = last_pid()
    try:
        guard.service = start_command(command, settings, files, events)
    except NotStarted as error:
        guard.write("failed", error=str(error))
        return False
    try:
        raise_priority()  # only now, since the command must not inherit it
        guard.sees_forks = last_pid() not in (before, None)
        guard.adopt(guard.service)
        guard.watch()
    except BaseException:
        guard.kill_all()
        raise
    return guard.owner_gone_at is not None


def raise_descriptor_limit() -> tuple[int, int]:
    """Raise the descriptor limit of the guard, which needs one for each descendant; return the
    previous limits, which the command gets."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    return before


def raise_priority() -> None:
    """Raise the guard's priority if permitted (CAP_SYS_NICE).

    It should read the status of a process before its parent reaps it. SCHED_RR is not used: when a
    process is reaped, the kernel spins until the dentries of its /proc directory are released by
    dying processes, and a real-time spin would keep those from running.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)
