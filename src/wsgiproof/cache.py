"""The build cache: content-addressed, locked, and never half full.

An entry is a directory named after a digest of everything that its content depends on. It is built
in its final place (a virtual environment and an Apache installation know their own path) under a
lock, and counts as built only once its marker file is there, which is written last. What a killed
build leaves behind has no marker, and is removed by the next one.

What is in it is loaded by servers, those of root too. So the directories on the way have to be ours
or root's, and closed to the writing of others; each entry is compared with what was built whenever
it is used (:mod:`wsgiproof.manifest`), and built again if it is not that any more.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache as remembered
from pathlib import Path

import msgspec
import platformdirs

from wsgiproof import manifest
from wsgiproof.errors import CannotRun, Locked
from wsgiproof.files import Directory, read_file, write_atomically
from wsgiproof.locks import holders, locked, open_lock, say, take
from wsgiproof.ownership import WRITABLE, objection, open_way, our_users
from wsgiproof.signals import check_interrupted
from wsgiproof.toolchain import Entry, State

KINDS = (
    "cpython",
    "cpython-source",
    "environment",
    "httpd",
    "index",
    "mod_wsgi",
    "sdist",
    "workshop",
)
"""The kinds of entries."""
_MARKER = "wsgiproof-entry.json"
_IN_USE = "in-use.lock"
_PRIVATE = {"uv", "runs"}
"""Directories that have no entries: uv's own cache, and the list of runs."""
_FORMAT = 2
"""Of a marker; another one makes other entries."""
_LARGEST_MARKER = 64 << 20
_SMALL = 1 << 16
"""Bytes of an entry whose files are read at each use, since that costs nothing."""
_BUILD_DEADLINE = 10 * 3600.0
"""Seconds that another process may take to build the same: longer than any build may."""
_USE_DEADLINE = 600.0
"""Seconds that ``wsgiproof cache prune`` may take, which has the cache to itself."""
_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors of a build that are the file system's, whichever file was being written."""


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """What is written last into an entry."""

    key: dict[str, str]
    seconds: float
    """That the build took."""
    built: float
    """When that was, in seconds of the epoch."""
    bytes: int
    files: dict[str, manifest.File]


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
        """The directory for ``key``, built by ``build(directory)`` if it isn't there yet, or if it
        is not as it was built.

        Two callers with the same key, in any process, build once: the second waits, and says so.
        An exception from ``build`` leaves nothing behind but the log of a build that failed, which
        is then named in the message. Raises :class:`CannotRun` if the cache can't be written, or if
        others can.
        """
        directory = self.root / kind / _name(key)
        self._check(directory)
        _hold(self.root)
        if _damage(directory):
            with self._locked(directory):
                if damage := _damage(directory):
                    if damage != _UNBUILT:
                        say(f"{directory} is not as it was built and is built again: {damage}")
                    self._build_whole(directory, key, build)
        _touch(directory)
        return directory

    def use(self, path: Path) -> None:
        """Note that the entry that holds ``path`` is in use, if one does.

        Raises :class:`CannotRun` if it is not as it was built, or if others can write there.
        """
        _hold(self.root)
        if entry := self._entry_of(path):
            self._check(entry)
            if damage := _damage(entry):
                raise CannotRun(_told(entry, damage))
            _touch(entry)

    def discard_damaged(self, paths: Iterable[Path], *, thorough: bool = True) -> str:
        """Discard each entry that holds one of ``paths`` and is not as it was built.

        Says in one line what was wrong; empty if nothing was. ``thorough`` reads all files.
        """
        found = []
        for entry in dict.fromkeys(filter(None, map(self._entry_of, paths))):
            damage = _damage(entry, thorough=thorough, built=_used.get(entry))
            if damage:
                found.append(_told(entry, damage))
                if damage != _REBUILT:
                    with suppress(OSError):  # it may be somebody else's
                        (entry / _MARKER).unlink()
        return "; ".join(found)

    def holds(self, kind: str, key: Mapping[str, str]) -> bool:
        """Whether the entry is already built."""
        return not _damage(self.root / kind / _name(key))

    def entries(self, *, thorough: bool = False) -> list[Entry]:
        """Everything that is there, by kind and name.

        ``thorough`` reads all files, and so tells what is damaged.
        """
        kinds = (path for path in self.root.glob("*") if path.name not in _PRIVATE)
        found = (path for kind in kinds for path in kind.glob("*") if path.is_dir())
        found = (path for path in found if _is_text(path))
        return [_look_at(path, thorough=thorough) for path in sorted(found)]

    def private(self, name: str) -> Path:
        """A directory beside the entries, for us alone: one of those that have none.

        Raises :class:`CannotRun` if others can write there, or OSError if it can't be made.
        """
        assert name in _PRIVATE
        self._make_shared(self.root)
        directory = self.root / name
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        self._check(directory / "entry")
        return directory

    def remove(self, entry: Entry) -> bool:
        """Remove an entry; False if it is being built just now.

        Raises :class:`CannotRun` if others can write where it is, or if it can't be removed.
        """
        directory = Path(entry.path)
        self._check(directory)  # removing by name where others rename would be theirs to aim
        try:
            with locked(_lock_of(directory), seconds=0):
                # Without its marker it is no entry any more, however far this comes.
                (directory / _MARKER).unlink(missing_ok=True)
                shutil.rmtree(directory)
                _log_of(directory).unlink(missing_ok=True)
        except Locked:
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
            take(file, self.root / _IN_USE, seconds=0)
            yield
        except Locked as error:
            raise CannotRun(
                f"another wsgiproof is using {self.root}, {holders(file)}: wait until it is done"
            ) from error
        finally:  # a lock that could not be made an exclusive one may be lost (flock(2))
            take(file, self.root / _IN_USE, seconds=_USE_DEADLINE, shared=True)

    def built(self, kind: str) -> list[Path]:
        """The directories of all that is built of a kind, the latest first.

        One that is not as it was built is left out, and the user is told.
        """
        markers = sorted(self.root.glob(f"{kind}/*/{_MARKER}"), key=_built_at, reverse=True)
        return [marker.parent for marker in markers if self._is_intact(marker.parent)]

    def _is_intact(self, entry: Path) -> bool:
        try:
            self._check(entry)
        except CannotRun as error:
            _say_once(str(error))
            return False
        if damage := _damage(entry):
            _say_once(_told(entry, damage))
        return not damage

    def _entry_of(self, path: Path) -> Path | None:
        if not path.is_relative_to(self.root):
            return None
        parts = path.relative_to(self.root).parts
        return self.root.joinpath(*parts[:2]) if len(parts) > 1 else None

    def _check(self, entry: Path) -> None:
        """Raise :class:`CannotRun` if others can write where ``entry`` is, or replace it."""
        for way in dict.fromkeys((self.root.parent, self.root.resolve().parent)):
            if writable := open_way(way):
                raise self._unsafe(writable, WRITABLE)
        users = our_users()
        for path in (self.root, entry.parent, entry):
            try:
                status = path.stat() if path == self.root else path.lstat()
            except OSError:  # it is not there yet, or that is told when it is made
                return
            if stat.S_ISLNK(status.st_mode):
                raise CannotRun(f"{path} of the build cache is a link: remove it")
            if why := objection(status, users):
                raise self._unsafe(path, why)

    def _unsafe(self, path: Path, why: str) -> CannotRun:
        fix = f"'chmod o-w {path}', or " if why == WRITABLE else ""
        return CannotRun(
            f"the build cache {self.root} is not used, since {path} {why}: {fix}point "
            "WSGIPROOF_CACHE at another directory"
        )

    @contextmanager
    def _locked(self, directory: Path) -> Iterator[None]:
        try:
            self._make_shared(directory.parent)
            _hold(self.root)
            descriptor = open_lock(_lock_of(directory))
        except OSError as error:
            raise self._unusable(error) from error
        try:
            take(
                descriptor,
                directory,
                seconds=_BUILD_DEADLINE,
                heartbeat=check_interrupted,
            )
            yield
        finally:
            os.close(descriptor)

    def _make_shared(self, directory: Path) -> None:
        """Make the directory, which all may read and we alone may write, whatever the umask.

        What is in the place of a directory of the cache, and is none, is removed.
        """
        if directory != self.root and os.path.lexists(directory) and not directory.is_dir():
            say(f"{directory} is no directory, and is removed from the build cache")
            directory.unlink(missing_ok=True)
        for path in (*reversed(directory.parents), directory):
            if not path.exists():
                with suppress(FileExistsError):  # somebody else has just made it
                    path.mkdir(mode=0o755)
                    with Directory(path) as made:
                        os.fchmod(made.fd, 0o755)
        self._check(directory / "entry")

    def _build_whole(
        self, directory: Path, key: Mapping[str, str], build: Callable[[Path], None]
    ) -> None:
        started = time.monotonic()
        try:
            _clear(directory)
            build(directory)
            _set_modes(directory)
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
    told = json.dumps([_FORMAT, dict(key)], sort_keys=True)
    digest = hashlib.sha256(told.encode()).hexdigest()[:16]
    label = key.get("version", "")
    return f"{label}-{digest}" if label else digest


def _is_text(path: Path) -> bool:
    """Whether its name is one that we could have given."""
    return str(path).isprintable()


def _lock_of(directory: Path) -> Path:
    return Path(f"{directory}.lock")


def _log_of(directory: Path) -> Path:
    return Path(f"{directory}.log")


def _clear(directory: Path) -> None:
    """Make it anew, and closed: with a umask of 0, all could write below it until it is done."""
    if directory.is_dir() and not directory.is_symlink():
        shutil.rmtree(directory, ignore_errors=True)
    else:
        directory.unlink(missing_ok=True)
    _log_of(directory).unlink(missing_ok=True)
    directory.mkdir(mode=0o700)


def _keep_log(directory: Path, message: str) -> str:
    """Save the log of a failed build from being removed with all the rest; the message names it."""
    kept = _log_of(directory)
    for log in sorted(directory.glob("*.log")):
        with suppress(OSError):
            log.chmod(0o644)
            log.replace(kept)
            message = message.replace(str(log), str(kept))
            return message if str(kept) in message else f"{message} (log: {kept})"
    return message


def _mark(directory: Path, key: Mapping[str, str], seconds: float) -> None:
    files = manifest.take(directory, _MARKER)
    size = sum(file.size for file in files.values())
    marker = Marker(key=dict(key), seconds=seconds, built=time.time(), bytes=size, files=files)
    _write(marker, directory)
    _used[directory] = marker.built


def _write(marker: Marker, directory: Path) -> None:
    write_atomically(msgspec.json.encode(marker) + b"\n", directory / _MARKER, 0o644)


def _set_modes(directory: Path) -> None:
    """Whatever the umask was: Apache's user reads what root has built, and nobody else writes.

    The directory itself is opened last.
    """
    for _, names, files, folder in os.fwalk(directory):
        for name in (*names, *files):
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            if not stat.S_ISLNK(mode):
                executable = stat.S_ISDIR(mode) or mode & stat.S_IXUSR
                os.chmod(name, 0o755 if executable else 0o644, dir_fd=folder)
    directory.chmod(0o755)


_UNBUILT = "it is not built"
_REBUILT = "it was built again while it was in use"
_used: dict[Path, float] = {}
"""The entries that this process has used, with when each was built."""


def _damage(entry: Path, *, thorough: bool = False, built: float | None = None) -> str:
    """What of an entry is not as it was built, or that it is not; empty if it is whole.

    One that was not built at ``built``, if that is given, was damaged in between.
    """
    try:
        marker = _read(entry)
    except (FileNotFoundError, NotADirectoryError):
        return _UNBUILT
    except OSError as error:
        return f"its marker can't be read ({error.strerror})"
    except _NO_MARKER:
        return "its marker is not what we write"
    if built is not None and marker.built != built:
        return _REBUILT
    damage = _difference(entry, marker, thorough=thorough)
    if not damage:
        _used[entry] = marker.built
    return damage


_NO_MARKER = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding one may raise, for any bytes."""


def _read(entry: Path) -> Marker:
    return msgspec.json.decode(read_file(entry / _MARKER, _LARGEST_MARKER), type=Marker)


def _difference(entry: Path, marker: Marker, *, thorough: bool) -> str:
    small = marker.bytes < _SMALL
    found = manifest.compare(entry, marker.files, _MARKER, thorough=thorough or small)
    if found.manifest is not None:
        with suppress(OSError):  # it may be somebody else's, and then is read again each time
            _write(msgspec.structs.replace(marker, files=dict(found.manifest)), entry)
    return found.damage


def _told(entry: Path, damage: str) -> str:
    return f"{entry} of the build cache is not as it was built ({damage}); it has to be built again"


_say_once = remembered(say)


def _touch(entry: Path) -> None:
    """Note when it was last used."""
    with suppress(OSError):  # it may be somebody else's
        os.utime(entry / _MARKER)


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
        marker = _read(directory)
        used = (directory / _MARKER).stat().st_mtime
    except FileNotFoundError:
        return msgspec.structs.replace(there, bytes=_size(directory))
    except (OSError, *_NO_MARKER):
        return msgspec.structs.replace(there, state=State.DAMAGED)
    whole = not thorough or not _difference(directory, marker, thorough=True)
    return msgspec.structs.replace(
        there,
        state=State.BUILT if whole else State.DAMAGED,
        bytes=marker.bytes,
        seconds=marker.seconds,
        used=used,
        key=marker.key,
    )


def _size(directory: Path) -> int:
    size = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            with suppress(OSError):  # a build may be at work
                size += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - many
    return size


_held: dict[Path, int] = {}


def _hold(root: Path) -> None:
    """Keep others from removing what this process uses, for as long as it lives (flock(2)).

    Where we can't open the lock there is nothing yet, or the cache is root's, who looks after it.
    """
    if root in _held:
        return
    try:
        file = open_lock(root / _IN_USE)
    except OSError:
        return
    take(file, root / _IN_USE, seconds=_USE_DEADLINE, shared=True, heartbeat=check_interrupted)
    _held[root] = file
