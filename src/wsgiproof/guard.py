"""The guard: a small process that stands between wsgiproof and each child it starts.

It is a script of its own, standard library only, started by :mod:`wsgiproof.process` as::

    python -I -S -X utf8 guard.py EVENTS [OPTION]... -- COMMAND [ARGUMENT]...

where an OPTION is ``--cwd DIR``, ``--remove DIR`` (any number), ``--core BYTES``, ``--cgroup DIR``,
``--lock FD`` or ``--user UID:GID``, and it exists for two reasons.

*Nothing outlives us.* Standard input is a pipe whose other end only wsgiproof holds. When that
closes, wsgiproof is gone, however it died: the guard TERMs everything below it, KILLs what is
left 1.5 s later, removes the ``--remove`` directories, and ends. As a child subreaper
(``PR_SET_CHILD_SUBREAPER`` in prctl(2)) it becomes the parent of every orphan below it, so a
daemonised process cannot slip away, and "no children left" means "no descendants left". With
``--cgroup`` the command is in a control group of its own as well, which the kernel kills as a
whole. ``--lock`` is a descriptor with a lock of the run (flock(2)), held until the guard has ended.

*Every death is seen.* A mod_wsgi daemon process that dies of SIGSEGV while Apache is stopping
is in no log, because Apache has deregistered it by then. The guard holds a pidfd of each
descendant (pidfd_open(2)), sleeps in poll(2), and reads how a process ended at the moment it ends.

The control pipe carries one JSON object first (the environment of the command), then lines:
``signal N`` sends signal N to the command; ``kill`` KILLs every descendant, removing nothing.

The events file gets JSON lines, ``t`` being CLOCK_MONOTONIC seconds::

    {"t": 1.5, "event": "born", "pid": 7, "ppid": 6, "name": "httpd"}      the first: the command
    {"t": 2.5, "event": "died", "pid": 7, "name": "httpd",
     "exit": null, "signal": 11, "core": false}      exit and signal null: nobody could read how
    {"t": 2.1, "event": "paused", "pid": 7}          the command, and not by our order
    {"t": 2.6, "event": "end"}                       all gone, and the guard too
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
from dataclasses import dataclass, field

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

SCAN_EVERY = 0.05
"""Seconds between two looks for new descendants."""

SCAN_SHARE = 0.02
"""At most this share of a core goes into scans; dear ones are made less often."""

FULL_SCAN_EVERY = 2.0
"""Seconds between two looks at the children of every thread, not only of the first."""

TERM_GRACE = 1.5
"""Seconds between TERM and KILL when the owner is gone."""

GIVE_UP = 3.0
"""Seconds in which nothing more ends, after the owner's death, when even the unkillable (state D)
is left alone."""

LONGEST = 60.0
"""Seconds after the owner's death when whatever is left is left alone, a fork bomb above all."""

SPARE = 32
"""Descriptors that are not used to watch processes with, since reading /proc takes some."""

CORE_FILTER = b"0x11"
"""What a core file holds, see core(5): private anonymous memory, and headers of ELF files."""

REMOVAL_GIVE_UP = 60.0
"""Seconds after which a directory that others keep filling is left as it is; a million files take
ten."""

TREE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a directory is opened whose content is removed."""

UNREADABLE_AFTER = 1.0
"""Seconds to wait for a status that is not ours to read before its parent has collected it."""


@dataclass(frozen=True)
class Order:
    """What the command line asks for."""

    events: str
    command: list[str]
    cwd: str | None
    remove: list[str]
    core: int | None
    """The largest core file that the command and its descendants may leave, in bytes."""
    cgroup: str | None
    """The control group that the command is put into."""
    lock: int | None
    """A descriptor that the command must not have."""
    user: tuple[int, int] | None
    """The uid and gid that the command runs as; None: ours."""


@dataclass
class Watched:
    """A descendant: alive, or ended and not yet collected by its parent."""

    pid: int
    name: str
    pidfd: int
    ended_at: float | None = None
    reported: bool = False


class NotStarted(Exception):
    """The command could not be executed; the text says what and why, on one line."""


def parse_order(arguments: list[str]) -> Order:
    """Read the command line; argparse would double our time to start."""
    events, *rest = arguments
    cwd: str | None = None
    remove: list[str] = []
    core: int | None = None
    cgroup: str | None = None
    lock: int | None = None
    user: tuple[int, int] | None = None
    while rest[0] != "--":
        option, value, *rest = rest
        if option == "--cwd":
            cwd = value
        elif option == "--remove":
            remove.append(value)
        elif option == "--core":
            core = int(value)
        elif option == "--cgroup":
            cgroup = value
        elif option == "--lock":
            lock = int(value)
        elif option == "--user":
            uid, _, gid = value.partition(":")
            user = int(uid), int(gid)
        else:
            raise SystemExit(f"guard: unknown option {option}")
    return Order(events, rest[1:], cwd, remove, core, cgroup, lock, user)


def prctl(option: int, value: int) -> None:
    """Call prctl(2), or raise OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


# --- reading /proc -------------------------------------------------------------------------


def read_small(path: str) -> bytes | None:
    """Return the whole of a /proc file, or None when the process is gone.

    One read may give no more than a page, however much is asked for.
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
    """The fields of /proc/PID/stat that we use; see proc_pid_stat(5)."""

    name: str
    state: str
    ppid: int
    started: int
    """Clock ticks after boot: with the pid, this names one process for good."""
    exit_code: int


def read_stat(pid: int) -> Stat | None:
    """Return the stat of a process or zombie, None when there is none."""
    text = read_small(f"/proc/{pid}/stat")
    if not text:
        return None
    # The name may hold blanks and parentheses; nothing behind the last one does.
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
    """Return pid → children for the whole machine, where there is no ``children`` file."""
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

    A child hangs on the thread that forked it. To look at first threads only is ten times
    cheaper for a server with a pool of threads, and enough for whoever forks as Apache does.
    A child whose parent ends while we read may be missed (proc_pid_task_children(5)); it is
    ours by then, and the next scan finds it.
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


def is_below_us(pid: int) -> bool:
    """Say whether a process is a descendant of this one."""
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

    One read tells that nobody has forked since the last look, which makes idling free. Where
    the file is made up (lxcfs), it does not move when we fork, and we scan every time.
    """
    text = read_small("/proc/loadavg")
    return text.split()[-1] if text else None


# --- how a process ended (all return a wait(2) status, or None) ----------------------------


def status_of_child(pid: int) -> int | None:
    """Collect our own child."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return status if done else None


def status_of_zombie(pid: int) -> int | None:
    """Read the status of somebody else's child before its parent collects it.

    Without the right to ptrace it (root in a container that lacks CAP_SYS_PTRACE, looking at
    www-data) the field reads 0, which is not an exit code: see exit_code in proc_pid_stat(5).
    """
    stat = read_stat(pid)
    if stat is None or stat.state not in "ZX":
        return None
    if stat.exit_code == 0:
        try:
            os.close(os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY))  # asks for the same right
        except OSError:
            return None
    return stat.exit_code


def status_after_reaping(pidfd: int) -> int | None:
    """Ask the kernel (Linux 6.15 or newer) once the parent has collected the process.

    PIDFD_GET_INFO with PIDFD_INFO_EXIT, in <linux/pidfd.h>: there only after reaping, for
    whoever has held the pidfd since before.
    """
    size, wanted, exit_code_at = 64, 1 << 3, 60
    request = (3 << 30) | (size << 16) | (0xFF << 8) | 11
    info = bytearray(size)
    struct.pack_into("=Q", info, 0, wanted)
    try:
        fcntl.ioctl(pidfd, request, info, True)
    except OSError:
        return None
    if not struct.unpack_from("=Q", info, 0)[0] & wanted:
        return None
    return int(struct.unpack_from("=i", info, exit_code_at)[0])


def is_collected(pidfd: int) -> bool:
    """Say whether an ended process is no longer even a zombie, so that its pid is free."""
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


# --- the command ---------------------------------------------------------------------------


def start_command(order: Order, environment: dict[str, str], files: tuple[int, int]) -> int:
    """Fork and exec the command in its own session; return its pid, or raise NotStarted.

    The death signal is a belt to the braces: it TERMs the command should the guard be killed.
    It is bound to the thread that forks (prctl(2)); the guard has only one.
    """
    guard = os.getpid()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            enter_command(guard, order, environment, files)
        except OSError as error:
            what = error.filename or order.command[0]
            os.write(tell, os.fsencode(f"{what}: {error.strerror}"))
        except Exception as error:
            os.write(tell, os.fsencode(f"{order.command[0]}: {error}"))
        finally:
            os._exit(127)
    os.close(tell)
    failure = os.read(told, 4096)  # nothing, once exec has closed the other side
    os.close(told)
    if failure:
        os.waitpid(pid, 0)
        raise NotStarted(os.fsdecode(failure))
    return pid


def enter_command(
    guard: int, order: Order, environment: dict[str, str], files: tuple[int, int]
) -> None:
    """In the child: leave the guard's session, undo what Python and we have set, and exec."""
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
    if order.cwd is not None:
        os.chdir(order.cwd)
    if order.core is not None:
        allow_cores(order.core)
    if order.cgroup is not None:
        write_to(f"{order.cgroup}/cgroup.procs", b"0")
    resource.setrlimit(resource.RLIMIT_NOFILE, files)
    program = None
    if order.user is not None:
        program = os.open(order.command[0], os.O_RDONLY | os.O_CLOEXEC)
        become(*order.user)
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # a change of user has cleared it
        if os.getppid() != guard:
            os._exit(127)
    try:
        os.execvpe(order.command[0], order.command, environment)
    except OSError as error:
        if program is not None and isinstance(error, PermissionError):
            # It may lie below a directory that this user can't enter. What is open needs no path.
            with contextlib.suppress(OSError):
                os.execve(program, order.command, environment)
        error.filename = None  # execvpe names the last directory of PATH that it tried
        raise


def become(uid: int, gid: int) -> None:
    """Become another user for good, with that group alone."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def allow_cores(largest: int) -> None:
    """Let this process and all that it starts leave core files of up to so many bytes.

    Without what is shared with other processes: the filter is that of core(5), private anonymous
    memory and the headers of ELF files, and both are inherited.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    soft = largest if hard == resource.RLIM_INFINITY else min(largest, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    write_to("/proc/self/coredump_filter", CORE_FILTER)


def write_to(path: str, content: bytes) -> None:
    """Write to a file of the kernel's, where it is there and lets us."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)


def most_files() -> int:
    """Return how many descriptors we may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def allow_files() -> tuple[int, int]:
    """Let the guard have as many descriptors as it may, one for each descendant; return the limits
    from before, which are the command's."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    return before


def go_first() -> None:
    """Overtake others, where we may (CAP_SYS_NICE): a status is best read before it is collected.

    Not by SCHED_RR: collecting a process makes the kernel wait, spinning, for dentries of its
    /proc directory that the dying are letting go of, and a real-time spin keeps them from it.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)


# --- the guard -----------------------------------------------------------------------------


@dataclass
class Guard:
    """The descendants of this process, what is known of them, and the file that tells it."""

    events: int
    cgroup: str | None = None
    control: int = 0
    watched: dict[int, Watched] = field(default_factory=dict)
    by_pidfd: dict[int, Watched] = field(default_factory=dict)
    unread: list[Watched] = field(default_factory=list)
    poller: select.poll = field(default_factory=select.poll)
    service: int = 0
    heard: bytes = b""
    killing: bool = False
    owner_gone_at: float | None = None
    ended_last_at: float = 0.0
    most_watched: int = field(default_factory=lambda: most_files() - SPARE)
    next_scan: float = 0.0
    next_full_scan: float = 0.0
    scanned_at: bytes | None = None
    fully_scanned_at: bytes | None = None
    sees_forks: bool = False
    pausing: bool = False
    """Whether our owner has paused the command."""
    resumed: bool = False
    """Whether it has been continued by our owner since that was last seen."""

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
        """Watch a new descendant and report its birth; None if it is gone already, or if there are
        more than we have descriptors for."""
        if len(self.watched) >= self.most_watched:
            return None
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return None
        stat = read_stat(pid)
        # The pid may have been freed and given to a stranger before we had hold of it.
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
        """Let go of a process that its parent has collected; its pid may be used again."""
        if self.watched.pop(watched.pid, None) is not None:
            os.close(watched.pidfd)

    def scan(self, every_thread: bool = True) -> list[int]:
        """Look for new descendants, and free the pids of the collected ones; return those that
        can't be watched."""
        for watched in list(self.watched.values()):
            if watched.reported and is_collected(watched.pidfd):
                self.forget(watched)
        found = [pid for pid in descendants(os.getpid(), every_thread) if pid not in self.watched]
        return [pid for pid in found if self.adopt(pid) is None]

    def scan_if_due(self) -> None:
        """Scan when it is time and somebody has forked, within our share of the processor."""
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

    def settle(self, pidfds: list[int]) -> None:
        """Read how these have ended, all of them first: their parents are about to collect."""
        now = self.ended_last_at = time.monotonic()
        ended = [self.by_pidfd.pop(pidfd) for pidfd in pidfds]
        statuses = [read_status(watched) for watched in ended]
        for watched, status in zip(ended, statuses, strict=True):
            self.poller.unregister(watched.pidfd)
            watched.ended_at = now
            stat = read_stat(watched.pid)
            if stat is not None:
                watched.name = stat.name  # at birth it may not have called exec yet
            if status is None:
                self.unread.append(watched)
            else:
                self.write_died(watched, status)

    def retry_unread(self) -> None:
        """Try again those whose status only their parent may read; give up in the end."""
        waiting, self.unread = self.unread, []
        for watched in waiting:
            # In this order: what is collected between two questions is known to the second.
            waited = time.monotonic() - (watched.ended_at or 0.0)
            last_try = is_collected(watched.pidfd) or waited > UNREADABLE_AFTER
            status = read_status(watched)
            if status is not None or last_try:
                self.write_died(watched, status)
            else:
                self.unread.append(watched)

    def collect(self) -> bool:
        """Collect our ended children, orphans included; False when nobody is left below us."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return False
            if ended is None:
                return True
            watched = self.watched.get(ended.si_pid) or self.adopt(ended.si_pid)
            if watched is not None and watched.pidfd in self.by_pidfd:
                self.settle([watched.pidfd])
            else:
                self.collect_late(ended.si_pid, watched)

    def collect_late(self, pid: int, watched: Watched | None) -> None:
        """Collect an orphan that had ended before it became ours, or was not watched."""
        self.ended_last_at = time.monotonic()
        status = status_of_child(pid)
        if watched is not None:
            if watched in self.unread:
                self.unread.remove(watched)
                self.write_died(watched, status)
            self.forget(watched)

    def note_pause(self) -> None:
        """Report that the command was stopped or continued (SIGSTOP, SIGCONT) by somebody else.

        Its parent can see that a pause is over, however short it was: waitid(2), ``WCONTINUED``.
        """
        options = os.WSTOPPED | os.WCONTINUED | os.WNOHANG
        try:
            told = os.waitid(os.P_PID, self.service, options)
        except ChildProcessError:
            return
        if told is None:
            return
        if told.si_code == os.CLD_CONTINUED:
            by_us, self.resumed = self.resumed, False
        else:
            by_us = self.pausing
        if not by_us:
            self.write("paused", pid=self.service)

    # what the owner wants

    def send(self, number: int, pids: list[int] | None = None) -> None:
        """Send a signal to these processes, or to every one that is alive."""
        for watched in list(self.by_pidfd.values()):
            if pids is None or watched.pid in pids:
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(watched.pidfd, number)

    def obey(self) -> None:
        """Read the control pipe: lines, or the end of our owner."""
        heard = os.read(self.control, 65536)
        if not heard:
            self.poller.unregister(self.control)
            self.owner_gone_at = time.monotonic()
            self.scan()
            self.send(signal.SIGTERM)
            return
        *lines, self.heard = (self.heard + heard).split(b"\n")
        for line in lines:
            if line == b"kill":
                self.killing = True
            elif line.startswith(b"signal "):
                number = int(line.split()[1])
                if number in (signal.SIGSTOP, signal.SIGCONT):
                    self.resumed = self.pausing and number == signal.SIGCONT
                    self.pausing = number == signal.SIGSTOP
                self.send(number, [self.service])

    def press_on(self) -> bool:
        """Do what is due to end everything; False when there is nothing more to be done."""
        if self.owner_gone_at is not None:
            now = time.monotonic()
            gone_for = now - self.owner_gone_at
            if gone_for > LONGEST or min(gone_for, now - self.ended_last_at) > GIVE_UP:
                return False
            self.killing = self.killing or gone_for > TERM_GRACE
        if self.killing:
            self.kill()
        return True

    def kill(self) -> None:
        """KILL everything below us that there is at this moment."""
        if self.cgroup is not None:
            write_to(f"{self.cgroup}/cgroup.kill", b"1")
        unwatched = self.scan()
        self.send(signal.SIGKILL)
        for pid in unwatched:
            kill_unwatched(pid)

    def patience(self) -> int:
        """Return the milliseconds to sleep in poll when nothing ends."""
        if self.killing or self.unread:
            return 5
        return max(1, round((self.next_scan - time.monotonic()) * 1000))

    def watch(self) -> None:
        """Watch until nobody is left below us."""
        self.poller.register(self.control, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in self.poller.poll(self.patience())]
            ended = [descriptor for descriptor in ready if descriptor in self.by_pidfd]
            if ended:
                self.settle(ended)
            if self.control in ready:
                self.obey()
            if self.unread:
                self.retry_unread()
            self.note_pause()
            if not self.collect():
                break
            if not self.press_on():
                return
            self.scan_if_due()
        for watched in self.unread:
            self.write_died(watched, read_status(watched))
        self.write("end")

    def kill_all(self) -> None:
        """KILL everything below us, come what may; for when the guard itself has failed."""
        until = time.monotonic() + GIVE_UP
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
    """KILL a descendant, unless its pid has become a stranger's meanwhile."""
    with contextlib.suppress(OSError):
        pidfd = os.pidfd_open(pid)
        try:
            if is_below_us(pid):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)


def read_status(watched: Watched) -> int | None:
    """Return how a process ended by the first way that knows, as a wait(2) status."""
    status = status_of_child(watched.pid)
    if status is None:
        status = status_of_zombie(watched.pid)
    if status is None:
        status = status_after_reaping(watched.pidfd)
    return status


def read_environment(control: int) -> tuple[dict[str, str], bytes] | None:
    """Return the environment and what came after it on the pipe; None if the owner is gone."""
    heard = b""
    while b"\n" not in heard:
        more = os.read(control, 65536)
        if not more:
            return None
        heard += more
    line, _, rest = heard.partition(b"\n")
    environment: dict[str, str] = json.loads(line)
    return environment, rest


def remove_directories(directories: list[str]) -> None:
    """Remove scratch space, twice where another guard's service was still writing into it."""
    for directory in directories * 2:
        remove_tree(directory)


def remove_tree(path: str) -> None:
    """Remove a directory and all that is in it, as far as that is possible; never raise OSError.

    Less trusted code may have filled it, and may still be at work there. So no link is followed,
    and a tree may be of any depth: what a directory in it holds is moved up to the top, where two
    descriptors and no recursion are enough.
    """
    with contextlib.suppress(OSError):
        top = os.open(path, TREE)
        try:
            until = time.monotonic() + REMOVAL_GIVE_UP
            while time.monotonic() < until:
                names = os.listdir(top)  # noqa: PTH208 - of a descriptor
                done = [remove_entry(top, name) for name in names]
                if not any(done):
                    break
        finally:
            os.close(top)
        os.rmdir(path)  # noqa: PTH106 - pathlib is slow to import


def remove_entry(top: int, name: str) -> bool:
    """Remove an entry of ``top``, or move up what it holds; return whether anything was done."""
    try:
        return unlinked(name, top)
    except IsADirectoryError:
        pass
    done = False
    with contextlib.suppress(OSError):
        directory = open_tree(name, top)
        try:
            for inner in os.listdir(directory):  # noqa: PTH208 - of a descriptor
                done |= emptied(inner, directory, top)
        finally:
            os.close(directory)
        os.rmdir(name, dir_fd=top)
        done = True
    return done


def unlinked(name: str, directory: int) -> bool:
    """Remove a file or a link; return whether that went well. Raises IsADirectoryError."""
    try:
        os.unlink(name, dir_fd=directory)
    except IsADirectoryError:
        raise
    except OSError:
        return False
    return True


def emptied(name: str, directory: int, top: int) -> bool:
    """Remove an entry of ``directory``, or move it up if it is a directory."""
    try:
        return unlinked(name, directory)
    except IsADirectoryError:
        pass
    try:
        os.close(open_tree(name, directory))  # who moves it has to be able to write it
        moved = f".{os.getpid()}.{time.monotonic_ns()}"
        os.rename(name, moved, src_dir_fd=directory, dst_dir_fd=top)
    except OSError:
        return False
    return True


def open_tree(name: str, within: int) -> int:
    """Open a directory for removal; one that is ours may have been closed to us."""
    held = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
    try:
        if os.fstat(held).st_mode & 0o700 != 0o700:
            with contextlib.suppress(OSError):
                os.chmod(f"/proc/self/fd/{held}", 0o700)  # noqa: PTH101 - as above
        return os.open(f"/proc/self/fd/{held}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(held)


def guard_command(order: Order, events: int) -> bool:
    """Start the command and watch it to the end; return whether the owner is gone."""
    files = allow_files()
    guard = Guard(events, order.cgroup)
    received = read_environment(guard.control)
    if received is None:
        return True
    environment, guard.heard = received
    before = last_pid()
    try:
        guard.service = start_command(order, environment, files)
    except NotStarted as error:
        guard.write("failed", error=str(error))
        return False
    try:
        go_first()  # only now: the command must not inherit it
        guard.sees_forks = last_pid() not in (before, None)
        guard.adopt(guard.service)
        guard.watch()
    except BaseException:
        guard.kill_all()
        raise
    return guard.owner_gone_at is not None


def main(arguments: list[str]) -> None:
    """Guard one command; our owner's end is the only order to stop that we take."""
    order = parse_order(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    if os.getsid(0) != os.getpid():
        os.setsid()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    if order.lock is not None:
        os.set_inheritable(order.lock, False)
    events = os.open(order.events, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    owner_gone = guard_command(order, events)
    if order.cgroup is not None:
        # Ours, and that of the run if this was its last one; an owner that lives does it itself.
        with contextlib.suppress(OSError):
            os.rmdir(order.cgroup)  # noqa: PTH106 - pathlib is slow to import
            if owner_gone:
                os.rmdir(order.cgroup.rpartition("/")[0])  # noqa: PTH106
    if owner_gone:
        remove_directories(order.remove)


if __name__ == "__main__":
    main(sys.argv[1:])
