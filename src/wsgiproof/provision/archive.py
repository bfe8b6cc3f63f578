"""Read and unpack source archives, which may be malicious.

A few kilobytes may decompress to a terabyte. So the output of a decompressor is counted, whatever
sizes the archive claims, and there is a limit to it.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from wsgiproof.errors import CannotRun, UsageError
from wsgiproof.files import open_regular, read_at_most

DAMAGED: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    ValueError,  # for numbers in headers
    RuntimeError,  # for a zip with a password; RecursionError for a long chain of headers
    NotImplementedError,
)
"""What reading a damaged archive may raise."""
_OPENERS: dict[bytes, Callable[[BinaryIO], BinaryIO]] = {
    b"\x1f\x8b": lambda file: cast("BinaryIO", gzip.GzipFile(fileobj=file)),
    b"BZh": lambda file: cast("BinaryIO", bz2.BZ2File(file)),
}
"""By the first bytes of a compressed file."""
with contextlib.suppress(ImportError):  # a Python may lack it, and then can't open a .tar.xz
    import lzma

    DAMAGED += (lzma.LZMAError,)
    _OPENERS[b"\xfd7zXZ"] = lambda file: cast("BinaryIO", lzma.LZMAFile(file))  # noqa: SIM115 - as the others

LARGEST_METADATA = 4 << 20
"""Bytes of a PKG-INFO or METADATA; most have less than 20 kB."""
_LARGEST_SEARCHED = 512 << 20
"""Bytes that are decompressed in search of a file."""
_LARGEST_UNPACKED = 4 << 30
"""Bytes that an archive may unpack to; CPython's sources have 120 MB, and those of Linux 1.5 GB."""
_MOST_MEMBERS = 200_000


class TooLarge(OSError):
    """An archive that unpacks to more than source code would."""

    def __init__(self, what: str) -> None:
        super().__init__(f"it is too large for an archive of sources: {what}")


class _LimitedReader(io.RawIOBase):
    """Reads ``file`` up to ``largest`` bytes, and then raises :class:`TooLarge`."""

    def __init__(self, file: BinaryIO, largest: int) -> None:
        self._file = file
        self._largest = largest
        self._left = largest

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(content)
        if self._left < 0:
            raise TooLarge(f"more than {self._largest >> 20:,} MiB")
        return content


@contextmanager
def _opened(archive: Path, largest: int) -> Iterator[tarfile.TarFile]:
    """Open a tar archive, compressed or not, to be read once from its start."""
    with open_regular(archive, follow=True) as file:
        start = file.read(6)
        file.seek(0)
        opener = next((one for magic, one in _OPENERS.items() if start.startswith(magic)), None)
        with contextlib.ExitStack() as stack:
            plain = stack.enter_context(opener(file)) if opener else file
            limited = cast("IO[bytes]", _LimitedReader(plain, largest))
            yield stack.enter_context(tarfile.open(fileobj=limited, mode="r|"))


def member_of_tar(archive: Path, matches: Callable[[str], bool]) -> bytes | None:
    """Return the first file in a tar archive whose name ``matches``; None if no name does.

    Raises one of :data:`DAMAGED`, which include :class:`TooLarge`.
    """
    with _opened(archive, _LARGEST_SEARCHED) as opened:
        for number, member in enumerate(opened):
            if number >= _MOST_MEMBERS:
                raise TooLarge(f"more than {_MOST_MEMBERS:,} files")
            if matches(member.name):
                file = opened.extractfile(member)
                return _read_metadata(cast("BinaryIO", file)) if file else b""
    return None


def member_of_zip(archive: Path, matches: Callable[[str], bool]) -> bytes | None:
    """Do the same for a zip archive, such as a wheel."""
    with open_regular(archive, follow=True) as file, zipfile.ZipFile(file) as opened:
        names = opened.namelist()
        if len(names) > _MOST_MEMBERS:
            raise TooLarge(f"more than {_MOST_MEMBERS:,} files")
        for name in names:
            if matches(name):
                with opened.open(name) as member:
                    return _read_metadata(cast("BinaryIO", member))
    return None


def _read_metadata(file: BinaryIO) -> bytes:
    content = read_at_most(file, LARGEST_METADATA + 1)
    if len(content) > LARGEST_METADATA:
        raise TooLarge(f"more than {LARGEST_METADATA >> 20} MiB of metadata")
    return content


def extract(archive: Path, directory: Path) -> None:
    """Unpack an archive into the new ``directory``.

    Raises :class:`UsageError` for an archive that is damaged, that would write outside the
    directory (PEP 706), or that is too large; and :class:`CannotRun` if this Python can't unpack
    safely.
    """
    if not hasattr(tarfile, "data_filter"):
        raise CannotRun(
            "this Python can't unpack safely (tarfile has no filters before 3.11.4): unpack "
            f"{archive} yourself, and give the path of the directory"
        )
    try:
        with _opened(archive, _LARGEST_UNPACKED) as opened:
            opened.extractall(directory, filter=_Filter())
    except tarfile.FilterError as error:
        raise UsageError(f"{archive} is not unpacked because it is not safe: {error}") from error
    except DAMAGED as error:
        raise UsageError(f"{archive} can't be unpacked: {error}") from error


class _Filter:
    """The ``data`` filter of PEP 706, which also counts: the size of a sparse file includes its
    holes."""

    def __init__(self) -> None:
        self._members = 0
        self._bytes = 0

    def __call__(self, member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
        self._members += 1
        self._bytes += max(0, member.size)
        if self._members > _MOST_MEMBERS:
            raise TooLarge(f"more than {_MOST_MEMBERS:,} files")
        if self._bytes > _LARGEST_UNPACKED:
            raise TooLarge(f"more than {_LARGEST_UNPACKED >> 20:,} MiB")
        return tarfile.data_filter(member, path)
