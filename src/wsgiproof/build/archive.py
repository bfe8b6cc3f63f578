"""Archives of sources, unpacked."""

from __future__ import annotations

import contextlib
import tarfile
import zlib
from pathlib import Path

from wsgiproof.errors import CannotRun, UsageError

DAMAGED: tuple[type[Exception], ...] = (OSError, EOFError, tarfile.TarError, zlib.error)
"""What reading a damaged archive may raise."""
with contextlib.suppress(ImportError):  # a Python may lack it, and then opens no .tar.xz
    from lzma import LZMAError

    DAMAGED += (LZMAError,)


def extract(archive: Path, directory: Path) -> None:
    """Unpack it into the new ``directory``.

    Raises :class:`UsageError` for one that is damaged, or that would leave the directory (PEP 706).
    """
    if not hasattr(tarfile, "data_filter"):
        raise CannotRun(
            "this Python can't unpack safely (tarfile has no filters before 3.11.4): unpack "
            f"{archive}, and name the directory"
        )
    try:
        with tarfile.open(archive) as opened:
            opened.extractall(directory, filter="data")
    except tarfile.FilterError as error:
        raise UsageError(f"{archive} is not unpacked, since it is not safe: {error}") from error
    except DAMAGED as error:
        raise UsageError(f"{archive} can't be unpacked: {error}") from error
