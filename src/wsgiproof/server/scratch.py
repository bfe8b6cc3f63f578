"""Directories for servers: those removed with them, and those left to the user.

Such a directory belongs to the user who runs wsgiproof. Apache's user may enter it, but can write
only to what it owns in it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsgiproof.errors import CannotRun, PrerequisiteMissing, UsageError, describe
from wsgiproof.files import Directory
from wsgiproof.ownership import replaceable_directory
from wsgiproof.process.account import Account
from wsgiproof.process.leftovers import PREFIX, new_directory, remove_directory, safe_parent

_LONGEST = 80
"""Bytes of a path, which leaves 27 for the name of a socket."""


@contextmanager
def scratch_directory(account: Account | None = None) -> Iterator[Path]:
    """Make a new private directory, removed with the context; ``account`` may enter it.

    Raises :class:`CannotRun` if no safe directory can be made.
    """
    directory = new_directory()
    try:
        if account is not None:
            _open_to(account, directory, "TMPDIR")
        yield directory
    finally:
        remove_directory(directory)


def lasting_directory(output: Path | None, account: Account) -> Path:
    """Return ``output`` or a new directory, which ``account`` may enter and which is not removed.

    Raises :class:`UsageError` if ``output`` is not empty.
    """
    if output is None:
        directory = _new()
    else:
        directory = kept_directory(output)
        if any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty: name another --output")
    _open_to(account, directory, "--output" if output else "TMPDIR")
    return directory


def kept_directory(output: Path) -> Path:
    """Return ``output`` as an absolute path, and create it with mode 0700 if it does not exist.

    Raises :class:`CannotRun` if it can't be written, or if another user could replace files there:
    a restarted server reads its configuration again.
    """
    directory = output.absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = directory.resolve()
        unsafe = replaceable_directory(directory)
    except OSError as error:
        raise CannotRun(f"{directory} can't be written: {error.strerror}") from error
    if unsafe:
        raise CannotRun(
            f"{unsafe} belongs to another user, or is writable by others, who could replace "
            "what a server reads there: name another --output"
        )
    return directory


def _new() -> Path:
    parent = safe_parent()
    try:
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    except OSError as error:
        raise CannotRun(f"no directory can be made in {parent}: {describe(error)}") from error


def _open_to(account: Account, directory: Path, setting: str) -> None:
    """Let Apache's user enter a directory, and check that it can reach it and its Unix sockets."""
    _, group = account.ids
    with Directory(directory) as opened:
        if group != -1:
            os.fchown(opened.fd, -1, group)
        os.fchmod(opened.fd, 0o700 if group == -1 else 0o710)
    blocked = account.cannot_enter(directory)
    if blocked:
        raise PrerequisiteMissing(
            f"Apache's user '{account.name}' can't enter {blocked}: point {setting} at a "
            "directory that it can enter, such as /tmp"
        )
    if len(os.fsencode(directory)) > _LONGEST:
        raise PrerequisiteMissing(
            f"{directory} is too long for the Unix sockets in it (unix(7): 108 bytes at most): "
            f"point {setting} at a directory with a shorter path, such as /tmp"
        )
