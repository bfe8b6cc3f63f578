"""Starts the command of a guard, in its own session and with what it may have."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
from collections.abc import Mapping

from wsgiproof.process.guard.confinement import confine
from wsgiproof.process.guard.kernel import PR_SET_PDEATHSIG, prctl, write_to
from wsgiproof.process.guard.private import separate
from wsgiproof.process.guard.settings import CORE_DESCRIPTOR, LIMITS, Settings

CORE_FILTER = b"0x11"
"""The content of a core file, see core(5): private anonymous memory, and headers of ELF files."""


class NotStarted(Exception):
    """The command could not be executed; the text says what and why, in one line."""


def start_command(
    command: list[str], settings: Settings, files: tuple[int, int], events: int
) -> int:
    """Fork and exec the command in its own session; return its pid. Raises NotStarted.

    As an additional safeguard, the death signal TERMs the command if the guard is killed. It is
    bound to the thread that forks (prctl(2)); the guard has only one.
    """
    guard = os.getpid()
    error_reader, error_writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        # The command may get a descriptor of its own with the number of the pipe or of the file.
        error_writer = fcntl.fcntl(error_writer, fcntl.F_DUPFD_CLOEXEC, CORE_DESCRIPTOR + 1)
        events = fcntl.fcntl(events, fcntl.F_DUPFD_CLOEXEC, CORE_DESCRIPTOR + 1)
        try:
            exec_command(guard, command, settings, files, events)
        except OSError as error:
            what = error.filename or command[0]
            os.write(error_writer, os.fsencode(f"{what}: {error.strerror}"))
        except Exception as error:
            os.write(error_writer, os.fsencode(f"{command[0]}: {error}"))
        finally:
            os._exit(127)
    os.close(error_writer)
    failure = os.read(error_reader, 4096)  # empty once exec has closed the other side
    os.close(error_reader)
    if failure:
        os.waitpid(pid, 0)
        raise NotStarted(os.fsdecode(failure))
    return pid


def exec_command(
    guard: int,
    command: list[str],
    settings: Settings,
    files: tuple[int, int],
    events: int,
) -> None:
    """In the child: leave the guard's session, undo the settings of Python and the guard, and
    exec."""
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != guard:
        os._exit(127)
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    allow_cores(settings.core, settings.core_directory)
    if settings.cgroup is not None:
        write_to(f"{settings.cgroup}/cgroup.procs", b"0")
    isolate(settings, events)
    if settings.cwd is not None:
        os.chdir(settings.cwd)
    resource.setrlimit(resource.RLIMIT_NOFILE, files)
    set_limits(settings.limits)
    program = None
    if settings.user is not None:
        program = os.open(command[0], os.O_RDONLY | os.O_CLOEXEC)
        switch_user(*settings.user)
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # the change of user has cleared it
        if os.getppid() != guard:
            os._exit(127)
    try:
        os.execvpe(command[0], command, settings.environment)
    except OSError as error:
        if program is not None and isinstance(error, PermissionError):
            # It may be below a directory that this user can't enter. An open file needs no path.
            with contextlib.suppress(OSError):
                os.execve(program, command, settings.environment)
        error.filename = None  # execvpe names the last directory of PATH that it tried
        raise


def isolate(settings: Settings, events: int) -> None:
    """Leave what the command is not to have, or not to share with other processes."""
    if settings.confine is not None:
        confine(settings.confine, settings.user, events)
    if settings.private:
        separate(settings.private, settings.visible, events)


def switch_user(uid: int, gid: int) -> None:
    """Switch to another user permanently, with only that group."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def set_limits(limits: Mapping[str, int]) -> None:
    """Lower resource limits of this process and its children, for good."""
    for name, largest in limits.items():
        kind = LIMITS[name]
        _, hard = resource.getrlimit(kind)
        most = largest if hard == resource.RLIM_INFINITY else min(largest, hard)
        resource.setrlimit(kind, (most, most))


def allow_cores(largest: int | None, directory: str | None) -> None:
    """Let this process and its children leave core files of up to ``largest`` bytes.

    ``directory`` is opened as :data:`CORE_DESCRIPTOR`. The files contain no memory that is shared
    with other processes, only private anonymous memory and the headers of ELF files, see core(5).
    Children inherit all of this.
    """
    if directory is not None:
        opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.dup2(opened, CORE_DESCRIPTOR)
    if largest is None:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    soft = largest if hard == resource.RLIM_INFINITY else min(largest, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    write_to("/proc/self/coredump_filter", CORE_FILTER)
