"""The guard: a small process between wsgiproof and each child that it starts.

It is a script that uses only the standard library. :mod:`wsgiproof.process.supervise` starts it::

    python -I -S -X utf8 guard.py EVENTS [OPTION]... -- COMMAND [ARGUMENT]...

where an OPTION is ``--cwd DIR``, ``--remove DIR`` (any number), ``--core BYTES``,
``--core-directory DIR``, ``--cgroup DIR``, ``--lock FD``, ``--user UID:GID``, ``--limit NAME=N``
(any number) or ``--confine DIR``. It has two tasks.

*No process outlives wsgiproof.* Standard input is a pipe whose other end only wsgiproof (the owner)
holds. When that closes, wsgiproof has ended, however it died: the guard TERMs everything below it,
KILLs what is left 1.5 s later, removes the ``--remove`` directories, and ends. As a child subreaper
(``PR_SET_CHILD_SUBREAPER`` in prctl(2)) it becomes the parent of every orphan below it, so a
daemonised process cannot escape, and "no children left" means "no descendants left". With
``--cgroup`` the command also runs in its own control group, which the kernel kills as a whole.
``--lock`` is a descriptor with a lock of the run (flock(2)), held until the guard has ended.

*Every death is seen.* If a mod_wsgi daemon process dies of SIGSEGV while Apache is stopping, no log
reports it, because Apache has deregistered it by then. The guard holds a pidfd of each descendant
(pidfd_open(2)), sleeps in poll(2), and reads the status of a process at the moment it ends.

The control pipe first carries one JSON object (the environment of the command), then lines:
``signal N`` sends signal N to the command; ``kill`` KILLs every descendant, but removes nothing.

The events file gets JSON lines; ``t`` is in CLOCK_MONOTONIC seconds::

    {"t": 1.5, "event": "born", "pid": 7, "ppid": 6, "name": "httpd"}      the first: the command
    {"t": 2.5, "event": "died", "pid": 7, "name": "httpd",
     "exit": null, "signal": 11, "core": false}      exit and signal null: status unknown
    {"t": 2.1, "event": "paused", "pid": 7}          the command, not on the owner's order
    {"t": 1.4, "event": "confined", "network": "", "files": "..."}
                       with --confine, before all these: what the kernel did not allow
    {"t": 2.6, "event": "end"}                       all processes have ended; the guard ends
    {"t": 1.5, "event": "failed", "error": "..."}    instead of all these: exec failed
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

SCAN_EVERY = 0.05
"""Seconds between two scans for new descendants."""

SCAN_SHARE = 0.02
"""The largest share of a core for scans; expensive scans are made less often."""

FULL_SCAN_EVERY = 2.0
"""Seconds between two scans of the children of every thread, not only of the first."""

TERM_GRACE = 1.5
"""Seconds between TERM and KILL when the owner is gone."""

STALL_LIMIT = 3.0
"""Seconds after the owner's death in which no process ends, after which the guard gives up: what is
left is unkillable (state D)."""

TOTAL_LIMIT = 60.0
"""Seconds after the owner's death after which the guard gives up in any case, for example with a
fork bomb."""

RESERVED_DESCRIPTORS = 32
"""Descriptors that are not used to watch processes, since reading /proc needs some."""

CORE_DESCRIPTOR = 3
"""The descriptor of the directory that a process which crashes changes to, for its core file. Each
process may replace it by a directory of its own."""

CORE_FILTER = b"0x11"
"""The content of a core file, see core(5): private anonymous memory, and headers of ELF files."""

REMOVAL_LIMIT = 60.0
"""Seconds after which a directory that others keep filling is left alone; removing a million files
takes ten."""

TREE_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags to open a directory whose content is removed."""

LIMITS = {
    "processor": resource.RLIMIT_CPU,
    "data": resource.RLIMIT_DATA,
    "processes": resource.RLIMIT_NPROC,
    "file": resource.RLIMIT_FSIZE,
}
"""The limits of ``--limit``: seconds, bytes, processes and threads of the user, bytes of a file."""

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
"""Of unshare(2)."""
MS_NOSUID, MS_NODEV, MS_PRIVATE = 2, 4, 1 << 18
"""Of mount(2)."""
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY, SYS_MOUNT_SETATTR = -100, 0x8000, 1, 442
"""Of mount_setattr(2), which has the same number on every architecture that CPython supports."""
CONFINED_SPACE = "size=64m,nr_inodes=4096,mode=0700"
"""Of the file system of ``--confine``, in memory; see tmpfs(5)."""

UNREADABLE_AFTER = 1.0
"""Seconds to wait for a status that can't be read before the parent has reaped the process."""


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    events: str
    command: list[str]
    cwd: str | None
    remove: list[str]
    core: int | None
    """The largest core file that the command and its descendants may leave, in bytes."""
    core_directory: str | None
    """The directory that the command gets open, as :data:`CORE_DESCRIPTOR`."""
    cgroup: str | None
    """The control group that the command runs in."""
    lock: int | None
    """A descriptor that the command must not inherit."""
    user: tuple[int, int] | None
    """The uid and gid that the command runs as; None: those of the guard."""
    limits: dict[int, int]
    """Resource limits of the command, by their numbers: see setrlimit(2)."""
    confine: str | None
    """The only directory in which the command can write, where the kernel allows that."""


@dataclass
class Watched:
    """A descendant: alive, or ended and not yet reaped by its parent."""

    pid: int
    name: str
    pidfd: int
    ended_at: float | None = None
    reported: bool = False


class NotStarted(Exception):
    """The command could not be executed; the text says what and why, in one line."""


def parse_options(arguments: list[str]) -> Options:  # noqa: C901 - one branch for each option
    """Parse the command line. With argparse the guard would take twice as long to start."""
    events, *rest = arguments
    cwd: str | None = None
    remove: list[str] = []
    core: int | None = None
    core_directory: str | None = None
    cgroup: str | None = None
    lock: int | None = None
    user: tuple[int, int] | None = None
    limits: dict[int, int] = {}
    confine: str | None = None
    while rest[0] != "--":
        option, value, *rest = rest
        if option == "--cwd":
            cwd = value
        elif option == "--remove":
            remove.append(value)
        elif option == "--core":
            core = int(value)
        elif option == "--core-directory":
            core_directory = value
        elif option == "--cgroup":
            cgroup = value
        elif option == "--lock":
            lock = int(value)
        elif option == "--user":
            uid, _, gid = value.partition(":")
            user = int(uid), int(gid)
        elif option == "--limit":
            name, _, number = value.partition("=")
            limits[LIMITS[name]] = int(number)
        elif option == "--confine":
            confine = value
        else:
            raise SystemExit(f"guard: unknown option {option}")
    return Options(
        events, rest[1:], cwd, remove, core, core_directory, cgroup, lock, user, limits, confine
    )


def prctl(option: int, value: int) -> None:
    """Call prctl(2). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


# --- reading /proc -------------------------------------------------------------------------


def read_small(path: str) -> bytes | None:
    """Return the content of a /proc file, or None if the process has ended.

    One read may return no more than a page, whatever size is requested.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        parts = []
        while part := os.read(descriptor, 65536):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return None
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Stat:
    """The fields of /proc/PID/stat that are used here; see proc_pid_stat(5)."""

    name: str
    state: str
    ppid: int
    started: int
    """Clock ticks after boot: with the pid, this identifies a process."""
    exit_code: int


def read_stat(pid: int) -> Stat | None:
    """Return the stat of a process or zombie; None if it does not exist."""
    text = read_small(f"/proc/{pid}/stat")
    if not text:
        return None
    # The name may contain blanks and parentheses, but the fields after it don't.
    head, _, tail = text.rpartition(b")")
    fields = tail.split()
    name = head.partition(b"(")[2].decode(errors="replace")
    return Stat(name, fields[0].decode(), int(fields[1]), int(fields[19]), int(fields[-1]))


def children_by_file(pid: int, every_thread: bool) -> list[int]:
    """Return the children of a process, or of its first thread (CONFIG_PROC_CHILDREN kernels)."""
    threads = [str(pid)]
    if every_thread:
        with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/task") as entries:
            threads = [entry.name for entry in entries]
    texts = [read_small(f"/proc/{pid}/task/{thread}/children") for thread in threads]
    return [int(child) for text in texts if text for child in text.split()]


def children(pid: int) -> list[int]:
    """Return the children of a process, zombies included."""
    if read_small(f"/proc/self/task/{os.getpid()}/children") is None:
        return children_of_everyone().get(pid, [])
    return children_by_file(pid, every_thread=True)


def children_of_everyone() -> dict[int, list[int]]:
    """Return pid → children for the whole machine, for kernels without the ``children`` file."""
    tree: dict[int, list[int]] = {}
    with os.scandir("/proc") as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    for pid in pids:
        stat = read_stat(pid)
        if stat is not None:
            tree.setdefault(stat.ppid, []).append(pid)
    return tree


def descendants(root: int, every_thread: bool = True) -> list[int]:
    """Return the pids below ``root``, zombies included.

    A child belongs to the thread that forked it. Reading only first threads is ten times cheaper
    for a server with a pool of threads, and enough for a program that forks as Apache does. A child
    whose parent ends during the scan may be missed (proc_pid_task_children(5)). It is a child of
    the guard then, and the next scan finds it.
    """
    everyone: dict[int, list[int]] | None = None
    if read_small(f"/proc/self/task/{os.getpid()}/children") is None:
        everyone = children_of_everyone()
    found: list[int] = []
    seen = {root}
    queue = [root]
    while queue:
        parent = queue.pop()
        if everyone is None:
            children = children_by_file(parent, every_thread)
        else:
            children = everyone.get(parent, [])
        fresh = [pid for pid in children if pid not in seen]
        seen.update(fresh)
        found.extend(fresh)
        queue.extend(fresh)
    return found


def is_descendant(pid: int) -> bool:
    """Whether a process is a descendant of this one."""
    while pid > 1:
        stat = read_stat(pid)
        if stat is None:
            return False
        pid = stat.ppid
        if pid == os.getpid():
            return True
    return False


def last_pid() -> bytes | None:
    """Return the newest pid of the machine: the last field of /proc/loadavg, proc_loadavg(5).

    If it has not changed since the last scan, no process has forked, and idling costs nothing. In a
    container with lxcfs, the file does not change with a fork, and every scan is made.
    """
    text = read_small("/proc/loadavg")
    return text.split()[-1] if text else None


# --- how a process ended (all return a wait(2) status, or None) ----------------------------


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


# --- the command ---------------------------------------------------------------------------


def start_command(
    options: Options, environment: dict[str, str], files: tuple[int, int], events: int
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
            exec_command(guard, options, environment, files, events)
        except OSError as error:
            what = error.filename or options.command[0]
            os.write(error_writer, os.fsencode(f"{what}: {error.strerror}"))
        except Exception as error:
            os.write(error_writer, os.fsencode(f"{options.command[0]}: {error}"))
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
    options: Options,
    environment: dict[str, str],
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
    allow_cores(options.core, options.core_directory)
    if options.cgroup is not None:
        write_to(f"{options.cgroup}/cgroup.procs", b"0")
    if options.confine is not None:
        confine(options.confine, options.user, events)
    if options.cwd is not None:
        os.chdir(options.cwd)
    resource.setrlimit(resource.RLIMIT_NOFILE, files)
    set_limits(options.limits)
    program = None
    if options.user is not None:
        program = os.open(options.command[0], os.O_RDONLY | os.O_CLOEXEC)
        switch_user(*options.user)
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # the change of user has cleared it
        if os.getppid() != guard:
            os._exit(127)
    try:
        os.execvpe(options.command[0], options.command, environment)
    except OSError as error:
        if program is not None and isinstance(error, PermissionError):
            # It may be below a directory that this user can't enter. An open file needs no path.
            with contextlib.suppress(OSError):
                os.execve(program, options.command, environment)
        error.filename = None  # execvpe names the last directory of PATH that it tried
        raise


def switch_user(uid: int, gid: int) -> None:
    """Switch to another user permanently, with only that group."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def set_limits(limits: dict[int, int]) -> None:
    """Lower resource limits of this process and its children, for good."""
    for kind, largest in limits.items():
        _, hard = resource.getrlimit(kind)
        most = largest if hard == resource.RLIM_INFINITY else min(largest, hard)
        resource.setrlimit(kind, (most, most))


def confine(directory: str, user: tuple[int, int] | None, events: int) -> None:
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


def leave_files(directory: str, owner: tuple[int, int]) -> None:
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


def call_libc(function: str, *arguments: object) -> None:
    """Call a function of the C library that returns 0 or sets errno. Raises OSError."""
    if getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


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


def write_to(path: str, content: bytes) -> None:
    """Write to a file of the kernel; ignore errors."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)


def max_descriptors() -> int:
    """Return the descriptor limit of the guard."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


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


# --- the guard -----------------------------------------------------------------------------


@dataclass
class Guard:
    """The descendants of this process, their states, and the events file."""

    events: int
    cgroup: str | None = None
    control: int = 0
    watched: dict[int, Watched] = field(default_factory=dict)
    by_pidfd: dict[int, Watched] = field(default_factory=dict)
    unread: list[Watched] = field(default_factory=list)
    poller: select.poll = field(default_factory=select.poll)
    service: int = 0
    received: bytes = b""
    killing: bool = False
    owner_gone_at: float | None = None
    ended_last_at: float = 0.0
    most_watched: int = field(default_factory=lambda: max_descriptors() - RESERVED_DESCRIPTORS)
    next_scan: float = 0.0
    next_full_scan: float = 0.0
    scanned_at: bytes | None = None
    fully_scanned_at: bytes | None = None
    sees_forks: bool = False
    pausing: bool = False
    """Whether the owner has paused the command."""
    resumed: bool = False
    """Whether the owner has resumed the command, and that has not been seen yet."""

    # events

    def write(self, event: str, at: float | None = None, **fields: object) -> None:
        """Append one line to the events file."""
        t = time.monotonic() if at is None else at
        line = json.dumps({"t": round(t, 6), "event": event, **fields})
        os.write(self.events, line.encode() + b"\n")

    def write_died(self, watched: Watched, status: int | None) -> None:
        """Report one death, once; ``status`` in the format of wait(2), None if unreadable."""
        watched.reported = True
        exited = status is not None and os.WIFEXITED(status)
        signaled = status is not None and os.WIFSIGNALED(status)
        self.write(
            "died",
            watched.ended_at,
            pid=watched.pid,
            name=watched.name,
            exit=os.WEXITSTATUS(status) if status is not None and exited else None,
            signal=os.WTERMSIG(status) if status is not None and signaled else None,
            core=status is not None and signaled and os.WCOREDUMP(status),
        )

    # births

    def adopt(self, pid: int) -> Watched | None:
        """Watch a new descendant and report its birth; return None if it has ended already, or if
        there are not enough descriptors."""
        if len(self.watched) >= self.most_watched:
            return None
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return None
        stat = read_stat(pid)
        # The pid may have been reused by another process before it was opened.
        if stat is None or (stat.ppid != os.getpid() and stat.ppid not in self.watched):
            os.close(pidfd)
            return None
        watched = Watched(pid, stat.name, pidfd)
        self.watched[pid] = watched
        self.by_pidfd[pidfd] = watched
        self.poller.register(pidfd, select.POLLIN)
        self.write("born", pid=pid, ppid=stat.ppid, name=stat.name)
        return watched

    def forget(self, watched: Watched) -> None:
        """Stop watching a process that its parent has reaped; its pid may be used again."""
        if self.watched.pop(watched.pid, None) is not None:
            os.close(watched.pidfd)

    def scan(self, every_thread: bool = True) -> list[int]:
        """Find new descendants, and forget the reaped ones; return those that can't be watched."""
        for watched in list(self.watched.values()):
            if watched.reported and is_reaped(watched.pidfd):
                self.forget(watched)
        found = [pid for pid in descendants(os.getpid(), every_thread) if pid not in self.watched]
        return [pid for pid in found if self.adopt(pid) is None]

    def scan_if_due(self) -> None:
        """Scan if it is time and a process has forked, within the guard's share of the
        processor."""
        now = time.monotonic()
        if now < self.next_scan:
            return
        began = time.process_time()
        newest = last_pid() if self.sees_forks else None
        if newest is None or newest != self.fully_scanned_at:
            if now >= self.next_full_scan:
                self.next_full_scan = now + FULL_SCAN_EVERY
                self.fully_scanned_at = self.scanned_at = newest
                self.scan()
            elif newest is None or newest != self.scanned_at:
                self.scanned_at = newest
                self.scan(every_thread=False)
        cost = time.process_time() - began
        self.next_scan = now + max(SCAN_EVERY, cost / SCAN_SHARE)

    # deaths

    def read_deaths(self, pidfds: list[int]) -> None:
        """Read the statuses of ended processes; all of them first, since their parents are about to
        reap them."""
        now = self.ended_last_at = time.monotonic()
        ended = [self.by_pidfd.pop(pidfd) for pidfd in pidfds]
        statuses = [read_status(watched) for watched in ended]
        for watched, status in zip(ended, statuses, strict=True):
            self.poller.unregister(watched.pidfd)
            watched.ended_at = now
            stat = read_stat(watched.pid)
            if stat is not None:
                watched.name = stat.name  # it may not have called exec yet when it was born
            if status is None:
                self.unread.append(watched)
            else:
                self.write_died(watched, status)

    def retry_unread(self) -> None:
        """Try again to read statuses that only the parent may read; give up after a while."""
        waiting, self.unread = self.unread, []
        for watched in waiting:
            # In this order, since a status may become readable when the process is reaped.
            waited = time.monotonic() - (watched.ended_at or 0.0)
            last_try = is_reaped(watched.pidfd) or waited > UNREADABLE_AFTER
            status = read_status(watched)
            if status is not None or last_try:
                self.write_died(watched, status)
            else:
                self.unread.append(watched)

    def reap(self) -> bool:
        """Reap ended children, including orphans; return False if no descendants are left."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return False
            if ended is None:
                return True
            watched = self.watched.get(ended.si_pid) or self.adopt(ended.si_pid)
            if watched is not None and watched.pidfd in self.by_pidfd:
                self.read_deaths([watched.pidfd])
            else:
                self.reap_late(ended.si_pid, watched)

    def reap_late(self, pid: int, watched: Watched | None) -> None:
        """Reap an orphan that had ended before it became a child of the guard, or was not
        watched."""
        self.ended_last_at = time.monotonic()
        status = status_of_child(pid)
        if watched is not None:
            if watched in self.unread:
                self.unread.remove(watched)
                self.write_died(watched, status)
            self.forget(watched)

    def note_pause(self) -> None:
        """Report that another process has stopped or continued the command (SIGSTOP, SIGCONT).

        As its parent, the guard sees every pause, however short it was: waitid(2), ``WCONTINUED``.
        """
        options = os.WSTOPPED | os.WCONTINUED | os.WNOHANG
        try:
            change = os.waitid(os.P_PID, self.service, options)
        except ChildProcessError:
            return
        if change is None:
            return
        if change.si_code == os.CLD_CONTINUED:
            by_owner, self.resumed = self.resumed, False
        else:
            by_owner = self.pausing
        if not by_owner:
            self.write("paused", pid=self.service)

    # orders of the owner

    def send(self, number: int, pids: list[int] | None = None) -> None:
        """Send a signal to these processes, or to all that are alive."""
        for watched in list(self.by_pidfd.values()):
            if pids is None or watched.pid in pids:
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(watched.pidfd, number)

    def read_control(self) -> None:
        """Read lines from the control pipe, or notice the end of the owner."""
        data = os.read(self.control, 65536)
        if not data:
            self.poller.unregister(self.control)
            self.owner_gone_at = time.monotonic()
            self.scan()
            self.send(signal.SIGTERM)
            return
        *lines, self.received = (self.received + data).split(b"\n")
        for line in lines:
            if line == b"kill":
                self.killing = True
            elif line.startswith(b"signal "):
                number = int(line.split()[1])
                if number in (signal.SIGSTOP, signal.SIGCONT):
                    self.resumed = self.pausing and number == signal.SIGCONT
                    self.pausing = number == signal.SIGSTOP
                self.send(number, [self.service])

    def end_if_due(self) -> bool:
        """Kill everything if that is due; return False if the guard has to give up."""
        if self.owner_gone_at is not None:
            now = time.monotonic()
            gone_for = now - self.owner_gone_at
            if gone_for > TOTAL_LIMIT or min(gone_for, now - self.ended_last_at) > STALL_LIMIT:
                return False
            self.killing = self.killing or gone_for > TERM_GRACE
        if self.killing:
            self.kill()
        return True

    def kill(self) -> None:
        """KILL all current descendants."""
        if self.cgroup is not None:
            write_to(f"{self.cgroup}/cgroup.kill", b"1")
        unwatched = self.scan()
        self.send(signal.SIGKILL)
        for pid in unwatched:
            kill_unwatched(pid)

    def poll_timeout(self) -> int:
        """Return the milliseconds to sleep in poll if nothing ends."""
        if self.killing or self.unread:
            return 5
        return max(1, round((self.next_scan - time.monotonic()) * 1000))

    def watch(self) -> None:
        """Watch until no descendants are left."""
        self.poller.register(self.control, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in self.poller.poll(self.poll_timeout())]
            ended = [descriptor for descriptor in ready if descriptor in self.by_pidfd]
            if ended:
                self.read_deaths(ended)
            if self.control in ready:
                self.read_control()
            if self.unread:
                self.retry_unread()
            self.note_pause()
            if not self.reap():
                break
            if not self.end_if_due():
                return
            self.scan_if_due()
        for watched in self.unread:
            self.write_died(watched, read_status(watched))
        self.write("end")

    def kill_all(self) -> None:
        """KILL all descendants after the guard itself has failed."""
        until = time.monotonic() + STALL_LIMIT
        while time.monotonic() < until:
            for pid in descendants(os.getpid()):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            time.sleep(0.005)


def kill_unwatched(pid: int) -> None:
    """KILL a descendant, unless its pid has been reused by another process meanwhile."""
    with contextlib.suppress(OSError):
        pidfd = os.pidfd_open(pid)
        try:
            if is_descendant(pid):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)


def read_status(watched: Watched) -> int | None:
    """Return the wait(2) status of an ended process, from the first source that has it."""
    status = status_of_child(watched.pid)
    if status is None:
        status = status_of_zombie(watched.pid)
    if status is None:
        status = status_after_reaping(watched.pidfd)
    return status


def read_environment(control: int) -> tuple[dict[str, str], bytes] | None:
    """Return the environment and the rest that was read from the pipe; None if the owner has
    ended."""
    received = b""
    while b"\n" not in received:
        more = os.read(control, 65536)
        if not more:
            return None
        received += more
    line, _, rest = received.partition(b"\n")
    environment: dict[str, str] = json.loads(line)
    return environment, rest


def remove_directories(directories: list[str]) -> None:
    """Remove scratch directories; twice, since another guard's service may still have written to
    them."""
    for directory in directories * 2:
        remove_tree(directory)


def remove_tree(path: str) -> None:
    """Remove a directory and its content as far as possible; never raise OSError.

    Less trusted code may have filled it, and may still be writing to it. So no link is followed,
    and a tree may have any depth: the content of subdirectories is moved up to the top, which needs
    only two descriptors and no recursion.
    """
    with contextlib.suppress(OSError):
        top = os.open(path, TREE_FLAGS)
        try:
            until = time.monotonic() + REMOVAL_LIMIT
            while time.monotonic() < until:
                names = os.listdir(top)  # noqa: PTH208 - of a descriptor
                done = [remove_entry(top, name) for name in names]
                if not any(done):
                    break
        finally:
            os.close(top)
        os.rmdir(path)  # noqa: PTH106 - pathlib is slow to import


def remove_entry(top: int, name: str) -> bool:
    """Remove an entry of ``top``, or move up its content; return whether anything was done."""
    try:
        return unlink_entry(name, top)
    except IsADirectoryError:
        pass
    done = False
    with contextlib.suppress(OSError):
        directory = open_tree(name, top)
        try:
            for inner in os.listdir(directory):  # noqa: PTH208 - of a descriptor
                done |= remove_or_move_up(inner, directory, top)
        finally:
            os.close(directory)
        os.rmdir(name, dir_fd=top)
        done = True
    return done


def unlink_entry(name: str, directory: int) -> bool:
    """Remove a file or a link; return whether that succeeded. Raises IsADirectoryError."""
    try:
        os.unlink(name, dir_fd=directory)
    except IsADirectoryError:
        raise
    except OSError:
        return False
    return True


def remove_or_move_up(name: str, directory: int, top: int) -> bool:
    """Remove an entry of ``directory``, or move it to ``top`` if it is a directory."""
    try:
        return unlink_entry(name, directory)
    except IsADirectoryError:
        pass
    try:
        os.close(open_tree(name, directory))  # moving a directory requires write permission on it
        moved = f".{os.getpid()}.{time.monotonic_ns()}"
        os.rename(name, moved, src_dir_fd=directory, dst_dir_fd=top)
    except OSError:
        return False
    return True


def open_tree(name: str, within: int) -> int:
    """Open a directory for removal; its owner gets all permissions on it first."""
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
    try:
        if os.fstat(handle).st_mode & 0o700 != 0o700:
            with contextlib.suppress(OSError):
                os.chmod(f"/proc/self/fd/{handle}", 0o700)  # noqa: PTH101 - as above
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(handle)


def guard_command(options: Options, events: int) -> bool:
    """Start the command and watch it until it ends; return whether the owner has ended."""
    files = raise_descriptor_limit()
    guard = Guard(events, options.cgroup)
    received = read_environment(guard.control)
    if received is None:
        return True
    environment, guard.received = received
    before = last_pid()
    try:
        guard.service = start_command(options, environment, files, events)
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


def main(arguments: list[str]) -> None:
    """Guard one command. The guard stops only when its owner ends, and ignores signals."""
    options = parse_options(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    if os.getsid(0) != os.getpid():
        os.setsid()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    if options.lock is not None:
        os.set_inheritable(options.lock, False)
    events = os.open(options.events, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    owner_gone = guard_command(options, events)
    if options.cgroup is not None:
        # Also the group of the run, if this was its last service; a living owner removes that
        # itself.
        with contextlib.suppress(OSError):
            os.rmdir(options.cgroup)  # noqa: PTH106 - pathlib is slow to import
            if owner_gone:
                os.rmdir(options.cgroup.rpartition("/")[0])  # noqa: PTH106
    if owner_gone:
        remove_directories(options.remove)


if __name__ == "__main__":
    main(sys.argv[1:])
