"""Directories for servers: those that go with them, and those that are left to the user."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsgiproof.account import Account
from wsgiproof.errors import CannotRun, NeedMissing, UsageError
from wsgiproof.files import temporary_root

_LONGEST = 80
"""Bytes, which leaves 27 for the name of a socket."""


@contextmanager
def scratch_directory(owner: Account | None = None) -> Iterator[Path]:
    """A new directory, mode 0700, removed with the context; it belongs to ``owner`` if given."""
    directory = _new()
    try:
        if owner is not None:
            _give(directory, owner, "TMPDIR")
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def lasting_directory(wanted: Path | None, owner: Account) -> Path:
    """A directory like those, ``wanted`` or a new one, that is left to the user.

    Raises :class:`UsageError` if ``wanted`` holds something already.
    """
    directory = _new() if wanted is None else wanted.absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty: name another --output")
        directory.chmod(0o700)
    except OSError as error:
        raise CannotRun(f"{directory} can't be written: {error.strerror}") from error
    _give(directory, owner, "--output" if wanted else "TMPDIR")
    return directory


def _new() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="wsgiproof-", dir=temporary_root()))
    except OSError as error:
        raise CannotRun(f"no scratch directory can be made: {error}") from error


def _give(directory: Path, owner: Account, setting: str) -> None:
    """Give it to Apache's user, who has to reach it, and to make Unix sockets in it."""
    owner.own(directory)
    blocked = owner.cannot_reach(directory)
    if blocked:
        raise NeedMissing(
            f"Apache's user '{owner.name}' can't enter {blocked}: point {setting} at a "
            "directory that it can, such as /tmp"
        )
    if len(os.fsencode(directory)) > _LONGEST:
        raise NeedMissing(
            f"{directory} is too long for the Unix sockets in it (unix(7): 108 bytes at most): "
            f"point {setting} at a directory with a shorter path, such as /tmp"
        )
