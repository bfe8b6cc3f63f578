"""The build cache: content-addressed, locked, and never half full.

An entry is a directory named after a digest of everything that its content depends on. It is built
in its final place (a virtual environment and an Apache installation know their own path) under a
lock, and counts as built only once its marker file is there, which is written last. What a killed
build leaves behind has no marker, and is removed by the next one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from filelock import FileLock

from wsgiproof.errors import CannotRun

_MARKER = "wsgiproof-entry.json"


def default_root() -> Path:
    """Where builds live: ``WSGIPROOF_CACHE``, else the platform's cache directory.

    As root that is the machine's (``/var/cache/wsgiproof``), not the one in root's home: Apache's
    children drop to an unprivileged user, who must be able to read what they import.
    """
    chosen = os.environ.get("WSGIPROOF_CACHE")
    if chosen:
        return Path(chosen).expanduser().resolve()
    if os.geteuid() == 0:
        return Path("/var/cache/wsgiproof")
    return platformdirs.user_cache_path("wsgiproof")


class Cache:
    """A directory of built things that several runs may use and fill at once."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()

    def entry(self, kind: str, key: Mapping[str, str], build: Callable[[Path], None]) -> Path:
        """The directory for ``key``, built by ``build(directory)`` if it isn't there yet.

        Two callers with the same key, in any process, build once: the second waits. An exception
        from ``build`` leaves nothing behind. Raises :class:`CannotRun` if the cache can't be
        written.
        """
        directory = self.root / kind / _name(key)
        if (directory / _MARKER).exists():
            return directory
        with self._locked(directory):
            if not (directory / _MARKER).exists():
                _build_whole(directory, key, build)
        return directory

    def holds(self, kind: str, key: Mapping[str, str]) -> bool:
        """Whether the entry is already built."""
        return (self.root / kind / _name(key) / _MARKER).exists()

    def entries(self, kind: str) -> list[Path]:
        """The directories of all that is built of a kind, the latest first."""
        markers = (self.root / kind).glob(f"*/{_MARKER}")
        return [path.parent for path in sorted(markers, key=_built_at, reverse=True)]

    @contextmanager
    def _locked(self, directory: Path) -> Iterator[None]:
        try:
            self._make_shared(directory.parent)
            lock = FileLock(f"{directory}.lock", mode=0o644)
            lock.acquire()
        except OSError as error:
            raise CannotRun(
                f"the build cache {self.root} can't be used ({error.strerror or error}); "
                "make room there or point WSGIPROOF_CACHE at another directory"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _make_shared(self, directory: Path) -> None:
        """Make the directory, readable by all whatever the umask: Apache's user must read it."""
        for path in (*reversed(directory.parents), directory):
            if not path.exists():
                path.mkdir(exist_ok=True)
                path.chmod(0o755)


def _built_at(marker: Path) -> float:
    try:
        return marker.stat().st_mtime
    except OSError:  # it has just been removed
        return 0.0


def _name(key: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:16]
    label = key.get("version", "")
    return f"{label}-{digest}" if label else digest


def _build_whole(directory: Path, key: Mapping[str, str], build: Callable[[Path], None]) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    directory.chmod(0o755)
    try:
        build(directory)
        _let_all_read(directory)
        (directory / _MARKER).write_text(json.dumps(dict(key), indent=2, sort_keys=True) + "\n")
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _let_all_read(directory: Path) -> None:
    """Whatever the umask was: Apache's user reads what root has built."""
    for path in directory.rglob("*"):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if path.is_dir() or mode & 0o100 else 0))
