"""A control group (version 2) of our own: all that is in it can be killed at once, for certain.

See "Control Group v2" in the kernel's documentation: a process is in the group of its parent, and
cannot leave it without the right to write there; ``cgroup.kill`` (Linux 5.14) kills whatever is in
a group and below it, also what is being forked at that moment. No controllers are needed for that.

We may make groups below our own as root, and as a user to whom the group is delegated (systemd does
that for its user sessions). Not in most containers, where the hierarchy is read-only.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PREFIX = "wsgiproof-"
_FORGOTTEN = 3600.0
"""Seconds without a change, after which an empty group is not that of a run about to fill it."""


def make_group(name: str, parent: Path | None = None) -> Path | None:
    """A new group below ``parent``, by default below our own; None where that can't be done."""
    above = parent or _own_group()
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
    """KILL all that is in it; it may be gone already."""
    with suppress(OSError):
        descriptor = os.open(group / "cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"1")
        finally:
            os.close(descriptor)


def end_group(group: Path, seconds: float) -> bool:
    """KILL all that is in it, and remove it; return whether it is gone within so many seconds."""
    until = time.monotonic() + seconds
    while group.exists():
        kill_group(group)
        for one in _deepest_first(group):
            with suppress(OSError):  # it has processes that are about to end
                one.rmdir()
        if time.monotonic() > until:
            return not group.exists()
        if group.exists():
            time.sleep(0.005)
    return True


def remove_forgotten() -> None:
    """Remove groups of runs that nothing is in and that nobody knows any more, since the list of
    runs that they were in is gone."""
    above = _own_group()
    for group in above.glob(f"{PREFIX}*") if above else ():
        with suppress(OSError):
            if time.time() - group.stat().st_mtime > _FORGOTTEN and _is_empty(group):
                for one in _deepest_first(group):
                    one.rmdir()


def _is_empty(group: Path) -> bool:
    return "populated 0" in (group / "cgroup.events").read_text()


def _deepest_first(group: Path) -> Iterator[Path]:
    for folder, _, _ in os.walk(group, topdown=False):
        yield Path(folder)


def _own_group() -> Path | None:
    """The group that we are in, as a directory."""
    try:
        groups = Path("/proc/self/cgroup").read_text()
        mounts = Path("/proc/self/mountinfo").read_text()
    except OSError:
        return None
    ours = re.search(r"^0::(/.*)$", groups, re.MULTILINE)
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        if ours and after.split(" ", 1)[0] == "cgroup2":
            root, point = map(_unescaped, before.split(" ")[3:5])
            inside = os.path.relpath(ours[1], root)
            if not inside.startswith(".."):
                return Path(point, inside)
    return None


def _unescaped(path: str) -> str:
    """Blanks and the like are octal in mountinfo, see proc_pid_mountinfo(5)."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)
