"""Archives of sources, read and unpacked; whoever made one may have wished us ill.

A few kilobytes may stand for a terabyte. So what comes out of a decompressor is counted, whatever
the archive says of its sizes, and an end is put to it.
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
    ValueError,  # of numbers in headers
    RuntimeError,  # of a zip with a password, and RecursionError of headers that follow one another
    NotImplementedError,
)
"""What reading a damaged archive may raise."""
_OPENERS: dict[bytes, Callable[[BinaryIO], BinaryIO]] = {
    b"\x1f\x8b": lambda file: cast("BinaryIO", gzip.GzipFile(fileobj=file)),
    b"BZh": lambda file: cast("BinaryIO", bz2.BZ2File(file)),
}
"""By how a compressed file begins."""
with contextlib.suppress(ImportError):  # a Python may lack it, and then opens no .tar.xz
    import lzma

    DAMAGED += (lzma.LZMAError,)
    _OPENERS[b"\xfd7zXZ"] = lambda file: cast("BinaryIO", lzma.LZMAFile(file))  # noqa: SIM115 - as the others

LARGEST_METADATA = 4 << 20
"""Bytes of a PKG-INFO or METADATA; PyMongo's has 9 kB."""
_LARGEST_LOOKED_THROUGH = 512 << 20
"""Bytes that are decompressed in search of a file."""
_LARGEST_UNPACKED = 4 << 30
"""Bytes that an archive may come to; CPython's sources have 120 MB, and Linux' 1.5 GB."""
_MOST_MEMBERS = 200_000


class TooLarge(OSError):
    """More came out of an archive than any of sources holds."""

    def __init__(self, what: str) -> None:
        super().__init__(f"it is larger than any sources: {what}")


class _Counted(io.RawIOBase):
    """What is read of ``file``, up to ``largest`` bytes; then :class:`TooLarge` is raised."""

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
    """A tar archive to be read once, from its start, compressed or not."""
    with open_regular(archive, follow=True) as file:
        start = file.read(6)
        file.seek(0)
        opener = next((one for sign, one in _OPENERS.items() if start.startswith(sign)), None)
        with contextlib.ExitStack() as stack:
            plain = stack.enter_context(opener(file)) if opener else file
            counted = cast("IO[bytes]", _Counted(plain, largest))
            yield stack.enter_context(tarfile.open(fileobj=counted, mode="r|"))


def member_of_tar(archive: Path, is_wanted: Callable[[str], bool]) -> bytes | None:
    """The content of the first file in a tar archive whose name ``is_wanted``; None without one.

    Raises one of :data:`DAMAGED`, :class:`TooLarge` among them.
    """
    with _opened(archive, _LARGEST_LOOKED_THROUGH) as opened:
        for number, member in enumerate(opened):
            if number >= _MOST_MEMBERS:
                raise TooLarge(f"more than {_MOST_MEMBERS:,} files")
            if is_wanted(member.name):
                file = opened.extractfile(member)
                return _bounded(cast("BinaryIO", file)) if file else b""
    return None


def member_of_zip(archive: Path, is_wanted: Callable[[str], bool]) -> bytes | None:
    """The same of a zip archive, such as a wheel is."""
    with open_regular(archive, follow=True) as file, zipfile.ZipFile(file) as opened:
        names = opened.namelist()
        if len(names) > _MOST_MEMBERS:
            raise TooLarge(f"more than {_MOST_MEMBERS:,} files")
        for name in names:
            if is_wanted(name):
                with opened.open(name) as member:
                    return _bounded(cast("BinaryIO", member))
    return None


def _bounded(file: BinaryIO) -> bytes:
    content = read_at_most(file, LARGEST_METADATA + 1)
    if len(content) > LARGEST_METADATA:
        raise TooLarge(f"more than {LARGEST_METADATA >> 20} MiB of metadata")
    return content


def extract(archive: Path, directory: Path) -> None:
    """Unpack it into the new ``directory``.

    Raises :class:`UsageError` for one that is damaged, that would leave the directory (PEP 706), or
    that comes to more than any sources do.
    """
    if not hasattr(tarfile, "data_filter"):
        raise CannotRun(
            "this Python can't unpack safely (tarfile has no filters before 3.11.4): unpack "
            f"{archive}, and name the directory"
        )
    try:
        with _opened(archive, _LARGEST_UNPACKED) as opened:
            opened.extractall(directory, filter=_Filter())
    except tarfile.FilterError as error:
        raise UsageError(f"{archive} is not unpacked, since it is not safe: {error}") from error
    except DAMAGED as error:
        raise UsageError(f"{archive} can't be unpacked: {error}") from error


class _Filter:
    """PEP 706's for data, which counts, too: of a sparse file only the holes may be in the way."""

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
