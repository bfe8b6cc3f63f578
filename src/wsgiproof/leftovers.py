"""What a run has started and made, so that it goes with the run, or else with the next one.

Nothing may outlive us, whoever of us is killed. What each step makes sure of:

* *wsgiproof is killed*: each guard (:mod:`wsgiproof.guard`) sees its pipe end, ends what is below
  it and removes the scratch directories of its service.
* *A guard is killed*: wsgiproof ends what was below it. With a control group of the service
  (:mod:`wsgiproof.cgroups`) that is certain: the kernel kills all that is in it. Without one, those
  processes come to wsgiproof, a child subreaper (prctl(2)), which KILLs each child that it has not
  started itself, and each process with the marker of the service in its environment.
* *Both are killed*: the next command that starts something does the same for the dead run. With no
  control group, it finds processes by the marker alone: one that has replaced its whole
  environment is not found then.

A run that may have left something is known by a file of it, in a directory that only this user can
write to. It is locked (flock(2)) for as long as wsgiproof, a worker or a guard of the run lives; so
a file whose lock is free is that of a dead run. Nobody ever waits for that lock. The file names the
marker, the control group and each scratch directory with its device and inode: a directory of the
same name that is another one is left alone.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import signal
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wsgiproof import limits
from wsgiproof.cache import default_root
from wsgiproof.cgroups import PREFIX as GROUP_PREFIX
from wsgiproof.cgroups import end_group, kill_group, make_group, remove_forgotten
from wsgiproof.errors import CannotRun
from wsgiproof.files import Directory, read_at_most, temporary_root
from wsgiproof.guard import (
    PR_SET_CHILD_SUBREAPER,
    prctl,
    read_small,
    read_stat,
    remove_tree,
)
from wsgiproof.ownership import who_may_replace
from wsgiproof.signals import held
from wsgiproof.spawn import MARKER, join_run, run_name, unknown_children

PREFIX = "wsgiproof-"
"""Of the names of scratch directories."""
_SUFFIX, _DRAFT = ".run", ".new"
_LARGEST = 16 << 20
"""Bytes of a run's file; a scratch directory takes 150."""
_DRAFT_IS_OLD = 60.0
_END = 5.0
"""Seconds that KILLed processes get to go."""


class Run:
    """The file of this process's run, and what goes with the run."""

    def __init__(self) -> None:
        self.lock: int | None = None
        """The locked descriptor, for guards and workers to inherit; None: no place for a file."""
        self.group: Path | None = None
        """The control group of the run, which those of its services are below."""
        self.home: Path | None = None
        """The directory of its file."""
        self._owner = os.getpid()
        self._services = 0
        self._counting = threading.Lock()

    def begin(self) -> None:
        """Clear what dead runs have left, and be known from now on."""
        for place in _places():
            clear(place)
        remove_forgotten()
        self.group = make_group(f"{GROUP_PREFIX}{run_name()}")
        for place in _places():
            with suppress(OSError), _opened(place, make=True) as directory:
                self.lock = self._register(directory)
                self.home = place
                return

    def join(self, lock: int | None, group: Path | None) -> None:
        """Be a worker of this run, whose file and group the process that began it clears away."""
        self.lock, self.group, self._owner = lock, group, 0

    def _register(self, directory: Directory) -> int:
        name = run_name()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(name + _DRAFT, flags, 0o600, dir_fd=directory.fd)
        # Locked before it has its name: a file without a lock is that of a dead run.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _append(file, {"run": name, "pid": os.getpid(), "group": str(self.group or "")})
        os.rename(name + _DRAFT, name + _SUFFIX, src_dir_fd=directory.fd, dst_dir_fd=directory.fd)
        return file

    def new_service(self) -> tuple[str, Path | None]:
        """The marker of another service, and a control group for it where there may be one."""
        with self._counting:
            self._services += 1
            marker = f"{run_name()}.{os.getpid()}-{self._services}"
        group = self.group and make_group(marker.partition(".")[2], self.group)
        return marker, group

    def note(self, directory: Path) -> None:
        """Have a scratch directory removed with the run."""
        if self.lock is not None:
            status = directory.lstat()
            identity = {"device": status.st_dev, "inode": status.st_ino}
            _append(self.lock, {"directory": str(directory), **identity})

    def forget(self, directory: Path) -> None:
        """It has been removed."""
        if self.lock is not None:
            _append(self.lock, {"gone": str(directory)})

    def end(self) -> None:
        """End and remove all that is left of the run; nothing, in a worker or a fork.

        Where something can't be (a disk is read-only now), the next start tries again.
        """
        if self._owner != os.getpid():
            return
        self._owner = 0
        gone = end_marked(run_name(), _END)
        if self.group is not None:
            gone = end_group(self.group, _END) and gone
        if self.home is not None and self.lock is not None:
            with suppress(OSError), _opened(self.home) as directory:
                for one in _read(self.lock):
                    gone = _remove(one) and gone
                if gone:
                    directory.remove(run_name() + _SUFFIX)
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None


_current: Run | None = None
_beginning = threading.Lock()
_is_reaper = False


def current_run() -> Run:
    """The run of this process, begun when it is first asked for."""
    global _current
    with _beginning:
        if _current is None:
            _current = Run()
            atexit.register(end_run)
            _current.begin()
    return _current


def join_current(name: str, lock: int | None, group: Path | None) -> None:
    """Be a worker of the run ``name``."""
    global _current
    join_run(name)
    _current = Run()
    _current.join(lock, group)


def end_run() -> None:
    """End what is left of the run of this process, if one has begun."""
    if _current is not None:
        _current.end()


def become_reaper() -> None:
    """Have the orphans of killed guards come to this process, which then may KILL each child that
    :mod:`wsgiproof.spawn` did not start: only for a process that is wsgiproof alone."""
    global _is_reaper
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    _is_reaper = True


def how_processes_end() -> str:
    """What ends here whatever a run has started, in words, and where runs are listed."""
    run = current_run()
    how = (
        "a guard and a control group for each service"
        if run.group is not None
        else "a guard for each service (no control group can be made here, which would end what "
        "a killed guard leaves for certain)"
    )
    if run.home is None:
        return f"{how}; what a killed run leaves is not found: no directory for a list of runs"
    return f"{how}; what a killed run leaves is listed in {run.home}"


# --- directories ---------------------------------------------------------------------------


def safe_parent() -> Path:
    """Where scratch directories are made (TMPDIR).

    Raises :class:`CannotRun` if others could replace what is put there.
    """
    try:
        parent = temporary_root().resolve()
        doubtful = who_may_replace(parent)
    except OSError as error:
        reached = limits.explain(error)
        raise CannotRun(f"no scratch directory can be made: {reached or error}") from error
    if doubtful:
        raise CannotRun(
            f"{doubtful} belongs to another user, or may be written by others and is not sticky: "
            "what is put there is not safe; point TMPDIR at another directory, such as /tmp"
        )
    return parent


def new_directory() -> Path:
    """A new directory, mode 0700, in TMPDIR; the run's end removes it if nobody has before.

    Raises :class:`CannotRun` if there can be none that is safe.
    """
    run, parent = current_run(), safe_parent()
    with held():  # Ctrl-C between the two would leave a directory that nobody knows
        try:
            directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        except OSError as error:
            reached = limits.explain(error)
            raise CannotRun(f"no scratch directory can be made: {reached or error}") from error
        run.note(directory)
    return directory


def remove_directory(directory: Path) -> None:
    """Remove one of those; no link in it is followed, and nothing is raised."""
    remove_tree(str(directory))
    if not directory.exists():
        current_run().forget(directory)


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """One of those, removed with the context."""
    directory = new_directory()
    try:
        yield directory
    finally:
        remove_directory(directory)


# --- processes -----------------------------------------------------------------------------


def end_marked(name: str, seconds: float) -> bool:
    """KILL all processes with this marker or one below it, and all orphans that came to us; return
    whether they are gone within so many seconds."""
    return _until_gone(lambda: _kill_marked(name), seconds)


def end_service(marker: str, group: Path | None, seconds: float) -> bool:
    """The same for a service whose guard is gone, which may have had a control group."""

    def kill() -> int:
        if group is not None:
            kill_group(group)
        return _kill_marked(marker)

    gone = _until_gone(kill, seconds)
    return gone and (group is None or end_group(group, seconds))


def settle(seconds: float) -> None:
    """Give the guards of a killed worker, orphans by now, so long to end their services."""
    until = time.monotonic() + seconds
    while _is_reaper and unknown_children() and time.monotonic() < until:
        _reap()
        time.sleep(0.02)


def _until_gone(kill: Callable[[], int], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while kill():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def _kill_marked(name: str) -> int:
    """KILL once all that there are; return how many."""
    marked = [pid for pid in _pids() if pid != os.getpid() and _has_marker(pid, name)]
    killed = sum(_kill_if(pid, lambda pid: _has_marker(pid, name)) for pid in marked)
    if _is_reaper:
        _reap()
        # A child of ours keeps its pid until we collect it, and only this process does.
        killed += sum(_kill_if(pid, lambda _: True) for pid in unknown_children())
    return killed


def _kill_if(pid: int, is_it: Callable[[int], bool]) -> bool:
    """KILL a process that is still the one that was seen, and alive."""
    before = read_stat(pid)
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        now = read_stat(pid)
        same = before is not None and now is not None and before.started == now.started
        if not same or now is None or now.state in "ZX" or not is_it(pid):
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:  # it has gone, or is another user's
        return False
    finally:
        os.close(pidfd)
    return True


def _reap() -> None:
    """Collect the orphans that have ended."""
    for pid in unknown_children():
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _has_marker(pid: int, name: str) -> bool:
    """Whether the environment that a process was started with names this run, or service."""
    wanted = f"{MARKER}={name}".encode()
    for setting in (read_small(f"/proc/{pid}/environ") or b"").split(b"\0"):
        if setting == wanted or setting.startswith(wanted + b"."):
            return True
    return False


# --- dead runs -----------------------------------------------------------------------------


def clear(place: Path) -> None:
    """End and remove what runs have left whose files are in this directory and whose lock is
    free. Never waits for a lock, and never raises: what can't be cleared is left to the next."""
    with suppress(OSError), _opened(place) as directory:
        for name in directory.names(f"*{_SUFFIX}"):
            with suppress(OSError):
                _clear_one(directory, name)
        for name in directory.names(f"*{_DRAFT}"):
            with suppress(OSError):
                _clear_draft(directory, name)


def _clear_one(directory: Directory, name: str) -> None:
    file = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                   dir_fd=directory.fd)  # fmt: skip
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        told = _read(file)
        dead = name.removesuffix(_SUFFIX)
        gone = end_marked(dead, _END)
        for one in told:
            group = Path(str(one.get("group", "")))
            if group.name == f"{GROUP_PREFIX}{dead}":
                gone = end_group(group, _END) and gone
            gone = _remove(one) and gone
        if gone:
            directory.remove(name)
    finally:
        os.close(file)


def _clear_draft(directory: Directory, name: str) -> None:
    """One that was killed between making its file and naming it; it has started nothing."""
    status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    if time.time() - status.st_mtime > _DRAFT_IS_OLD:
        directory.remove(name)


def _read(file: int) -> list[dict[str, Any]]:
    """What a run's file tells, without the directories that were removed."""
    with open(os.dup(file), "rb") as content:  # noqa: PTH123 - of a descriptor
        content.seek(0)
        lines = read_at_most(content, _LARGEST).split(b"\n")[:-1]  # the last may be half a line
    told: dict[str, dict[str, Any]] = {}
    for line in lines:
        with suppress(ValueError):
            one = json.loads(line)
            if isinstance(one, dict):
                told[str(one.get("directory") or one.get("gone") or "run")] = one
    return [one for one in told.values() if "gone" not in one]


def _remove(one: dict[str, Any]) -> bool:
    """Remove a scratch directory, unless another has its name now; return whether it is gone."""
    path = str(one.get("directory", ""))
    if not path:
        return True
    try:
        status = os.lstat(path)
    except (OSError, ValueError):  # a NUL in it
        return True
    same = (status.st_dev, status.st_ino) == (one.get("device"), one.get("inode"))
    if not same or status.st_uid != os.geteuid():
        return True
    remove_tree(path)
    return not os.path.lexists(path)


def _append(file: int, what: dict[str, object]) -> None:
    """A full disk costs the note, and not the run."""
    with suppress(OSError):
        os.write(file, json.dumps(what).encode() + b"\n")


# --- where the files are -------------------------------------------------------------------


def _places() -> list[Path]:
    """Where they may be, best first: a directory that goes with the next start of the machine."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    usual = Path("/run") if os.geteuid() == 0 else None
    found = [
        *([Path(runtime) / "wsgiproof"] if _is_ours(runtime) else []),
        *([usual / "wsgiproof"] if usual else []),
        default_root() / "runs",
    ]
    return list(dict.fromkeys(found))


def _is_ours(directory: str) -> bool:
    """Another user's may be in our environment by way of sudo."""
    try:
        return Path(directory).is_absolute() and Path(directory).stat().st_uid == os.geteuid()
    except OSError:
        return False


@contextmanager
def _opened(place: Path, *, make: bool = False) -> Iterator[Directory]:
    """The directory, if it is ours and only we can read and write in it. Raises OSError if not."""
    if make:
        if not place.parent.exists():  # the cache
            place.parent.mkdir(parents=True, exist_ok=True)
            place.parent.chmod(0o755)
        with suppress(FileExistsError):
            place.mkdir(mode=0o700)
    with Directory(place) as directory:
        status = os.fstat(directory.fd)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise PermissionError(f"{place} is not this user's alone")
        yield directory
