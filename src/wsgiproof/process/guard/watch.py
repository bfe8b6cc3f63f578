"""Watches every descendant of a guard, and ends them all when the owner has ended."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import sys
import time
from dataclasses import dataclass, field

from wsgiproof.process.guard.kernel import write_to
from wsgiproof.process.guard.proc import descendants, is_descendant, last_pid, read_stat
from wsgiproof.process.guard.statuses import is_reaped, read_status, status_of_child

CONTROL = 0
"""The descriptor of the control pipe."""
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
UNREADABLE_AFTER = 1.0
"""Seconds to wait for a status that can't be read before the parent has reaped the process."""


@dataclass
class Watched:
    """A descendant: alive, or ended and not yet reaped by its parent."""

    pid: int
    name: str
    pidfd: int
    ended_at: float | None = None
    reported: bool = False


@dataclass
class Guard:
    """The descendants of this process, their states, and the events file."""

    events: int
    cgroup: str | None
    received: bytes
    """What the owner has said and is not a whole line yet."""
    watched: dict[int, Watched] = field(default_factory=dict)
    by_pidfd: dict[int, Watched] = field(default_factory=dict)
    unread: list[Watched] = field(default_factory=list)
    service_ended: tuple[Watched, int | None] | None = None
    """The death of the service, which is reported after all that were seen before it."""
    poller: select.poll = field(default_factory=select.poll)
    service: int = 0
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

    def ended(self, ready: list[tuple[int, int]]) -> list[int]:
        """Return the pidfds of ended processes among what is ready."""
        return [descriptor for descriptor, _ in ready if descriptor in self.by_pidfd]

    def read_deaths(self, pidfds: list[int]) -> None:
        """Read the statuses of ended processes; all of them first, since their parents are about to
        reap them."""
        now = self.ended_last_at = time.monotonic()
        ended = [self.by_pidfd.pop(pidfd) for pidfd in pidfds]
        statuses = [read_status(watched.pid, watched.pidfd) for watched in ended]
        for watched, status in zip(ended, statuses, strict=True):
            self.poller.unregister(watched.pidfd)
            watched.ended_at = now
            stat = read_stat(watched.pid)
            if stat is not None:
                watched.name = stat.name  # it may not have called exec yet when it was born
            if status is None:
                self.unread.append(watched)
            elif watched.pid == self.service:
                self.service_ended = (watched, status)
            else:
                self.write_died(watched, status)

    def write_service_ended(self) -> None:
        """Report the death of the service, after those that are unread: whoever waits for it knows
        then how the others ended."""
        if self.service_ended is not None and not self.unread:
            self.write_died(*self.service_ended)
            self.service_ended = None

    def retry_unread(self) -> None:
        """Try again to read statuses that only the parent may read; give up after a while."""
        waiting, self.unread = self.unread, []
        for watched in waiting:
            # In this order, since a status may become readable when the process is reaped.
            waited = time.monotonic() - (watched.ended_at or 0.0)
            last_try = is_reaped(watched.pidfd) or waited > UNREADABLE_AFTER
            status = read_status(watched.pid, watched.pidfd)
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
                # With those that ended before it, but after the poll.
                self.read_deaths(self.ended(self.poller.poll(0)) or [watched.pidfd])
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
        data = os.read(CONTROL, 65536)
        if not data:
            self.poller.unregister(CONTROL)
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
        self.poller.register(CONTROL, select.POLLIN)
        while True:
            ready = self.poller.poll(self.poll_timeout())
            if ended := self.ended(ready):
                self.read_deaths(ended)
            if any(descriptor == CONTROL for descriptor, _ in ready):
                self.read_control()
            if self.unread:
                self.retry_unread()
            self.note_pause()
            if not self.reap():
                break
            self.write_service_ended()
            if not self.end_if_due():
                return
            self.scan_if_due()
        unread, self.unread = self.unread, []
        for watched in unread:
            self.write_died(watched, read_status(watched.pid, watched.pidfd))
        self.write_service_ended()
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


def max_descriptors() -> int:
    """Return the descriptor limit of the guard."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
