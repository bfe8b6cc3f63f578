"""Directories for servers: those that go with them, and those that are left to the user.

Such a directory belongs to whoever runs wsgiproof. Apache's user may enter it, and can write
nothing in it but what is given to it there.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsgiproof.account import Account
from wsgiproof.errors import CannotRun, NeedMissing, UsageError, describe
from wsgiproof.files import Directory
from wsgiproof.leftovers import PREFIX, new_directory, remove_directory, safe_parent
from wsgiproof.ownership import who_may_replace

_LONGEST = 80
"""Bytes, which leaves 27 for the name of a socket."""


@contextmanager
def scratch_directory(visitor: Account | None = None) -> Iterator[Path]:
    """A new directory that is ours alone, removed with the context; ``visitor`` may enter it.

    Raises :class:`CannotRun` where there can be none that is safe.
    """
    directory = new_directory()
    try:
        if visitor is not None:
            _let_in(directory, visitor, "TMPDIR")
        yield directory
    finally:
        remove_directory(directory)


def lasting_directory(wanted: Path | None, visitor: Account) -> Path:
    """A directory like those, ``wanted`` or a new one, that is left to the user.

    Raises :class:`UsageError` if ``wanted`` holds something already.
    """
    if wanted is None:
        directory = _new()
    else:
        directory = kept_directory(wanted)
        if any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty: name another --output")
    _let_in(directory, visitor, "--output" if wanted else "TMPDIR")
    return directory


def kept_directory(wanted: Path) -> Path:
    """``wanted`` as an absolute path, made with mode 0700 if it is not there.

    Raises :class:`CannotRun` if nothing can be written there, or another user could replace what
    is: a server that is restarted reads its configuration anew.
    """
    directory = wanted.absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = directory.resolve()
        doubtful = who_may_replace(directory)
    except OSError as error:
        raise CannotRun(f"{directory} can't be written: {error.strerror}") from error
    if doubtful:
        raise CannotRun(
            f"{doubtful} belongs to another user, or may be written by others, who could replace "
            "what a server reads there: name another --output"
        )
    return directory


def _new() -> Path:
    parent = safe_parent()
    try:
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    except OSError as error:
        raise CannotRun(f"no directory can be made in {parent}: {describe(error)}") from error


def _let_in(directory: Path, visitor: Account, setting: str) -> None:
    """Let Apache's user enter it, who has to reach it, and Unix sockets in it."""
    _, group = visitor.ids
    with Directory(directory) as opened:
        if group != -1:
            os.fchown(opened.fd, -1, group)
        os.fchmod(opened.fd, 0o700 if group == -1 else 0o710)
    blocked = visitor.cannot_enter(directory)
    if blocked:
        raise NeedMissing(
            f"Apache's user '{visitor.name}' can't enter {blocked}: point {setting} at a "
            "directory that it can, such as /tmp"
        )
    if len(os.fsencode(directory)) > _LONGEST:
        raise NeedMissing(
            f"{directory} is too long for the Unix sockets in it (unix(7): 108 bytes at most): "
            f"point {setting} at a directory with a shorter path, such as /tmp"
        )
