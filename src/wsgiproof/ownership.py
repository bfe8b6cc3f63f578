"""Whose a file is: who else could have written it, or could put another in its place.

What we find ourselves (a configuration file upwards from here, an entry of the build cache) decides
what runs, and as root it decides that for the whole machine. So it has to belong to us or to root,
and others may not write to it. What the user names is the user's own choice, and is not looked at.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

WRITABLE = "may be written by everybody"
_MOST_LINKS = 40
"""As the kernel has it (path_resolution(7))."""


def our_users() -> frozenset[int]:
    """The users whose files decide what we run: we, and root."""
    return frozenset({0, os.geteuid()})


def invoking_users() -> frozenset[int]:
    """Those, and whoever became root with sudo: what is theirs was there to be used, as git has it
    (git-config(1), ``safe.directory``)."""
    sudo = os.environ.get("SUDO_UID", "")
    if os.geteuid() == 0 and sudo.isascii() and sudo.isdecimal():
        return our_users() | {int(sudo)}
    return our_users()


def objection(status: os.stat_result, users: Collection[int]) -> str:
    """Why a file or a directory is not safe from others, as the end of a sentence; empty if it is.

    A link's mode says nothing. In a directory that everybody may write, with the sticky bit, nobody
    can replace what is another's; so that is for :func:`open_way` to allow.
    """
    if status.st_uid not in users:
        return f"belongs to {_name(status.st_uid)}"
    if not stat.S_ISLNK(status.st_mode) and status.st_mode & stat.S_IWOTH:
        return WRITABLE
    return ""


def objection_to_file(
    path: Path, opened: os.stat_result, start: Path, users: Collection[int]
) -> str:
    """Why a file that was found at ``path`` is not to be used, in a clause; empty if it is.

    ``opened`` is the status of the file as it was opened, at the end of all links. ``start`` is the
    directory below it in which the search began. Each link on the way, each directory that a link
    leads to, and each directory from ``start`` up to the file has to be ours or root's, and none
    further up may be one in which everybody can rename what is there.
    """
    if why := objection(opened, users):
        return f"it {why}"
    between = [one for one in (start, *start.parents) if one.is_relative_to(path.parent)]
    if why := next(filter(None, (_objection_to_directory(one, users) for one in between)), ""):
        return why
    place = path
    for _ in range(_MOST_LINKS):
        if way := open_way(place.parent):
            return f"{way} {WRITABLE}"
        try:
            status = place.lstat()
            if not stat.S_ISLNK(status.st_mode):
                return ""
            target = place.parent / place.readlink()
        except OSError as error:
            return f"{place} can't be looked at ({error.strerror})"
        if why := objection(status, users):
            return f"the link {place} {why}"
        place = Path(os.path.realpath(target.parent)) / target.name
        if why := _objection_to_directory(place.parent, users):
            return why
    return "it is a link to too many others"


def open_way(directory: Path) -> Path | None:
    """Which directory, ``directory`` itself or one above it, lets everybody replace what is in it;
    None if none does. One with the sticky bit, such as ``/tmp``, does not."""
    for step in (directory, *directory.parents):
        with suppress(OSError):  # it is not there yet, or nobody can look
            mode = step.stat().st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                return step
    return None


def who_may_replace(path: Path) -> str:
    """The first directory on the way to ``path``, itself included, in which another user could put
    something else in the place of what is ours; empty if there is none.

    That is a directory of somebody else but root, or one that others may write and that is not
    sticky. For root a group other than its own is somebody else; an ordinary user may share with
    his groups. Raises OSError if ``path`` does not exist.
    """
    path = path.resolve(strict=True)
    trusted = {0, os.geteuid(), _nobody_known()}
    for step in (*reversed(path.parents), path):
        status = step.stat()
        writers = stat.S_IWOTH
        if os.geteuid() == 0 and status.st_gid != 0:
            writers |= stat.S_IWGRP
        open_to_others = status.st_mode & writers and not status.st_mode & stat.S_ISVTX
        if status.st_uid not in trusted or open_to_others:
            return str(step)
    return ""


def _nobody_known() -> int:
    """Whom files seem to belong to whose owner has no id in this user namespace, such as the
    machine's root (user_namespaces(7)); ours where that is a user of this namespace too."""
    try:
        unknown = int(Path("/proc/sys/kernel/overflowuid").read_text())
        known = is_mapped(unknown, "uid")
    except (OSError, ValueError):
        return os.geteuid()
    return os.geteuid() if known else unknown


def is_mapped(number: int, kind: str) -> bool:
    """Whether this user namespace has a user (``uid``) or a group (``gid``) of that number
    (user_namespaces(7)). Raises OSError where the kernel does not say."""
    rows = [line.split() for line in Path(f"/proc/self/{kind}_map").read_text().splitlines()]
    return any(int(first) <= number < int(first) + int(size) for first, _, size in rows)


def _objection_to_directory(directory: Path, users: Collection[int]) -> str:
    try:
        status = directory.stat()
    except OSError as error:
        return f"{directory} can't be looked at ({error.strerror})"
    why = objection(status, users)
    if why and status.st_uid in users and status.st_mode & stat.S_ISVTX:
        return ""
    return f"{directory} {why}" if why else ""


def _name(uid: int) -> str:
    try:
        return f"'{pwd.getpwuid(uid).pw_name}' (uid {uid})"
    except KeyError:
        return f"uid {uid}"
