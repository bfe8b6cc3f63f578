"""The files beside a cell's record, read as far as a page shows them.

A directory may come from elsewhere: nothing outside of it is read, and nothing that is no file.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePath

_MOST_BYTES = 400_000
"""Of a file: half of them from its beginning, half from its end."""


def beside(run: Path | None, directory: str, name: str) -> str:
    """What the file holds, or its beginning and its end; empty if there is none."""
    parts = PurePath(directory).parts
    if run is None or len(parts) != 2 or parts[0] != "cells" or parts[1] == "..":
        return ""
    try:
        where = run.joinpath(*parts)
        if where.is_symlink() or where.parent.is_symlink():
            return ""
        return _read(where / name)
    except OSError:
        return ""


def _read(path: Path) -> str:
    # Not blocking, since it may be a pipe; and no link, which may lead anywhere.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return ""
        content = file.read(_MOST_BYTES // 2)
        more = status.st_size - _MOST_BYTES
        if more > 0:
            file.seek(-_MOST_BYTES // 2, os.SEEK_END)
            content += f"\n... {more:,} bytes are left out here ...\n".encode()
        content += file.read(_MOST_BYTES // 2)
    return content.decode("utf-8", "replace")
