"""The build cache: content-addressed, locked, and without incomplete entries.

An entry is a directory named after a digest of everything that its content depends on. It is built
in its final place under a lock, since a virtual environment and an Apache installation contain
their own path. It counts as built only once its marker file exists, which is written last. What a
killed build leaves behind has no marker, and is removed by the next build.

Servers, also those of root, load what is in the cache. So its directories must belong to this user
or to root, and others must not be able to write to them. Each entry is compared with its manifest
whenever it is used (:mod:`wsgiproof.provision.manifest`), and rebuilt if it has changed.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from wsgiproof.errors import CannotRun, Locked
from wsgiproof.files import Directory, cache_root, read_file, write_atomically
from wsgiproof.ownership import WRITABLE, trusted_users, unprotected_directory, why_unsafe
from wsgiproof.process.locks import acquire, holders, locked, notify, open_lock
from wsgiproof.process.signals import check_interrupted
from wsgiproof.provision import manifest
from wsgiproof.provision.toolchain import Entry, State

KINDS = (
    "cpython",
    "cpython-source",
    "environment",
    "httpd",
    "index",
    "mod_wsgi",
    "pip",
    "sdist",
    "source",
)
"""The kinds of entries."""
_MARKER = "wsgiproof-entry.json"
_IN_USE = "in-use.lock"
_PRIVATE = {"uv", "runs"}
"""Directories without entries: uv's own cache, and the list of runs."""
_FORMAT = 2
"""The format of a marker; another format makes other entries."""
_LARGEST_MARKER = 64 << 20
_SMALL = 1 << 16
"""Bytes of an entry whose files are read at each use, since that costs nearly nothing."""
_BUILD_DEADLINE = 10 * 3600.0
"""Seconds that another process may take to build the same entry: longer than any build takes."""
_USE_DEADLINE = 600.0
"""Seconds that ``wsgiproof cache prune`` may take, which locks the cache exclusively."""
_FILE_SYSTEM_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors of a build that are errors of the cache, whichever file was being written."""


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """The file that is written last into an entry."""

    key: dict[str, str]
    seconds: float
    """How long the build took."""
    built: float
    """When it was built, in seconds since the epoch."""
    bytes: int
    files: dict[str, manifest.File]


# msgspec prepares a type when it is used for the first time. Up to 0.22.0, two threads that do that
# at once crash the process. So each type that threads read is prepared at import.
_decode_marker = msgspec.json.Decoder(Marker).decode


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """Something to build unless it is cached: its title, what it depends on, and how to make it."""

    title: str
    """For people: ``mod_wsgi 6.1.1 for Python 3.12.1``."""
    kind: str
    key: dict[str, str]
    make: Callable[[Path], None]


class Cache:
    """A directory of builds that several runs may use and fill at the same time."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or cache_root()

    def get(self, build: Build) -> Path:
        """Return the directory of a build, as :meth:`entry` does."""
        return self.entry(build.kind, build.key, build.make)

    def has(self, build: Build) -> bool:
        """Whether :meth:`get` would return at once."""
        return self.holds(build.kind, build.key)

    def entry(self, kind: str, key: Mapping[str, str], build: Callable[[Path], None]) -> Path:
        """Return the directory for ``key``; call ``build(directory)`` unless it is built and
        intact.

        Callers with the same key, in any process, build it once: the others wait, and print a
        message. An exception from ``build`` leaves nothing behind except the log of a failed build,
        which the message then names. Raises :class:`CannotRun` if the cache can't be written, or if
        other users can write to it.
        """
        directory = self.root / kind / _entry_name(key)
        self._check(directory)
        _lock_for_use(self.root)
        if _damage(directory):
            with self._locked(directory):
                if damage := _damage(directory):
                    if damage != _UNBUILT:
                        notify(
                            f"{directory} has changed since it was built and is rebuilt: {damage}"
                        )
                    self._build_entry(directory, key, build)
        _touch(directory)
        return directory

    def use(self, path: Path) -> None:
        """Mark the entry that contains ``path`` as used; do nothing for a path outside the cache.

        Raises :class:`CannotRun` if it has changed since it was built, or if other users can write
        to it.
        """
        _lock_for_use(self.root)
        if entry := self._entry_of(path):
            self._check(entry)
            if damage := _damage(entry):
                raise CannotRun(_damage_message(entry, damage))
            _touch(entry)

    def discard_damaged(self, paths: Iterable[Path], *, thorough: bool = True) -> str:
        """Discard each entry that contains one of ``paths`` and has changed since it was built.

        Returns in one line what has changed; empty if nothing has. ``thorough`` reads all files.
        """
        found = []
        for entry in dict.fromkeys(filter(None, map(self._entry_of, paths))):
            damage = _damage(entry, thorough=thorough, built=_used.get(entry))
            if damage:
                found.append(_damage_message(entry, damage))
                if damage != _REBUILT:
                    with suppress(OSError):  # it may belong to another user
                        (entry / _MARKER).unlink()
        return "; ".join(found)

    def holds(self, kind: str, key: Mapping[str, str]) -> bool:
        """Whether the entry is already built."""
        return not _damage(self.root / kind / _entry_name(key))

    def entries(self, *, thorough: bool = False) -> list[Entry]:
        """Return all entries, by kind and name.

        ``thorough`` reads all files, and so finds all damage.
        """
        kinds = (path for path in self.root.glob("*") if path.name not in _PRIVATE)
        found = (path for kind in kinds for path in kind.glob("*") if path.is_dir())
        found = (path for path in found if _is_printable(path))
        return [_inspect(path, thorough=thorough) for path in sorted(found)]

    def private(self, name: str) -> Path:
        """Return one of the directories without entries, and create it with mode 0700 if needed.

        Raises :class:`CannotRun` if other users can write to it, and OSError if it can't be
        created.
        """
        assert name in _PRIVATE
        self._make_shared(self.root)
        directory = self.root / name
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        self._check(directory / "entry")
        return directory

    def remove(self, entry: Entry) -> bool:
        """Remove an entry; return False if it is being built at this moment.

        Raises :class:`CannotRun` if other users can write to its directory, or if it can't be
        removed.
        """
        directory = Path(entry.path)
        self._check(directory)  # others who can rename could make this remove something else
        try:
            with locked(_lock_of(directory), seconds=0):
                # First the marker: without it, a partly removed entry is not used.
                (directory / _MARKER).unlink(missing_ok=True)
                shutil.rmtree(directory)
                _log_of(directory).unlink(missing_ok=True)
        except Locked:
            return False
        except OSError as error:
            raise self._unusable(error) from error
        return True

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Lock the cache exclusively in the context. Raises :class:`CannotRun` if another process
        uses it."""
        _lock_for_use(self.root)
        file = _use_locks.get(self.root)
        if file is None:  # nothing was ever built
            yield
            return
        try:
            acquire(file, self.root / _IN_USE, seconds=0)
            yield
        except Locked as error:
            raise CannotRun(
                f"another wsgiproof is using {self.root}, {holders(file)}: wait until it is done"
            ) from error
        finally:  # a failed conversion to an exclusive lock may lose the shared one (flock(2))
            acquire(file, self.root / _IN_USE, seconds=_USE_DEADLINE, shared=True)

    def built(self, kind: str) -> list[Path]:
        """Return the directories of all built entries of a kind, the latest first.

        An entry that has changed since it was built is left out, and a message is printed.
        """
        markers = sorted(self.root.glob(f"{kind}/*/{_MARKER}"), key=_built_at, reverse=True)
        return [marker.parent for marker in markers if self._is_intact(marker.parent)]

    def _is_intact(self, entry: Path) -> bool:
        try:
            self._check(entry)
        except CannotRun as error:
            _notify_once(str(error))
            return False
        if damage := _damage(entry):
            _notify_once(_damage_message(entry, damage))
        return not damage

    def _entry_of(self, path: Path) -> Path | None:
        if not path.is_relative_to(self.root):
            return None
        parts = path.relative_to(self.root).parts
        return self.root.joinpath(*parts[:2]) if len(parts) > 1 else None

    def _check(self, entry: Path) -> None:
        """Raise :class:`CannotRun` if other users can write to the directory of ``entry``, or
        replace it."""
        for parent in dict.fromkeys((self.root.parent, self.root.resolve().parent)):
            if unprotected := unprotected_directory(parent):
                raise self._unsafe(unprotected, WRITABLE)
        users = trusted_users()
        for path in (self.root, entry.parent, entry):
            try:
                status = path.stat() if path == self.root else path.lstat()
            except OSError:  # it does not exist yet, or creating it will raise the same error
                return
            if stat.S_ISLNK(status.st_mode):
                raise CannotRun(f"{path} of the build cache is a link: remove it")
            if why := why_unsafe(status, users):
                raise self._unsafe(path, why)

    def _unsafe(self, path: Path, why: str) -> CannotRun:
        fix = f"'chmod o-w {path}', or " if why == WRITABLE else ""
        return CannotRun(
            f"the build cache {self.root} is not used because {path} {why}: {fix}point "
            "WSGIPROOF_CACHE at another directory"
        )

    @contextmanager
    def _locked(self, directory: Path) -> Iterator[None]:
        try:
            self._make_shared(directory.parent)
            _lock_for_use(self.root)
            descriptor = open_lock(_lock_of(directory))
        except OSError as error:
            raise self._unusable(error) from error
        try:
            acquire(
                descriptor,
                directory,
                seconds=_BUILD_DEADLINE,
                heartbeat=check_interrupted,
            )
            yield
        finally:
            os.close(descriptor)

    def _make_shared(self, directory: Path) -> None:
        """Make a directory that everyone may read and only this user may write, whatever the umask.

        A file in the place of a directory of the cache is removed.
        """
        if directory != self.root and os.path.lexists(directory) and not directory.is_dir():
            notify(f"{directory} is not a directory, and is removed from the build cache")
            directory.unlink(missing_ok=True)
        for path in (*reversed(directory.parents), directory):
            if not path.exists():
                with suppress(FileExistsError):  # another process has just made it
                    path.mkdir(mode=0o755)
                    with Directory(path) as made:
                        os.fchmod(made.fd, 0o755)
        self._check(directory / "entry")

    def _build_entry(
        self, directory: Path, key: Mapping[str, str], build: Callable[[Path], None]
    ) -> None:
        started = time.monotonic()
        try:
            _make_empty(directory)
            build(directory)
            _set_modes(directory)
            _write_new_marker(directory, key, time.monotonic() - started)
        except OSError as error:
            shutil.rmtree(directory, ignore_errors=True)
            if error.errno in _FILE_SYSTEM_ERRORS:
                raise self._unusable(error) from error
            raise
        except CannotRun as error:
            message = _keep_log(directory, str(error))
            shutil.rmtree(directory, ignore_errors=True)
            raise type(error)(message) from error
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise

    def _unusable(self, error: OSError) -> CannotRun:
        return CannotRun(
            f"the build cache {self.root} can't be used ({error.strerror or error}): "
            "make room there or point WSGIPROOF_CACHE at another directory"
        )


def _built_at(marker: Path) -> float:
    try:
        return marker.stat().st_mtime
    except OSError:  # it has just been removed
        return 0.0


def _entry_name(key: Mapping[str, str]) -> str:
    content = json.dumps([_FORMAT, dict(key)], sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    label = key.get("version", "")
    return f"{label}-{digest}" if label else digest


def _is_printable(path: Path) -> bool:
    """Whether wsgiproof could have made this name."""
    return str(path).isprintable()


def _lock_of(directory: Path) -> Path:
    return Path(f"{directory}.lock")


def _log_of(directory: Path) -> Path:
    return Path(f"{directory}.log")


def _make_empty(directory: Path) -> None:
    """Make an empty directory with mode 0700: with a umask of 0, others could write to what is
    built in it."""
    if directory.is_dir() and not directory.is_symlink():
        shutil.rmtree(directory, ignore_errors=True)
    else:
        directory.unlink(missing_ok=True)
    _log_of(directory).unlink(missing_ok=True)
    directory.mkdir(mode=0o700)


def _keep_log(directory: Path, message: str) -> str:
    """Move the log of a failed build out of its directory; return the message with its new path."""
    kept = _log_of(directory)
    for log in sorted(directory.glob("*.log")):
        with suppress(OSError):
            log.chmod(0o644)
            log.replace(kept)
            message = message.replace(str(log), str(kept))
            return message if str(kept) in message else f"{message} (log: {kept})"
    return message


def _write_new_marker(directory: Path, key: Mapping[str, str], seconds: float) -> None:
    files = manifest.make_manifest(directory, _MARKER)
    size = sum(file.size for file in files.values())
    marker = Marker(key=dict(key), seconds=seconds, built=time.time(), bytes=size, files=files)
    _write_marker(marker, directory)
    _used[directory] = marker.built


def _write_marker(marker: Marker, directory: Path) -> None:
    write_atomically(msgspec.json.encode(marker) + b"\n", directory / _MARKER, 0o644)


def _set_modes(directory: Path) -> None:
    """Let everyone read a build, and only its owner write it, whatever the umask was.

    Apache's user reads what root builds. The directory itself is made accessible last.
    """
    for _, names, files, folder in os.fwalk(directory):
        for name in (*names, *files):
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            if not stat.S_ISLNK(mode):
                executable = stat.S_ISDIR(mode) or mode & stat.S_IXUSR
                os.chmod(name, 0o755 if executable else 0o644, dir_fd=folder)
    directory.chmod(0o755)


_UNBUILT = "it is not built"
_REBUILT = "it was rebuilt while it was in use"
_used: dict[Path, float] = {}
"""The entries that this process has used, and the time when each was built."""


def _damage(entry: Path, *, thorough: bool = False, built: float | None = None) -> str:
    """Return what has changed in an entry, or that it is not built; empty if it is intact.

    An entry that was not built at the time ``built``, if that is given, was rebuilt meanwhile.
    """
    try:
        marker = _read_marker(entry)
    except (FileNotFoundError, NotADirectoryError):
        return _UNBUILT
    except OSError as error:
        return f"its marker can't be read ({error.strerror})"
    except _DECODE_ERRORS:
        return "its marker is not valid"
    if built is not None and marker.built != built:
        return _REBUILT
    damage = _difference(entry, marker, thorough=thorough)
    if not damage:
        _used[entry] = marker.built
    return damage


_DECODE_ERRORS = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding a marker may raise, whatever its bytes are."""


def _read_marker(entry: Path) -> Marker:
    return _decode_marker(read_file(entry / _MARKER, _LARGEST_MARKER))


def _difference(entry: Path, marker: Marker, *, thorough: bool) -> str:
    small = marker.bytes < _SMALL
    found = manifest.compare(entry, marker.files, _MARKER, thorough=thorough or small)
    if found.manifest is not None:
        with suppress(OSError):  # it may belong to another user; its files are then read each time
            _write_marker(msgspec.structs.replace(marker, files=dict(found.manifest)), entry)
    return found.damage


def _damage_message(entry: Path, damage: str) -> str:
    return (
        f"{entry} of the build cache has changed since it was built ({damage}), "
        "and has to be rebuilt"
    )


_notify_once = functools.cache(notify)


def _touch(entry: Path) -> None:
    """Update the time of last use."""
    with suppress(OSError):  # it may belong to another user
        os.utime(entry / _MARKER)


def _inspect(directory: Path, *, thorough: bool) -> Entry:
    unfinished = Entry(
        kind=directory.parent.name,
        name=directory.name,
        path=str(directory),
        state=State.UNFINISHED,
        bytes=0,
        used=directory.stat().st_mtime,
    )
    try:
        marker = _read_marker(directory)
        used = (directory / _MARKER).stat().st_mtime
    except FileNotFoundError:
        return msgspec.structs.replace(unfinished, bytes=_size(directory))
    except (OSError, *_DECODE_ERRORS):
        return msgspec.structs.replace(unfinished, state=State.DAMAGED)
    intact = not thorough or not _difference(directory, marker, thorough=True)
    return msgspec.structs.replace(
        unfinished,
        state=State.BUILT if intact else State.DAMAGED,
        bytes=marker.bytes,
        seconds=marker.seconds,
        used=used,
        key=marker.key,
    )


def _size(directory: Path) -> int:
    size = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            with suppress(OSError):  # a build may be running
                size += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - many
    return size


_use_locks: dict[Path, int] = {}


def _lock_for_use(root: Path) -> None:
    """Keep others from removing what this process uses as long as it lives (flock(2)).

    If the lock can't be opened, the cache is empty or belongs to root.
    """
    if root in _use_locks:
        return
    try:
        file = open_lock(root / _IN_USE)
    except OSError:
        return
    acquire(file, root / _IN_USE, seconds=_USE_DEADLINE, shared=True, heartbeat=check_interrupted)
    _use_locks[root] = file
