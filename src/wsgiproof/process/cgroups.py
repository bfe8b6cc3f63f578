"""Control groups (version 2) for services: all processes in a group can be killed reliably at once.

See "Control Group v2" in the kernel's documentation: a process starts in the group of its parent,
and cannot leave it without write permission; ``cgroup.kill`` (Linux 5.14) kills every process in a
group and below it, including those being forked at that moment. It needs no controllers.

Root can make groups, and so can a user to whom a group is delegated (systemd does that for user
sessions). Most containers do not allow it, since the hierarchy is read-only there.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PREFIX = "wsgiproof-"
_ABANDONED_AFTER = 3600.0
"""Seconds without a change after which an empty group does not belong to a run that is just
starting."""


def make_group(name: str, parent: Path | None = None) -> Path | None:
    """Make a group below ``parent``, by default below that of this process; None if that fails."""
    above = parent or _current_group()
    if above is None:
        return None
    group = above / name
    try:
        group.mkdir()
    except OSError:
        return None
    if not (group / "cgroup.kill").exists() or not os.access(above / "cgroup.procs", os.W_OK):
        with suppress(OSError):
            group.rmdir()
        return None
    return group


def kill_group(group: Path) -> None:
    """KILL every process in a group; the group may be gone already."""
    with suppress(OSError):
        descriptor = os.open(group / "cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"1")
        finally:
            os.close(descriptor)


def end_group(group: Path, seconds: float) -> bool:
    """KILL every process in a group and remove it; return whether it is gone within ``seconds``."""
    until = time.monotonic() + seconds
    while group.exists():
        kill_group(group)
        for one in _deepest_first(group):
            with suppress(OSError):  # it still has processes, which are about to end
                one.rmdir()
        if time.monotonic() > until:
            return not group.exists()
        if group.exists():
            time.sleep(0.005)
    return True


def remove_abandoned_groups() -> None:
    """Remove empty groups of earlier runs that are in no list of runs any more."""
    above = _current_group()
    for group in above.glob(f"{PREFIX}*") if above else ():
        with suppress(OSError):
            if time.time() - group.stat().st_mtime > _ABANDONED_AFTER and _is_empty(group):
                for one in _deepest_first(group):
                    one.rmdir()


def _is_empty(group: Path) -> bool:
    return "populated 0" in (group / "cgroup.events").read_text()


def _deepest_first(group: Path) -> Iterator[Path]:
    for folder, _, _ in os.walk(group, topdown=False):
        yield Path(folder)


@dataclass(frozen=True, kw_only=True)  # each command imports this module: msgspec takes longer
class PidsLimit:
    """A limit on the processes and threads of a control group."""

    group: Path
    largest: int
    used: int

    @property
    def left(self) -> int:
        """How many more may be started."""
        return self.largest - self.used


def pids_limit() -> PidsLimit | None:
    """Return the limit that leaves the fewest processes and threads to this process's group, which
    may be that of a group above it; None if there is no limit, or if it can't be read."""
    group = _current_group("pids") or _current_group()
    if group is None:
        return None
    found = (_pids_limit_of(directory) for directory in (group, *group.parents))
    return min((limit for limit in found if limit), key=lambda limit: limit.left, default=None)


def _pids_limit_of(group: Path) -> PidsLimit | None:
    try:
        largest = int((group / "pids.max").read_text())
        used = int((group / "pids.current").read_text())
    except (OSError, ValueError):  # it has no such file, or "max"
        return None
    return PidsLimit(group=group, largest=largest, used=used)


def _current_group(controller: str = "") -> Path | None:
    """Return the directory of this process's group; None if it is not visible here.

    ``controller`` names a controller of version 1, which has groups of its own; empty for version
    2.
    """
    try:
        groups = Path("/proc/self/cgroup").read_text()
        mounts = Path("/proc/self/mountinfo").read_text()
    except OSError:
        return None
    return group_directory(groups, mounts, controller)


def group_directory(groups: str, mounts: str, controller: str) -> Path | None:
    """Return the directory of a group from the texts of /proc/PID/cgroup and /proc/PID/mountinfo;
    None if it is below no mount point. ``controller`` is as for :func:`_current_group`."""
    names = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in groups.splitlines()}
    name = next((names[key] for key in names if controller in key.split(",")), None)
    for line in mounts.splitlines() if name else ():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if (kind == "cgroup2") if not controller else controller in options.split(","):
            root, point = map(_unescaped, before.split(" ")[3:5])
            inside = os.path.relpath(str(name), root)
            if not inside.startswith(".."):
                return Path(point, inside)
    return None


def _unescaped(path: str) -> str:
    """Decode the octal escapes of mountinfo, such as those of blanks; see proc_pid_mountinfo(5)."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)
