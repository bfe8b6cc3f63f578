"""The manifest of a build: each file of a directory with its size, time and digest.

Sizes and times are compared whenever a build is used, which takes a millisecond for about three
hundred files; digests only where that is not enough. Bytecode that came with the build is part of
it. Bytecode that an interpreter writes later is not: it may do so if it runs as the owner of the
directory.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from wsgiproof.files import open_regular
from wsgiproof.ownership import trusted_users, why_unsafe

_DIGITS = 32
"""Hexadecimal digits that are kept of a SHA-256."""
_LINK = "link "
_KIND_AND_OTHERS = 0o170000 | stat.S_IROTH | stat.S_IWOTH
"""The bits of a mode for the kind of file, and for everyone's permission to read and write it."""
_ENTERED = stat.S_IROTH | stat.S_IXOTH


class File(msgspec.Struct, frozen=True, array_like=True):
    """A file as it was built."""

    size: int
    changed: int
    """Its modification time, in nanoseconds of the epoch."""
    digest: str
    """The start of the SHA-256 of its content; for a link, ``link`` and that of its target."""


Manifest = Mapping[str, File]
"""Files by their path in the directory; bytes outside ASCII are decoded as Latin-1, whatever their
encoding."""


class Difference(msgspec.Struct, frozen=True):
    """How a directory differs from its manifest."""

    damage: str = ""
    """The first difference, in a clause; empty if there is none."""
    manifest: Manifest | None = None
    """A new manifest if only times differ and the content is the same, as after copying."""


def make_manifest(directory: Path, without: str) -> dict[str, File]:
    """Return the manifest of a directory, except for the file ``without`` and its drafts.

    Raises OSError if a file can't be read, also for a FIFO or a socket.
    """
    return {
        name: File(
            size=status.st_size,
            changed=status.st_mtime_ns,
            digest=_digest(directory, name, status),
        )
        for name, status in _scan(directory, without)
        if not stat.S_ISDIR(status.st_mode)
    }


def compare(
    directory: Path, manifest: Manifest, without: str, *, thorough: bool = False
) -> Difference:
    """Compare a directory with its manifest; ``thorough`` also reads all files.

    It is damage as well if others can't read a file, since Apache's user has to, or if they can
    write to it.
    """
    users = trusted_users()
    seen = 0
    moved: dict[str, File] = {}
    try:
        for name, status in _scan(directory, without):
            mode, known = status.st_mode, manifest.get(name)
            if (
                known is not None
                and not thorough
                and status.st_mtime_ns == known.changed
                and status.st_size == known.size
                and mode & _KIND_AND_OTHERS == stat.S_IFREG | stat.S_IROTH
                and status.st_uid in users
            ):  # a shortcut for nearly all files, of which there may be thousands
                seen += 1
                continue
            new_bytecode = known is None and _is_bytecode(name)
            why = why_unsafe(status, users) or ("" if new_bytecode else _why_unreadable(mode))
            if not why and (new_bytecode or stat.S_ISDIR(mode)):
                continue
            if why := why or _change(directory, name, status, known):
                return Difference(damage=f"{_shown(name)} {why}")
            assert known is not None
            seen += 1
            if status.st_mtime_ns != known.changed:
                moved[name] = msgspec.structs.replace(known, changed=status.st_mtime_ns)
    except OSError as error:
        return Difference(damage=f"it can't be read ({error.strerror or error})")
    if seen != len(manifest):
        missing = (name for name in manifest if not os.path.lexists(directory / _path(name)))
        return Difference(damage=f"{_shown(next(missing, 'a file'))} is missing")
    return Difference(manifest={**manifest, **moved} if moved else None)


def _why_unreadable(mode: int) -> str:
    """Return why Apache's user can't read a file with this mode; empty if it can."""
    if stat.S_ISDIR(mode) and mode & _ENTERED != _ENTERED:
        return "can't be entered by everyone"
    if stat.S_ISREG(mode) and not mode & stat.S_IROTH:
        return "can't be read by everyone"
    return ""


def _change(directory: Path, name: str, status: os.stat_result, known: File | None) -> str:
    if known is None:
        return "was added"
    if status.st_size != known.size:
        return f"has {status.st_size:,} bytes, not {known.size:,}"
    return "" if _digest(directory, name, status) == known.digest else "has different content"


def _scan(directory: Path, without: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield everything below a directory, by its name in a manifest; links are not followed."""
    waiting = [("", str(directory))]
    while waiting:
        prefix, place = waiting.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                name = prefix + entry.name
                if not prefix and name.lstrip(".").startswith(without):
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except (
                    FileNotFoundError
                ):  # a draft of bytecode, which an interpreter has just renamed
                    continue
                if stat.S_ISDIR(status.st_mode):
                    waiting.append((f"{name}/", entry.path))
                yield name if name.isascii() else os.fsencode(name).decode("latin-1"), status


def _digest(directory: Path, name: str, status: os.stat_result) -> str:
    path = directory / _path(name)
    if stat.S_ISLNK(status.st_mode):
        return _LINK + hashlib.sha256(os.fsencode(path.readlink())).hexdigest()[:_DIGITS]
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]  # type: ignore[arg-type]


def _path(name: str) -> str:
    return name if name.isascii() else os.fsdecode(name.encode("latin-1"))


def _shown(name: str) -> str:
    return _path(name).encode(errors="replace").decode()


def _is_bytecode(name: str) -> bool:
    """Whether a file is bytecode: in ``__pycache__`` with Python 3, next to its source with 2.7."""
    return "__pycache__" in name.split("/") or name.endswith((".pyc", ".pyo"))
