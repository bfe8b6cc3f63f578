"""What was built: each file of a directory with its size, its time and its digest.

Sizes and times are compared each time something is used, which takes a millisecond for some three
hundred files; digests where that is not enough. Bytecode that came with the build is part of it.
What an interpreter has written since is not: it may, where it runs as the directory's owner.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from wsgiproof.files import open_regular
from wsgiproof.ownership import objection, our_users

_DIGITS = 32
"""Of a SHA-256, in hexadecimal."""
_LINK = "link "
_KIND_AND_OTHERS = 0o170000 | stat.S_IROTH | stat.S_IWOTH
"""Of a mode: what kind of file it is, and whether everybody may read it, or write it."""
_ENTERED = stat.S_IROTH | stat.S_IXOTH


class File(msgspec.Struct, frozen=True, array_like=True):
    """A file as it was built."""

    size: int
    changed: int
    """Its modification time, in nanoseconds of the epoch."""
    digest: str
    """The start of its SHA-256; for a link, of where it leads to, after ``link``."""


Manifest = Mapping[str, File]
"""By the path in the directory; bytes beyond ASCII as Latin-1 has them, whatever they stand for."""


class Difference(msgspec.Struct, frozen=True):
    """What became of a directory since its manifest was made."""

    damage: str = ""
    """The first thing that is not as it was built, in a clause; empty if all is."""
    manifest: Manifest | None = None
    """A new one, where the content is the same and only times are others: it was copied."""


def take(directory: Path, without: str) -> dict[str, File]:
    """The manifest of a directory, but for the file ``without`` in it, and drafts of that.

    Raises OSError for what can't be read, a FIFO or a socket too.
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
    """What is not as it was built; ``thorough`` reads all files, too.

    Others must be able to read it, as Apache's user has to, and not to write there; what is
    otherwise is damage as well.
    """
    users = our_users()
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
            ):  # as nearly all are, and there may be thousands
                seen += 1
                continue
            new_bytecode = known is None and _is_bytecode(name)
            why = objection(status, users) or ("" if new_bytecode else _closed(mode))
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


def _closed(mode: int) -> str:
    """Why Apache's user can't read what has this mode; empty if he can."""
    if stat.S_ISDIR(mode) and mode & _ENTERED != _ENTERED:
        return "can't be entered by everybody"
    if stat.S_ISREG(mode) and not mode & stat.S_IROTH:
        return "can't be read by everybody"
    return ""


def _change(directory: Path, name: str, status: os.stat_result, known: File | None) -> str:
    if known is None:
        return "was not built"
    if status.st_size != known.size:
        return f"has {status.st_size:,} bytes, not {known.size:,}"
    return "" if _digest(directory, name, status) == known.digest else "has another content"


def _scan(directory: Path, without: str) -> Iterator[tuple[str, os.stat_result]]:
    """All that is below it, by its name in a manifest; links are not followed."""
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
                except FileNotFoundError:  # a draft of bytecode, which an interpreter has renamed
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
    """Of Python 3 in a directory of its own, of 2.7 beside its source."""
    return "__pycache__" in name.split("/") or name.endswith((".pyc", ".pyo"))
