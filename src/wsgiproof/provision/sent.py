"""Files that another machine has sent: a wheel, an sdist, a module, an application. The build cache
keeps each once for its content."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from wsgiproof.errors import UsageError, describe
from wsgiproof.files import read_file, write_atomically
from wsgiproof.provision.cache import Cache

_LARGEST = 1 << 30
"""Bytes of a file that is sent."""


class SentFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of another machine."""

    name: str
    digest: str
    """SHA-256 of its content."""

    def key(self) -> dict[str, str]:
        """Return what its entry in the cache depends on."""
        return {"digest": self.digest, "name": self.name}


def describe_file(path: str) -> SentFile:
    """Return what is known of a file of this machine that is to be sent. Raises
    :class:`UsageError`."""
    digest = hashlib.sha256(read_to_send(path)).hexdigest()
    return SentFile(name=Path(path).name, digest=digest)


def read_to_send(path: str) -> bytes:
    """Return the content of a file to send. Raises :class:`UsageError`."""
    try:
        return read_file(path, _LARGEST, follow=True)
    except OSError as error:
        raise UsageError(f"it can't be sent to the workers: {describe(error)}") from error


def is_here(file: SentFile, cache: Cache) -> bool:
    """Whether the cache has a file."""
    return cache.holds("source", file.key())


def keep_file(file: SentFile, content: bytes, cache: Cache) -> Path:
    """Put a file into the cache, and return its path. Raises :class:`UsageError` if the content is
    not that of the file."""
    named = file.name not in ("", ".", "..") and "/" not in file.name
    if not named or hashlib.sha256(content).hexdigest() != file.digest:
        raise UsageError(f"what was sent as {file.name} is another file")

    def make(entry: Path) -> None:
        write_atomically(content, entry / file.name, 0o644)

    return cache.entry("source", file.key(), make) / file.name


def path_of(file: SentFile, cache: Cache) -> Path:
    """Return the path of a file in the cache. Raises :class:`UsageError` if it is not there."""

    def missing(entry: Path) -> None:
        raise UsageError(f"{file.name} is not in the build cache of this machine any more")

    return cache.entry("source", file.key(), missing) / file.name
