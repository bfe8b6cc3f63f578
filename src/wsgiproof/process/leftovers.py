"""Remove the processes and directories of a run with the run, or with the next one.

Nothing may outlive a run, whichever of its processes is killed:

* *wsgiproof is killed*: each guard (:mod:`wsgiproof.process.guard`) sees the end of its pipe, ends
  all processes below it and removes the scratch directories of its service.
* *A guard is killed*: wsgiproof ends the processes that were below it. With a control group
  (:mod:`wsgiproof.process.cgroups`) that is reliable: the kernel kills every process in the group.
  Without one, those processes become children of wsgiproof, which is a child subreaper (prctl(2)).
  It KILLs each child that it has not started itself, and each process with the marker of the
  service in its environment.
* *Both are killed*: the next command that starts something does the same for the dead run. Without
  a control group, it finds processes only by the marker, so it does not find a process that has
  replaced its whole environment.

Each run has a file in a directory that only this user can write to. The file is locked (flock(2))
as long as wsgiproof, a worker or a guard of the run lives; so a file whose lock is free belongs to
a dead run. No process ever waits for that lock. The file names the marker, the control group, and
each scratch directory with its device and inode: another directory with the same name is left
alone.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import secrets
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wsgiproof.errors import CannotRun, describe
from wsgiproof.files import Directory, cache_root, read_at_most, temporary_root
from wsgiproof.ownership import replaceable_directory
from wsgiproof.process.cgroups import PREFIX as GROUP_PREFIX
from wsgiproof.process.cgroups import end_group, kill_group, make_group, remove_abandoned_groups
from wsgiproof.process.guard.kernel import PR_SET_CHILD_SUBREAPER, prctl
from wsgiproof.process.guard.proc import read_small, read_stat
from wsgiproof.process.guard.removal import remove_tree
from wsgiproof.process.spawn import MARKER, join_run, run_name, unknown_children

PREFIX = "wsgiproof-"
"""The prefix of the names of scratch directories."""
_SUFFIX, _DRAFT = ".run", ".new"
_LARGEST = 16 << 20
"""Bytes of a run's file; a scratch directory takes 150."""
_DRAFT_IS_OLD = 60.0
_KILL_SECONDS = 5.0
"""Seconds for KILLed processes to end."""


class RunRegistration:
    """The file of this process's run, and the resources that end with the run."""

    def __init__(self) -> None:
        self.lock: int | None = None
        """The locked descriptor, which guards and workers inherit; None if there is no directory
        for the file."""
        self.group: Path | None = None
        """The control group of the run, which contains those of its services."""
        self.home: Path | None = None
        """The directory of its file."""
        self._owner = os.getpid()
        self._services = 0
        self._counting = threading.Lock()

    def begin(self) -> None:
        """Clean up after dead runs, and register this one."""
        for path in _run_lists():
            clean_up(path)
        remove_abandoned_groups()
        self.group = make_group(f"{GROUP_PREFIX}{run_name()}")
        for path in _run_lists():
            with suppress(OSError), _opened(path, make=True) as directory:
                self.lock = self._register(directory)
                self.home = path
                return

    def join(self, lock: int | None, group: Path | None) -> None:
        """Join a run as a worker. The process that began the run cleans up its file and group."""
        self.lock, self.group, self._owner = lock, group, 0

    def _register(self, directory: Directory) -> int:
        name = run_name()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(name + _DRAFT, flags, 0o600, dir_fd=directory.fd)
        # Locked before it gets its name: a file without a lock belongs to a dead run.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _append(file, {"run": name, "pid": os.getpid(), "group": str(self.group or "")})
        os.rename(name + _DRAFT, name + _SUFFIX, src_dir_fd=directory.fd, dst_dir_fd=directory.fd)
        return file

    def new_service(self) -> tuple[str, Path | None]:
        """Return a new marker for a service, and a control group for it if one can be made."""
        with self._counting:
            self._services += 1
            marker = f"{run_name()}.{os.getpid()}-{self._services}"
        group = self.group and make_group(marker.partition(".")[2], self.group)
        return marker, group

    def announce_directory(self, directory: Path) -> None:
        """Register that a scratch directory is about to be made."""
        if self.lock is not None:
            _append(self.lock, {"directory": str(directory)})

    def add_directory(self, directory: Path) -> None:
        """Register a scratch directory, to be removed with the run."""
        if self.lock is not None:
            status = directory.lstat()
            identity = {"device": status.st_dev, "inode": status.st_ino}
            _append(self.lock, {"directory": str(directory), **identity})

    def forget_directory(self, directory: Path) -> None:
        """Register that a scratch directory has been removed."""
        if self.lock is not None:
            _append(self.lock, {"gone": str(directory)})

    def end(self) -> None:
        """End and remove everything that is left of the run. Does nothing in a worker or a fork.

        If something can't be removed (the disk is read-only now), the next run tries again.
        """
        if self._owner != os.getpid():
            return
        self._owner = 0
        gone = end_marked(run_name(), _KILL_SECONDS)
        if self.group is not None:
            gone = end_group(self.group, _KILL_SECONDS) and gone
        if self.home is not None and self.lock is not None:
            with suppress(OSError), _opened(self.home) as directory:
                for entry in _read(self.lock):
                    gone = _remove(entry) and gone
                if gone:
                    directory.remove(run_name() + _SUFFIX)
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None


_current: RunRegistration | None = None
_beginning = threading.Lock()
_is_reaper = False


def current_run() -> RunRegistration:
    """Return the run of this process; it begins with the first call."""
    global _current
    with _beginning:
        if _current is None:
            _current = RunRegistration()
            atexit.register(end_run)
            _current.begin()
    return _current


def join_current(name: str, lock: int | None, group: Path | None) -> None:
    """Make this process a worker of the run ``name``."""
    global _current
    join_run(name)
    _current = RunRegistration()
    _current.join(lock, group)


def end_run() -> None:
    """End what is left of the run of this process, if one has begun."""
    if _current is not None:
        _current.end()


def become_reaper() -> None:
    """Make this process the parent of the orphans of killed guards. It then KILLs each child that
    :mod:`wsgiproof.process.spawn` did not start, so call this only in a process of wsgiproof
    itself."""
    global _is_reaper
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    _is_reaper = True


def describe_cleanup() -> str:
    """Describe how the processes of a run are ended on this machine, and where runs are listed."""
    run = current_run()
    how = (
        "a guard and a control group for each service"
        if run.group is not None
        else "a guard for each service (no control group can be made here, so a process may "
        "outlive a killed guard)"
    )
    if run.home is None:
        return f"{how}; a killed run is not cleaned up: there is no directory for the list of runs"
    return f"{how}; runs to clean up are listed in {run.home}"


# --- directories ---------------------------------------------------------------------------


def safe_parent() -> Path:
    """Return the directory in which scratch directories are made (TMPDIR).

    Raises :class:`CannotRun` if other users could replace files there.
    """
    try:
        parent = temporary_root().resolve()
        unsafe = replaceable_directory(parent)
    except OSError as error:
        raise CannotRun(f"no scratch directory can be made: {describe(error)}") from error
    if unsafe:
        raise CannotRun(
            f"{unsafe} belongs to another user, or is writable by others and is not sticky, so "
            "others could replace files there: point TMPDIR at another directory, such as /tmp"
        )
    return parent


def new_directory(parent: Path | None = None) -> Path:
    """Make a new directory in ``parent`` (TMPDIR), mode 0700. It is removed at the end of the run
    at the latest.

    Raises :class:`CannotRun` if no safe directory can be made.
    """
    run, parent = current_run(), parent or safe_parent()
    directory = parent / f"{PREFIX}{secrets.token_urlsafe(6)}"
    # Whatever ends or interrupts this process in between, the list of runs has the name.
    run.announce_directory(directory)
    try:
        directory.mkdir(mode=0o700)
    except OSError as error:
        run.forget_directory(directory)
        raise CannotRun(f"no scratch directory can be made: {describe(error)}") from error
    run.add_directory(directory)
    return directory


def remove_directory(directory: Path) -> None:
    """Remove such a directory. Follows no link in it, and never raises."""
    remove_tree(str(directory))
    if not directory.exists():
        current_run().forget_directory(directory)


@contextmanager
def temporary_directory(parent: Path | None = None) -> Iterator[Path]:
    """Make such a directory, and remove it with the context."""
    directory = new_directory(parent)
    try:
        yield directory
    finally:
        remove_directory(directory)


# --- processes -----------------------------------------------------------------------------


def end_marked(name: str, seconds: float) -> bool:
    """KILL all processes with this marker or one below it, and all orphans that became children of
    this process; return whether they are gone within ``seconds``."""
    return _kill_until_gone(lambda: _kill_marked(name), seconds)


def end_service(marker: str, group: Path | None, seconds: float) -> bool:
    """Do the same for a service whose guard is gone, and for its control group."""

    def kill() -> int:
        if group is not None:
            kill_group(group)
        return _kill_marked(marker)

    gone = _kill_until_gone(kill, seconds)
    return gone and (group is None or end_group(group, seconds))


def await_orphans(seconds: float) -> None:
    """Wait up to ``seconds`` for the guards of a killed worker, which are orphans now, to end their
    services."""
    until = time.monotonic() + seconds
    while _is_reaper and unknown_children() and time.monotonic() < until:
        _reap()
        time.sleep(0.02)


def _kill_until_gone(kill: Callable[[], int], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while kill():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def _kill_marked(name: str) -> int:
    """KILL each such process once; return how many there were."""
    marked = [pid for pid in _pids() if pid != os.getpid() and _has_marker(pid, name)]
    killed = sum(_kill_if(pid, lambda pid: _has_marker(pid, name)) for pid in marked)
    if _is_reaper:
        _reap()
        # A child keeps its pid until it is reaped, and only this process reaps it.
        killed += sum(_kill_if(pid, lambda _: True) for pid in unknown_children())
    return killed


def _kill_if(pid: int, matches: Callable[[int], bool]) -> bool:
    """KILL a process if it is alive, matches, and its pid has not been reused meanwhile."""
    before = read_stat(pid)
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        now = read_stat(pid)
        same = before is not None and now is not None and before.started == now.started
        if not same or now is None or now.state in "ZX" or not matches(pid):
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:  # it has ended, or belongs to another user
        return False
    finally:
        os.close(pidfd)
    return True


def _reap() -> None:
    """Reap the orphans that have ended."""
    for pid in unknown_children():
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _has_marker(pid: int, name: str) -> bool:
    """Whether the initial environment of a process names this run, or this service."""
    marker = f"{MARKER}={name}".encode()
    for setting in (read_small(f"/proc/{pid}/environ") or b"").split(b"\0"):
        if setting == marker or setting.startswith(marker + b"."):
            return True
    return False


# --- dead runs -----------------------------------------------------------------------------


def clean_up(path: Path) -> None:
    """End and remove what the dead runs in this list of runs have left.

    Never waits for a lock, and never raises: what can't be removed is left to the next run.
    """
    with suppress(OSError), _opened(path) as directory:
        for name in directory.names(f"*{_SUFFIX}"):
            with suppress(OSError):
                _clean_up_run(directory, name)
        for name in directory.names(f"*{_DRAFT}"):
            with suppress(OSError):
                _remove_old_draft(directory, name)


def _clean_up_run(directory: Directory, name: str) -> None:
    file = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                   dir_fd=directory.fd)  # fmt: skip
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        entries = _read(file)
        dead = name.removesuffix(_SUFFIX)
        gone = end_marked(dead, _KILL_SECONDS)
        for entry in entries:
            group = Path(str(entry.get("group", "")))
            if group.name == f"{GROUP_PREFIX}{dead}":
                gone = end_group(group, _KILL_SECONDS) and gone
            gone = _remove(entry) and gone
        if gone:
            directory.remove(name)
    finally:
        os.close(file)


def _remove_old_draft(directory: Directory, name: str) -> None:
    """Remove the draft of a run that was killed before it renamed its file; it has started
    nothing."""
    status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    if time.time() - status.st_mtime > _DRAFT_IS_OLD:
        directory.remove(name)


def _read(file: int) -> list[dict[str, Any]]:
    """Return the entries of a run's file, without the directories that were removed."""
    with open(os.dup(file), "rb") as content:  # noqa: PTH123 - of a descriptor
        content.seek(0)
        lines = read_at_most(content, _LARGEST).split(b"\n")[:-1]  # the last may be half a line
    entries: dict[str, dict[str, Any]] = {}
    for line in lines:
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                entries[str(entry.get("directory") or entry.get("gone") or "run")] = entry
    return [entry for entry in entries.values() if "gone" not in entry]


def _remove(entry: dict[str, Any]) -> bool:
    """Remove a scratch directory, unless another one has its name now; return whether it is
    gone. One that was only announced is removed if it is empty: nothing was put into it."""
    path = str(entry.get("directory", ""))
    if not path:
        return True
    try:
        status = os.lstat(path)
    except (OSError, ValueError):  # a NUL in it
        return True
    if status.st_uid != os.geteuid():
        return True
    if "inode" not in entry:
        with suppress(OSError):
            Path(path).rmdir()
        return True
    if (status.st_dev, status.st_ino) != (entry.get("device"), entry.get("inode")):
        return True
    remove_tree(path)
    return not os.path.lexists(path)


def _append(file: int, entry: dict[str, object]) -> None:
    """Append an entry; on a full disk the entry is lost, but the run goes on."""
    with suppress(OSError):
        os.write(file, json.dumps(entry).encode() + b"\n")


# --- the list of runs ----------------------------------------------------------------------


def _run_lists() -> list[Path]:
    """Return possible directories for the list of runs, best first: those that are emptied at
    boot."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    directories = [
        *([Path(runtime) / "wsgiproof"] if _belongs_to_us(runtime) else []),
        *([Path("/run/wsgiproof")] if os.geteuid() == 0 else []),
        cache_root() / "runs",
    ]
    return list(dict.fromkeys(directories))


def _belongs_to_us(directory: str) -> bool:
    """Whether this user owns a directory; with sudo, XDG_RUNTIME_DIR may be that of another
    user."""
    try:
        return Path(directory).is_absolute() and Path(directory).stat().st_uid == os.geteuid()
    except OSError:
        return False


@contextmanager
def _opened(path: Path, *, make: bool = False) -> Iterator[Directory]:
    """Open a directory of this user. Raises OSError if other users may read or write it."""
    if make:
        if not path.parent.exists():  # the cache
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(0o755)
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
    with Directory(path) as directory:
        status = os.fstat(directory.fd)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise PermissionError(f"{path} is accessible to other users")
        yield directory
