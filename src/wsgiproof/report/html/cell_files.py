"""The files next to a cell's record, read as far as a page shows them.

A run's directory may come from elsewhere: only regular files inside it are read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from wsgiproof.files import Directory

_MOST_BYTES = 400_000
"""Of a file: half of them from its beginning, half from its end."""


def cell_file(run: Path | None, directory: str, name: str) -> str:
    """Return what a file holds, or its beginning and its end; empty if it can't be read.

    ``directory`` is that of the cell, relative to that of its ``run``.
    """
    cells, _, cell = directory.partition("/")
    if run is None or cells != "cells":
        return ""
    try:
        with (
            Directory(run, follow=True) as inside,
            inside.below(cells) as all_of_them,
            all_of_them.below(cell) as one,
            one.open(name) as file,
        ):
            return _read(file)
    except OSError:
        return ""


def _read(file: BinaryIO) -> str:
    content = file.read(_MOST_BYTES // 2)
    more = os.fstat(file.fileno()).st_size - _MOST_BYTES
    if more > 0:
        file.seek(-_MOST_BYTES // 2, os.SEEK_END)
        content += f"\n... {more:,} bytes are left out here ...\n".encode()
    content += file.read(_MOST_BYTES // 2)
    return content.decode("utf-8", "replace")
