"""Check that no other user could have written a file, or could replace it.

Files that wsgiproof finds by itself (a configuration file in a parent directory, an entry of the
build cache) decide what runs, and with root they decide it for the whole machine. So they have to
belong to this user or to root, and others must not be able to write to them. A file that the user
names is the user's own choice, and is not checked.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

WRITABLE = "is writable by everyone"
_MOST_LINKS = 40
"""The kernel's own limit (path_resolution(7))."""


def trusted_users() -> frozenset[int]:
    """Return the users whose files may decide what runs: this user, and root."""
    return frozenset({0, os.geteuid()})


def invoking_users() -> frozenset[int]:
    """Return the trusted users, and the one who became root with sudo, as git does (git-config(1),
    ``safe.directory``)."""
    sudo = os.environ.get("SUDO_UID", "")
    if os.geteuid() == 0 and sudo.isascii() and sudo.isdecimal():
        return trusted_users() | {int(sudo)}
    return trusted_users()


def why_unsafe(status: os.stat_result, users: Collection[int]) -> str:
    """Return why other users could change a file, as the end of a sentence; empty if they can't.

    The mode of a link has no meaning. In a world-writable directory with the sticky bit, nobody can
    replace another user's file; :func:`unprotected_directory` allows it.
    """
    if status.st_uid not in users:
        return f"belongs to {_name(status.st_uid)}"
    if not stat.S_ISLNK(status.st_mode) and status.st_mode & stat.S_IWOTH:
        return WRITABLE
    return ""


def why_file_unsafe(path: Path, opened: os.stat_result, start: Path, users: Collection[int]) -> str:
    """Return why a file that was found at ``path`` must not be used, in a clause; empty if it may.

    ``opened`` is the status of the opened file, at the end of all links. ``start`` is the directory
    below it in which the search began. Each link on the way, each directory that a link leads to,
    and each directory from ``start`` up to the file has to belong to ``users``, and in none further
    up may everyone replace files.
    """
    if why := why_unsafe(opened, users):
        return f"it {why}"
    between = [one for one in (start, *start.parents) if one.is_relative_to(path.parent)]
    if why := next(filter(None, (_why_directory_unsafe(one, users) for one in between)), ""):
        return why
    place = path
    for _ in range(_MOST_LINKS):
        if unprotected := unprotected_directory(place.parent):
            return f"{unprotected} {WRITABLE}"
        try:
            status = place.lstat()
            if not stat.S_ISLNK(status.st_mode):
                return ""
            target = place.parent / place.readlink()
        except OSError as error:
            return f"{place} can't be read ({error.strerror})"
        if why := why_unsafe(status, users):
            return f"the link {place} {why}"
        place = Path(os.path.realpath(target.parent)) / target.name
        if why := _why_directory_unsafe(place.parent, users):
            return why
    return "it is a link to too many others"


def unprotected_directory(directory: Path) -> Path | None:
    """Return the first directory, from ``directory`` upwards, in which everyone may replace files;
    None if there is none. A sticky directory such as ``/tmp`` is not one."""
    for step in (directory, *directory.parents):
        with suppress(OSError):  # it does not exist yet, or is not accessible
            if _may_replace(stat.S_IWOTH, step.stat()):
                return step
    return None


def replaceable_directory(path: Path) -> str:
    """Return the first directory on the way to ``path`` that is not safe; empty if all are.

    In such a directory another user could replace this user's files. ``path`` itself is checked as
    well. That is a directory of another user than root, or one that others may write to and that is
    not sticky. For root, members of another group than root's are others too; an ordinary user may
    share with their groups. Raises OSError if ``path`` does not exist.
    """
    path = path.resolve(strict=True)
    trusted = {0, os.geteuid(), _unmapped_owner()}
    for step in (*reversed(path.parents), path):
        status = step.stat()
        group = stat.S_IWGRP if os.geteuid() == 0 and status.st_gid != 0 else 0
        if status.st_uid not in trusted or _may_replace(stat.S_IWOTH | group, status):
            return str(step)
    return ""


def _may_replace(writers: int, status: os.stat_result) -> bool:
    """Whether ``writers``, bits of a mode, may replace any file in a directory: not if it is
    sticky."""
    return bool(status.st_mode & writers) and not status.st_mode & stat.S_ISVTX


def _unmapped_owner() -> int:
    """Return the user shown as owner of files whose owner has no id in this user namespace, such as
    the machine's root (user_namespaces(7)); this user if that is a user of this namespace too."""
    try:
        overflow = int(Path("/proc/sys/kernel/overflowuid").read_text())
        mapped = is_mapped(overflow, "uid")
    except (OSError, ValueError):
        return os.geteuid()
    return os.geteuid() if mapped else overflow


def is_mapped(number: int, kind: str) -> bool:
    """Whether this user namespace has a user (``uid``) or a group (``gid``) of that number
    (user_namespaces(7)). Raises OSError if the kernel does not say."""
    rows = [line.split() for line in Path(f"/proc/self/{kind}_map").read_text().splitlines()]
    return any(int(first) <= number < int(first) + int(size) for first, _, size in rows)


def _why_directory_unsafe(directory: Path, users: Collection[int]) -> str:
    try:
        status = directory.stat()
    except OSError as error:
        return f"{directory} can't be read ({error.strerror})"
    why = why_unsafe(status, users)
    if why and status.st_uid in users and status.st_mode & stat.S_ISVTX:
        return ""
    return f"{directory} {why}" if why else ""


def _name(uid: int) -> str:
    try:
        return f"'{pwd.getpwuid(uid).pw_name}' (uid {uid})"
    except KeyError:
        return f"uid {uid}"
