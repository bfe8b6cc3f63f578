"""The build cache: content-addressed, locked, and never half full.

An entry is a directory named after a digest of everything that its content depends on. It is built
in its final place (a virtual environment and an Apache installation know their own path) under a
lock, and counts as built only once its marker file is there, which is written last. What a killed
build leaves behind has no marker, and is removed by the next one.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import platformdirs
from filelock import FileLock, Timeout

from wsgiproof.errors import CannotRun
from wsgiproof.toolchain import Entry, State

_MARKER = "wsgiproof-entry.json"
_IN_USE = "in-use.lock"
_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors of a build that are the file system's, whichever file was being written."""


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """What is written last into an entry."""

    key: dict[str, str]
    seconds: float
    """That the build took."""
    bytes: int
    digest: str
    """Of all files that were built."""


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """Something that may have to be built: what it is called, what it depends on, and how."""

    title: str
    """For people: ``mod_wsgi 6.1.1 for Python 3.12.1``."""
    kind: str
    key: dict[str, str]
    make: Callable[[Path], None]


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

    def get(self, build: Build) -> Path:
        """The directory of what this builds: see :meth:`entry`."""
        return self.entry(build.kind, build.key, build.make)

    def has(self, build: Build) -> bool:
        """Whether :meth:`get` would return at once."""
        return self.holds(build.kind, build.key)

    def entry(self, kind: str, key: Mapping[str, str], build: Callable[[Path], None]) -> Path:
        """The directory for ``key``, built by ``build(directory)`` if it isn't there yet.

        Two callers with the same key, in any process, build once: the second waits. An exception
        from ``build`` leaves nothing behind but the log of a build that failed, which is then
        named in the message. Raises :class:`CannotRun` if the cache can't be written.
        """
        directory = self.root / kind / _name(key)
        _hold(self.root)
        if not (directory / _MARKER).exists():
            with self._locked(directory):
                if not (directory / _MARKER).exists():
                    self._build_whole(directory, key, build)
        self.use(directory)
        return directory

    def use(self, path: Path) -> None:
        """Note that the entry that holds ``path`` is in use, if one does."""
        _hold(self.root)
        if path.is_relative_to(self.root):
            entry = self.root.joinpath(*path.relative_to(self.root).parts[:2])
            with suppress(OSError):  # it may be somebody else's
                os.utime(entry / _MARKER)

    def holds(self, kind: str, key: Mapping[str, str]) -> bool:
        """Whether the entry is already built."""
        return (self.root / kind / _name(key) / _MARKER).exists()

    def entries(self, *, thorough: bool = False) -> list[Entry]:
        """Everything that is there, by kind and name.

        ``thorough`` reads all files, and so tells what is damaged.
        """
        found = (path for path in self.root.glob("*/*") if path.is_dir())
        return [_look_at(path, thorough=thorough) for path in sorted(found)]

    def remove(self, entry: Entry) -> bool:
        """Remove an entry; False if it is being built just now."""
        directory = Path(entry.path)
        try:
            with FileLock(_lock_of(directory), timeout=0, mode=0o644):
                # Without its marker it is no entry any more, however far this comes.
                (directory / _MARKER).unlink(missing_ok=True)
                shutil.rmtree(directory)
                _log_of(directory).unlink(missing_ok=True)
        except Timeout:
            return False
        except OSError as error:
            raise self._unusable(error) from error
        return True

    @contextmanager
    def to_itself(self) -> Iterator[None]:
        """Nobody else uses the cache inside. Raises :class:`CannotRun` if somebody does."""
        _hold(self.root)
        file = _held.get(self.root)
        if file is None:  # nothing was ever built
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise CannotRun(
                f"another wsgiproof is using {self.root}: wait until it is done"
            ) from error
        finally:  # a lock that could not be made an exclusive one may be lost (flock(2))
            fcntl.flock(file, fcntl.LOCK_SH)

    def built(self, kind: str) -> list[Path]:
        """The directories of all that is built of a kind, the latest first."""
        markers = (self.root / kind).glob(f"*/{_MARKER}")
        return [path.parent for path in sorted(markers, key=_built_at, reverse=True)]

    @contextmanager
    def _locked(self, directory: Path) -> Iterator[None]:
        try:
            self._make_shared(directory.parent)
            _hold(self.root)
            lock = FileLock(_lock_of(directory), mode=0o644)
            lock.acquire()
        except OSError as error:
            raise self._unusable(error) from error
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

    def _build_whole(
        self, directory: Path, key: Mapping[str, str], build: Callable[[Path], None]
    ) -> None:
        started = time.monotonic()
        try:
            _clear(directory)
            build(directory)
            _let_all_read(directory)
            _mark(directory, key, time.monotonic() - started)
        except OSError as error:
            shutil.rmtree(directory, ignore_errors=True)
            if error.errno in _TROUBLE:
                raise self._unusable(error) from error
            raise
        except CannotRun as error:
            told = _keep_log(directory, str(error))
            shutil.rmtree(directory, ignore_errors=True)
            raise type(error)(told) from error
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise

    def _unusable(self, error: OSError) -> CannotRun:
        return CannotRun(
            f"the build cache {self.root} can't be used ({error.strerror or error}); "
            "make room there or point WSGIPROOF_CACHE at another directory"
        )


def _built_at(marker: Path) -> float:
    try:
        return marker.stat().st_mtime
    except OSError:  # it has just been removed
        return 0.0


def _name(key: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:16]
    label = key.get("version", "")
    return f"{label}-{digest}" if label else digest


def _lock_of(directory: Path) -> str:
    return f"{directory}.lock"


def _log_of(directory: Path) -> Path:
    return Path(f"{directory}.log")


def _clear(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    _log_of(directory).unlink(missing_ok=True)
    directory.mkdir()
    directory.chmod(0o755)


def _keep_log(directory: Path, message: str) -> str:
    """Save the log of a failed build from being removed with all the rest; the message names it."""
    kept = _log_of(directory)
    for log in sorted(directory.glob("*.log")):
        with suppress(OSError):
            log.replace(kept)
            message = message.replace(str(log), str(kept))
            return message if str(kept) in message else f"{message} (log: {kept})"
    return message


def _mark(directory: Path, key: Mapping[str, str], seconds: float) -> None:
    size, digest = _measure(directory)
    marker = Marker(key=dict(key), seconds=seconds, bytes=size, digest=digest)
    text = msgspec.json.format(msgspec.json.encode(marker), indent=2)
    unfinished = directory / f"{_MARKER}.new"
    unfinished.write_bytes(text + b"\n")
    unfinished.replace(directory / _MARKER)


def _let_all_read(directory: Path) -> None:
    """Whatever the umask was: Apache's user reads what root has built."""
    for path in directory.rglob("*"):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if path.is_dir() or mode & 0o100 else 0))


def _look_at(directory: Path, *, thorough: bool) -> Entry:
    there = Entry(
        kind=directory.parent.name,
        name=directory.name,
        path=str(directory),
        state=State.UNFINISHED,
        bytes=0,
        used=directory.stat().st_mtime,
    )
    try:
        file = directory / _MARKER
        marker = msgspec.json.decode(file.read_bytes(), type=Marker)
        used = file.stat().st_mtime
    except FileNotFoundError:
        return msgspec.structs.replace(there, bytes=_measure(directory)[0])
    except msgspec.MsgspecError:
        return msgspec.structs.replace(there, state=State.DAMAGED)
    whole = not thorough or _measure(directory)[1] == marker.digest
    return msgspec.structs.replace(
        there,
        state=State.BUILT if whole else State.DAMAGED,
        bytes=marker.bytes,
        seconds=marker.seconds,
        used=used,
        key=marker.key,
    )


def _measure(directory: Path) -> tuple[int, str]:
    """The bytes of all files in it, and their digest.

    Without bytecode, which an interpreter writes for itself, and without our own markers.
    """
    digest, size = hashlib.sha256(), 0
    for folder, names, files in os.walk(directory):
        names[:] = sorted(name for name in names if name != "__pycache__")
        for name in sorted(files):
            path = Path(folder) / name
            if name.startswith(_MARKER):
                continue
            digest.update(os.fsencode(path.relative_to(directory)) + b"\0")
            if path.is_symlink():
                digest.update(os.fsencode(path.readlink()))
            elif path.is_file():
                size += path.stat().st_size
                with path.open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
    return size, digest.hexdigest()[:32]


_held: dict[Path, int] = {}


def _hold(root: Path) -> None:
    """Keep others from removing what this process uses, for as long as it lives (flock(2))."""
    if root not in _held and (file := _open_lock(root)) is not None:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_SH)
        _held[root] = file


def _open_lock(root: Path) -> int | None:
    """Open for locking, which takes no right to write; None where nothing was ever built."""
    for flags in (os.O_RDONLY | os.O_CREAT, os.O_RDONLY):
        with suppress(OSError):
            return os.open(root / _IN_USE, flags | os.O_CLOEXEC, 0o644)
    return None
