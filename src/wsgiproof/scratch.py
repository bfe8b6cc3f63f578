"""Directories that live as long as a run, or less."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsgiproof.account import Account
from wsgiproof.errors import CannotRun, NeedMissing


@contextmanager
def scratch_directory(owner: Account | None = None) -> Iterator[Path]:
    """A new directory, mode 0700, removed with the context; it belongs to ``owner`` if given.

    Its path is short, since Unix sockets are made in it (unix(7): 108 bytes at most).
    """
    try:
        directory = Path(tempfile.mkdtemp(prefix="wsgiproof-"))
    except OSError as error:
        raise CannotRun(f"no scratch directory can be made: {error}") from error
    try:
        if owner is not None:
            owner.own(directory)
            blocked = owner.cannot_reach(directory)
            if blocked:
                raise NeedMissing(
                    f"Apache's user '{owner.name}' can't enter {blocked}: point TMPDIR at a "
                    "directory that it can, such as /tmp"
                )
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
