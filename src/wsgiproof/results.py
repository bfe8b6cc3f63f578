"""The directory that a run leaves behind: written while it goes on, and read back.

``results.json`` is the run and what each cell came to; ``cells/<id>/cell.json`` is all about one
cell. ``docs/results.md`` describes both. A directory may come from another machine, so all of it
is read through :mod:`wsgiproof.files`: no link below it is followed, nothing is waited for, and
nothing is read without a bound.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

import msgspec

from wsgiproof.errors import CannotRun, Locked, UsageError, describe
from wsgiproof.files import (
    LARGEST_RECORD,
    Directory,
    UnsafeFile,
    read_file,
    sync_directory,
    write_output,
)
from wsgiproof.locks import locked
from wsgiproof.records import FORMAT, CellRecord, Excluded, RunRecord, as_json

RESULTS = "results.json"
_LOCK = ".lock"
CELLS = "cells"
TRIES = "tries"
"""What cells left that ended in ``error`` and were tried again."""
CELL = "cell.json"
UNKNOWN = "(other cells: results.json was lost, and with it what else was planned)"
"""Stands among the planned cells of a run whose ``results.json`` had to be rebuilt."""
_LONGEST_COMPLAINT = 500
"""Characters of what a decoder says, which may quote the record."""

_LARGE = re.compile(rb"(?<![.0-9])[0-9]{17,}|[0-9][eE][+]?[0-9]{2}")
_LARGEST = 2**60

_Kind = TypeVar("_Kind")
Note = Callable[[str], None]
"""Is given a line for the user."""


def silent(line: str) -> None:
    """Nobody is interested."""


class Results:
    """``results.json`` of a run, whole and up to date after each cell."""

    def __init__(self, record: RunRecord, directory: Path) -> None:
        self._path = directory / RESULTS
        self._save(record)

    def add(self, cell: CellRecord) -> None:
        """One more cell is done."""
        self._save(msgspec.structs.replace(self._record, cells=(*self._record.cells, cell)))

    def finish(self) -> RunRecord:
        """All cells are done."""
        self._save(msgspec.structs.replace(self._record, complete=True, finished=now()))
        return self._record

    def _save(self, record: RunRecord) -> None:
        self._record = record
        save(record.to_json(), self._path)


def save(value: object, path: Path) -> None:
    """Write a record as JSON. It is on the disk when this returns, whole; a reader sees the old
    file or the new. Raises :class:`CannotRun` if it can't be written; the old file is whole then.
    """
    write_output(msgspec.json.format(as_json(value), indent=2) + b"\n", path)


def save_cell(record: CellRecord, directory: Path) -> None:
    """Write the record of a cell into its directory, and have that on the disk, too."""
    save(record, directory / CELL)
    sync_directory(directory.parent)


def keep(record: CellRecord, output: Path) -> None:
    """Write the record of a cell that did not come to write its own."""
    directory = output / record.directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotRun(f"{directory} can't be written: {error.strerror}") from error
    save_cell(record, directory)


class _CellEntry(msgspec.Struct):
    directory: str


class _Header(msgspec.Struct):
    """What ``results.json`` says of the run itself; its cells are read from their own files."""

    format: int
    wsgiproof: str
    command: str
    started: str
    finished: str | None
    complete: bool
    host: dict[str, str]
    planned: tuple[str, ...]
    cells: list[_CellEntry]
    excluded: tuple[Excluded, ...] = ()


class _Lost(UsageError):
    """There is no ``results.json``, or what there is of it is not JSON of ours."""


@contextmanager
def held(output: Path) -> Iterator[None]:
    """Keep other runs out of a directory for as long as this one goes on, however it ends.

    Raises :class:`UsageError` if another run is in it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(output / _LOCK, seconds=0))
        except Locked as error:
            raise UsageError(f"another wsgiproof is at work in {output}: {error}") from error
        except OSError as error:
            raise CannotRun(f"{output} can't be written: {error.strerror}") from error
        yield


def make_output(wanted: Path | None) -> Path:
    """The run's own directory, 0700: it may hold what an application logs.

    ``wsgiproof-results/TIME`` unless one is ``wanted``. Raises :class:`UsageError` if it holds
    results already, belongs to somebody else, or has other files and is open to other users, and
    :class:`CannotRun` if it can't be made.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    output = (wanted or Path("wsgiproof-results") / stamp).absolute()
    if os.path.lexists(output / RESULTS):
        raise UsageError(f"{output} already holds results: name another --output")
    try:
        _make_parents(output.parent)
        output.mkdir(exist_ok=True, mode=0o700)
        with Directory(output, follow=True) as directory:
            _make_private(directory)
        (output / CELLS).mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise CannotRun(f"{output} can't be written: {error.strerror}") from error
    return output


def _make_parents(directory: Path) -> None:
    """The directories above, which nobody else may write whatever the umask is."""
    if not directory.is_dir():
        _make_parents(directory.parent)
        directory.mkdir(exist_ok=True, mode=0o755)


def _make_private(output: Directory, *, owned: bool = False) -> None:
    """Make it 0700, unless it may be there for others: it is somebody else's, or it is not empty.

    ``owned`` says that what it holds was left by a run.
    """
    status = os.fstat(output.fd)
    if status.st_uid != os.geteuid():
        raise UsageError(
            f"{output.path} belongs to another user (uid {status.st_uid}): name another --output"
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077 and not owned and output.names():
        raise UsageError(
            f"{output.path} is not empty, and open to other users (mode {mode:04o}): "
            "name another --output, or have it 0700"
        )
    if mode != 0o700:
        os.fchmod(output.fd, 0o700)
    if stat.S_IMODE(os.fstat(output.fd).st_mode) & 0o077:
        raise CannotRun(f"{output.path} can't be made private (0700) on this file system")


def reopen_output(directory: Path, note: Note = silent) -> Path:
    """The directory of a run that is to be resumed; ``note`` is told if its ``results.json`` is
    lost, which does not matter then.

    Raises :class:`UsageError` if it holds none, or belongs to somebody else.
    """
    with _opened(directory) as run:
        try:
            _header(run)
        except _Lost as lost:
            rebuilt = _rebuilt(run)
            if rebuilt is None:
                raise
            note(f"{lost}; what has ended is taken from {CELLS}/*/{CELL}")
        _make_private(run, owned=True)
        for name in (CELLS, TRIES, "mongodb"):
            # Below these, directories are moved and removed by their paths.
            if run.names(name):
                try:
                    run.below(name).close()
                except OSError as error:
                    raise UsageError(f"{directory / name} is not a directory") from error
    return directory.absolute()


def load_run(directory: Path, note: Note = silent) -> RunRecord:
    """A run that was left in ``directory``, with all about each of its cells.

    Where its ``results.json`` is lost it is rebuilt from its cells, and ``note`` is told. Raises
    :class:`UsageError` if there is none, or one that can't be read.
    """
    with _opened(directory) as run:
        try:
            header = _header(run)
        except _Lost as lost:
            rebuilt = _rebuilt(run)
            if rebuilt is None:
                raise
            note(f"{lost}; the run is rebuilt from {len(rebuilt.cells)} of {CELLS}/*/{CELL}")
            return rebuilt
        return RunRecord(
            wsgiproof=header.wsgiproof,
            command=header.command,
            started=header.started,
            finished=header.finished,
            complete=header.complete,
            planned=header.planned,
            excluded=header.excluded,
            host=header.host,
            cells=tuple(_entry(run, cell.directory) for cell in header.cells),
        )


def only(record: RunRecord, pattern: str) -> RunRecord:
    """The run as if only those cells had been planned whose id is, or matches, ``pattern``.

    Raises :class:`UsageError` if there is none.
    """
    exact = [id for id in record.planned if id == pattern]
    planned = exact or [id for id in record.planned if fnmatchcase(id, pattern)]
    if not planned:
        near = get_close_matches(pattern, record.planned, n=1, cutoff=0.0)
        told = f"; the nearest is {near[0]}" if near else ": it has none"
        raise UsageError(f"no cell of the run matches '{pattern}'{told}")
    return msgspec.structs.replace(
        record,
        planned=tuple(planned),
        excluded=(),
        cells=tuple(cell for cell in record.cells if cell.cell.id in planned),
    )


def read_cell(path: Path) -> CellRecord:
    """The record of a cell, in a file that the user has named. Raises :class:`UsageError` if it
    can't be read."""
    try:
        return _decode(read_file(path, LARGEST_RECORD, follow=True), path, CellRecord, "a cell")
    except OSError as error:
        raise UsageError(describe(error)) from error


def read_directory(directory: Path) -> CellRecord:
    """The record in the directory of a cell, or of a try of one, of our own run; neither it nor the
    one above may be a link. Raises :class:`UsageError` if it can't be read."""
    with _opened(directory.parent.parent) as run:
        return _cell(run, directory.parent.name, directory.name)


def read_cells(where: Path) -> list[CellRecord]:
    """All cells in ``where``: a run's directory, a cell's, or the record of a cell.

    Raises :class:`UsageError` if there is none, or one that can't be read.
    """
    if not where.exists():
        raise UsageError(f"{where} does not exist")
    if not where.is_dir():
        return [read_cell(where)]
    with _opened(where) as directory:
        if directory.names(CELL):
            path = where / CELL
            return [_decode(_read(directory, CELL, path), path, CellRecord, "a cell")]
        found = [_cell(directory, CELLS, name) for name in _cell_names(directory)]
    if not found:
        raise UsageError(f"{where} holds no recorded cell: there is no {CELLS}/*/{CELL} in it")
    return found


def _opened(directory: Path) -> Directory:
    """A directory that the user has named."""
    try:
        return Directory(directory, follow=True)
    except OSError as error:
        raise UsageError(f"{directory} holds no run: {error.strerror}") from error


def _header(run: Directory) -> _Header:
    path = run.path / RESULTS
    try:
        content = run.read(RESULTS, LARGEST_RECORD)
    except FileNotFoundError as error:
        raise _Lost(f"{run.path} holds no run: there is no {RESULTS} in it") from error
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from error
    return _decode(content, path, _Header, "a run", _Lost)


def _entry(run: Directory, place: str) -> CellRecord:
    """A cell where ``results.json`` says that it is."""
    parent, _, name = place.partition("/")
    if parent != CELLS:
        raise UsageError(f"{run.path / RESULTS} names '{place}' as the directory of a cell")
    record = _cell(run, parent, name)
    if record.directory != place:
        path = run.path / parent / name / CELL
        raise UsageError(f"{path} names '{record.directory}' as its directory")
    return record


def _cell(run: Directory, parent: str, name: str) -> CellRecord:
    path = run.path / parent / name / CELL
    try:
        with run.below(parent) as cells, cells.below(name) as cell:
            content = _read(cell, CELL, path)
    except UnsafeFile as error:
        raise UsageError(
            f"{run.path / parent} has no place for '{name}': {error.strerror}"
        ) from error
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from error
    return _decode(content, path, CellRecord, "a cell")


def _read(directory: Directory, name: str, path: Path) -> bytes:
    try:
        return directory.read(name, LARGEST_RECORD)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from error


def _cell_names(run: Directory) -> list[str]:
    """The directories of cells that have a record."""
    try:
        with run.below(CELLS) as cells:
            return [name for name in cells.names() if _has_record(cells, name)]
    except OSError:
        return []


def _has_record(cells: Directory, name: str) -> bool:
    try:
        with cells.below(name) as cell:
            return bool(cell.names(CELL))
    except OSError:
        return False


def _rebuilt(run: Directory) -> RunRecord | None:
    """A run from its cells alone, as one that is not complete; None if no cell can be read.

    When it was started is not known: the time of its oldest record is taken.
    """
    found: list[tuple[float, CellRecord]] = []
    for name in _cell_names(run):
        try:
            record = _cell(run, CELLS, name)
            if record.directory == f"{CELLS}/{name}":
                found.append((_written(run, name), record))
        except (OSError, UsageError):
            continue
    if not found:
        return None
    found.sort(key=lambda one: one[0])
    return RunRecord(
        wsgiproof="unknown",
        command="unknown",
        started=datetime.fromtimestamp(found[0][0], UTC).isoformat(timespec="seconds"),
        finished=None,
        complete=False,
        planned=(*(record.cell.id for _, record in found), UNKNOWN),
        host={},
        cells=tuple(record for _, record in found),
    )


def _written(run: Directory, name: str) -> float:
    """When a cell's record was written, within what a date can be."""
    with run.below(CELLS) as cells, cells.below(name) as cell, cell.open(CELL) as file:
        return min(max(os.fstat(file.fileno()).st_mtime, 0.0), 2.0**37)


class _Versioned(msgspec.Struct):
    """What every version of a record has."""

    format: int


def _decode(
    content: bytes, path: Path, kind: type[_Kind], what: str, broken: type[UsageError] = UsageError
) -> _Kind:
    """A record of this version of wsgiproof; that of another one is refused for being that."""
    try:
        version = msgspec.json.decode(content, type=_Versioned).format
        if version != FORMAT:
            raise UsageError(f"{path} has format {version}; this wsgiproof reads format {FORMAT}")
        _check_numbers(content, path)
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        said = str(error)[:_LONGEST_COMPLAINT]
        raise broken(f"{path} is not the record of {what}: {said}") from error


def _check_numbers(content: bytes, path: Path) -> None:
    """Refuse numbers that nothing counts to: arithmetic with them would fail, or never end."""
    if _LARGE.search(content):  # or a string has such digits
        left = [msgspec.json.decode(content)]
        while left:
            one = left.pop()
            if isinstance(one, dict):
                left += [*one.values(), *(2.0**64 for key in one if _LARGE.fullmatch(key.encode()))]
            elif isinstance(one, list):
                left += one
            elif isinstance(one, int | float) and not -_LARGEST <= one <= _LARGEST:
                raise UsageError(f"{path} has a number in it that nothing counts to")


def now() -> str:
    """This moment, as records name it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
