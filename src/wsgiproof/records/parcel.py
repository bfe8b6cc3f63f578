"""The files of a cell as one value, for a cell that ran on another machine.

What arrives may be damaged, or made by somebody else, since the subject ran on that machine. So it
has no links, no devices and no modes, only the names and contents of files, and all of it is
checked: each name is a name in a directory, no file is written over, and sizes have limits that
count what is unpacked.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from wsgiproof.errors import UsageError, describe
from wsgiproof.files import Directory, UnsafeFile

LARGEST = 512 << 20
"""Bytes of all files of a cell, unpacked; most cells have less than 5 MB."""
MOST_FILES = 20_000
_DEEPEST = 10
_FASTEST = 1
"""The level of compression: logs are text, and shrink to a tenth at any level."""
LEFT_OUT = "left-out.txt"
"""The file that names those that were too large."""


class PackedFile(msgspec.Struct, frozen=True, array_like=True):
    """One file."""

    path: tuple[str, ...]
    """The names of its directories, and its own."""
    content: bytes
    """Compressed (zlib)."""


def pack(directory: Path) -> bytes:
    """Return the regular files below ``directory`` as one value; links are not followed.

    Files that would make it larger than :data:`LARGEST` are left out, and a file
    :data:`LEFT_OUT` names them. Raises OSError.
    """
    packed: list[PackedFile] = []
    left_out: list[str] = []
    left = LARGEST - (1 << 20)
    with Directory(directory) as top:
        # The small ones first: a record has to be there, and a core file need not.
        for path, size in sorted(_files(top, ()), key=lambda one: one[1]):
            content = _read(top, path, left) if len(packed) < MOST_FILES - 1 else None
            if content is None:
                left_out.append(f"{'/'.join(path)} ({size:,} bytes)\n")
                continue
            left -= len(content)
            packed.append(PackedFile(path, zlib.compress(content, _FASTEST)))
    if left_out:
        named = "".join(left_out)[: 1 << 20].encode(errors="replace")
        packed.append(PackedFile((LEFT_OUT,), zlib.compress(named, _FASTEST)))
    return msgspec.msgpack.encode(packed)


def _files(directory: Directory, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield the path and the size of each regular file."""
    for name in directory.names():
        try:
            name.encode()
        except UnicodeEncodeError:
            continue
        status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            yield (*above, name), status.st_size
        elif stat.S_ISDIR(status.st_mode) and len(above) + 1 < _DEEPEST:
            with directory.below(name) as inner:
                yield from _files(inner, (*above, name))


def _read(top: Directory, path: tuple[str, ...], largest: int) -> bytes | None:
    """Return the content of a file; None if it is too large, or is no regular file any more."""
    try:
        if len(path) == 1:
            return top.read(path[0], largest)
        with top.below(path[0]) as inner:
            return _read(inner, path[1:], largest)
    except (UnsafeFile, FileNotFoundError):
        return None


def unpack(content: bytes, directory: Path) -> None:
    """Write the files of a value of :func:`pack` into the new directory ``directory``.

    Raises :class:`UsageError` if it is damaged, too large, or names what is no file in that
    directory, and OSError if they can't be written. What was written by then is left.
    """
    try:
        files = msgspec.msgpack.decode(content, type=list[PackedFile])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"what arrived is not an archive of a cell: {error}") from error
    if len(files) > MOST_FILES:
        raise UsageError(f"an archive of a cell has more than {MOST_FILES:,} files")
    directory.mkdir(mode=0o700)
    left = LARGEST
    with Directory(directory) as top:
        for file in files:
            plain = _decompressed(file, left)
            left -= len(plain)
            try:
                _write(top, file.path, plain)
            except (UnsafeFile, FileExistsError, NotADirectoryError, ValueError) as error:
                why = describe(error) if isinstance(error, OSError) else str(error)
                raise UsageError(f"an archive of a cell names {file.path!r}: {why}") from error


def _decompressed(file: PackedFile, largest: int) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        plain = decompressor.decompress(file.content, largest + 1)
    except zlib.error as error:
        raise UsageError(f"a file in an archive of a cell is damaged: {error}") from error
    if len(plain) > largest:
        raise UsageError(f"an archive of a cell has more than {LARGEST >> 20:,} MiB")
    if not decompressor.eof:
        raise UsageError("a file in an archive of a cell is damaged: it is cut off")
    return plain


def _write(directory: Directory, path: Iterable[str], content: bytes) -> None:
    *above, name = path
    if len(above) >= _DEEPEST:
        raise UnsafeFile(errno.ELOOP, "directories are nested too deeply")
    if not above:
        directory.write(name, content)
        return
    try:
        inner = directory.make(above[0])
    except FileExistsError:
        inner = directory.below(above[0])
    with inner:
        _write(inner, (*above[1:], name), content)
