"""Removes directories that less trusted code may have filled."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence

REMOVAL_LIMIT = 60.0
"""Seconds after which a directory that others keep filling is left alone; removing a million files
takes ten."""
TREE_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags to open a directory whose content is removed."""


def remove_directories(directories: Sequence[str]) -> None:
    """Remove scratch directories; twice, since another guard's service may still have written to
    them."""
    for directory in (*directories, *directories):
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
