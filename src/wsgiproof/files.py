"""Read and write files that less trusted code may have changed.

The subject writes evidence, a record may come from another machine, and a log contains what an
application prints. So nothing here follows a link at the end of a path, waits for a FIFO or a
device, or reads more than the given number of bytes. Each refusal is an :class:`UnsafeFile`, which
is an OSError: code that handles an unreadable file handles these as well.

A path with several components that less trusted code controls is never opened by its full name.
Open the directory once with :class:`Directory`, and name the files in it.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import secrets
import shutil
import stat
import tempfile
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import platformdirs

from wsgiproof.errors import CannotRun, PrerequisiteMissing, UsageError

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20

LARGEST_RECORD = 256 << 20
"""Bytes of a cell's or a run's record; a thousand restarts take 20 MB."""
LARGEST_COPY = 1 << 30
"""Bytes of a file next to a record."""


class UnsafeFile(OSError):
    """A file that is a link, is not a regular file, or is too large."""


def open_regular(path: Path | str, *, dir_fd: int | None = None, follow: bool = False) -> BinaryIO:
    """Open a regular file for reading, without ever blocking.

    ``follow`` allows a link at the end of the path, for a file that the user named. Raises OSError,
    and :class:`UnsafeFile` for a link, a FIFO, a socket, a device or a directory.
    """
    flags = _READ & ~os.O_NOFOLLOW if follow else _READ
    try:
        descriptor = os.open(path, flags, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise UnsafeFile(errno.ELOOP, "it is a symbolic link", str(path)) from None
        if error.errno == errno.ENXIO:  # a socket, or a device without a driver
            raise UnsafeFile(errno.EINVAL, "it is not a regular file", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafeFile(errno.EINVAL, "it is not a regular file", str(path))
    return open(descriptor, "rb")  # noqa: PTH123 - of a descriptor


def read_file(
    path: Path | str, largest: int, *, dir_fd: int | None = None, follow: bool = False
) -> bytes:
    """Return the content of a regular file of at most ``largest`` bytes. Raises as
    :func:`open_regular`, and :class:`UnsafeFile` if it is larger."""
    with open_regular(path, dir_fd=dir_fd, follow=follow) as file:
        content = read_at_most(file, largest + 1)
    if len(content) > largest:
        raise UnsafeFile(errno.EOVERFLOW, f"it is larger than {largest:,} bytes", str(path))
    return content


def read_at_most(file: BinaryIO, largest: int) -> bytes:
    """Read up to ``largest`` bytes from the current position; allocates no more than is there."""
    parts: list[bytes] = []
    left = largest
    while left > 0 and (part := file.read(min(left, _CHUNK))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


class Directory:
    """An open directory: files are named relative to it, and no link in it is followed.

    It does not matter what happens to its path meanwhile (a rename, a link in its place).
    """

    def __init__(
        self, path: Path | str, *, dir_fd: int | None = None, follow: bool = False
    ) -> None:
        """Open a directory. ``follow`` allows a link at the end of the path, for a path that the
        user named."""
        self.path = Path(path)
        self.fd = os.open(
            path, _DIRECTORY & ~os.O_NOFOLLOW if follow else _DIRECTORY, dir_fd=dir_fd
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the directory."""
        os.close(self.fd)

    def names(self, pattern: str = "*") -> list[str]:
        """Return the names in it that match a glob, sorted."""
        return sorted(fnmatch.filter(os.listdir(self.fd), pattern))  # noqa: PTH208 - of a descriptor

    def read(self, name: str, largest: int) -> bytes:
        """Return the content of a file in it. Raises as :func:`read_file`."""
        return read_file(_one_name(name), largest, dir_fd=self.fd)

    def open(self, name: str) -> BinaryIO:
        """Open a file in it for reading. Raises as :func:`open_regular`."""
        return open_regular(_one_name(name), dir_fd=self.fd)

    def below(self, name: str) -> Directory:
        """Open a directory in it. Raises OSError if it is a link, or not a directory."""
        return Directory(_one_name(name), dir_fd=self.fd)

    def make(self, name: str, mode: int = 0o700, *, owner: int = -1, group: int = -1) -> Directory:
        """Make a new directory in it with exactly this mode, whatever the umask is. ``owner`` and
        ``group`` are as for fchown(2). Raises FileExistsError if the name is taken."""
        os.mkdir(_one_name(name), 0o700, dir_fd=self.fd)
        directory = self.below(name)
        _set_owner_and_mode(directory.fd, owner, group, mode)
        return directory

    def write(
        self, name: str, content: bytes, mode: int = 0o600, *, owner: int = -1, group: int = -1
    ) -> None:
        """Write a new file in it with exactly this mode. ``owner`` and ``group`` are as for
        :meth:`make`. Raises FileExistsError if the name is taken, also by a link."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(_one_name(name), flags, 0o600, dir_fd=self.fd)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
            file.write(content)
            _set_owner_and_mode(descriptor, owner, group, mode)

    def remove(self, name: str) -> None:
        """Remove a file or link in it; it need not exist."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_one_name(name), dir_fd=self.fd)


def _set_owner_and_mode(descriptor: int, owner: int, group: int, mode: int) -> None:
    if (owner, group) != (-1, -1):
        os.fchown(descriptor, owner, group)
    os.fchmod(descriptor, mode)  # after fchown, which may clear bits


def _one_name(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise UnsafeFile(errno.EINVAL, "it is not the name of a file in a directory", repr(name))
    return name


def write_atomically(content: bytes, path: Path, mode: int | None = 0o600) -> None:
    """Write a file so that readers see either the old or the new content, and sync it to disk.

    The draft has an unpredictable name and is created exclusively, so that a planted link is not
    followed; a link at ``path`` itself is replaced. The file has exactly ``mode``; if ``mode`` is
    None, it has 0666 without the bits of the umask. Raises OSError, and leaves no draft.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(draft, flags, 0o666 if mode is None else 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
            file.write(content)
            file.flush()
            if mode is not None:
                os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def copy_tree(source: Directory, target: Path, depth: int = 10) -> None:
    """Copy the regular files and directories in ``source`` to a new directory, and nothing else.

    Raises OSError, and :class:`UnsafeFile` for a file of more than :data:`LARGEST_COPY` bytes or
    for directories that are nested more than ``depth`` levels.
    """
    target.mkdir(mode=0o700)
    for name in source.names():
        kind = os.stat(name, dir_fd=source.fd, follow_symlinks=False).st_mode
        if stat.S_ISREG(kind):
            with source.open(name) as file, (target / name).open("xb") as copy:
                if os.fstat(file.fileno()).st_size > LARGEST_COPY:
                    why = f"it is larger than {LARGEST_COPY:,} bytes"
                    raise UnsafeFile(errno.EOVERFLOW, why, str(source.path / name))
                shutil.copyfileobj(file, copy, _CHUNK)
        elif stat.S_ISDIR(kind):
            if not depth:
                raise UnsafeFile(errno.ELOOP, "directories are nested too deeply", name)
            with source.below(name) as inner:
                copy_tree(inner, target / name, depth - 1)


def write_output(content: bytes, path: Path, mode: int | None = 0o600) -> None:
    """Write a file for the user with :func:`write_atomically`. Raises :class:`CannotRun`; the old
    file is intact then."""
    try:
        write_atomically(content, path, mode)
    except OSError as error:
        raise CannotRun(f"{path} can't be written: {error.strerror}") from error


def sync_directory(path: Path) -> None:
    """Write the names in a directory to disk, if the file system supports it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def temporary_root() -> Path:
    """Return the directory for temporary files: ``TMPDIR``, or else ``/tmp``.

    Raises :class:`UsageError` if it is not UTF-8, since a record and Apache's configuration can't
    name it then.
    """
    root = tempfile.gettempdir()
    try:
        root.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(root).decode(errors="replace")
        raise UsageError(
            f"TMPDIR is '{shown}', which is not UTF-8: point it at another directory"
        ) from error
    return Path(root)


def home() -> Path:
    """Return the home directory of this user. Raises :class:`PrerequisiteMissing` if there is none:
    a container may run with a user that has no entry."""
    try:
        return Path.home()
    except RuntimeError:
        raise PrerequisiteMissing(
            f"the user with the id {os.geteuid()} has no home directory: set HOME to a directory "
            "that it can write to"
        ) from None


def cache_root() -> Path:
    """Return the directory of the cache: ``WSGIPROOF_CACHE``, else the platform's cache directory.

    For root that is the machine's (``/var/cache/wsgiproof``), not that in root's home: Apache's
    children run as an unprivileged user, who must be able to read what they import.
    """
    chosen = os.environ.get("WSGIPROOF_CACHE")
    if chosen:
        return Path(chosen).expanduser().resolve()
    if os.geteuid() == 0:
        return Path("/var/cache/wsgiproof")
    home()
    return platformdirs.user_cache_path("wsgiproof")


def place(path: str, directory: Path) -> str:
    """Return a path made absolute. Links are not resolved: a program may behave by its name.

    Raises :class:`UsageError` for what can't be a path, or can't be written in a record.
    """
    if "\0" in path or any("\ud800" <= char <= "\udfff" for char in path):
        raise UsageError(f"'{path}' can't be a path: that is UTF-8 without NUL")
    return os.path.abspath(directory / Path(os.path.expanduser(path)))  # noqa: PTH100, PTH111
