"""Reads the result directory of a run or an audit.

It may come from another machine, so all of it is read through :mod:`wsgiproof.files`: no link below
it is followed, no read blocks, and every read has a size limit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

import msgspec

from wsgiproof.errors import UsageError, describe
from wsgiproof.files import LARGEST_RECORD, Directory, UnsafeFile, read_file
from wsgiproof.records.audit import AUDIT, Audit
from wsgiproof.records.audit import FORMAT as AUDIT_FORMAT
from wsgiproof.records.listed import Listed
from wsgiproof.records.run import FORMAT, CellRecord, Excluded, RunRecord
from wsgiproof.records.writing import BACKENDS, CELL, CELLS, RESULTS, TRIES, make_private

UNKNOWN = "(other cells: results.json was lost, and with it the list of planned cells)"
"""One of the planned cells of a run whose ``results.json`` had to be rebuilt."""

_LONGEST_COMPLAINT = 500
"""Characters that are kept of a decoder's message, which may quote the record."""

_LARGE = re.compile(rb"(?<![.0-9])[0-9]{17,}|[0-9][eE][+]?[0-9]{2}")

_LARGEST = 2**60

_Kind = TypeVar("_Kind")

Note = Callable[[str], None]
"""Takes a line for the user."""


def ignore_note(line: str) -> None:
    """Drop the line."""


class _CellEntry(msgspec.Struct):
    directory: str


class _Header(msgspec.Struct):
    """The fields of ``results.json`` about the run; its cells are read from their own files."""

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
    """``results.json`` is missing, or is not a record of wsgiproof."""


def reopen_output(directory: Path, note: Note = ignore_note) -> Path:
    """Check the directory of a run that is to be resumed, and return its absolute path.

    If its ``results.json`` is lost, ``note`` gets a line, and the run can be resumed all the same.
    Raises :class:`UsageError` if the directory holds no run, or belongs to another user.
    """
    with _opened(directory) as run:
        try:
            _header(run)
        except _Lost as lost:
            rebuilt = _rebuilt(run)
            if rebuilt is None:
                raise
            note(f"{lost}; the cells that have ended are read from {CELLS}/*/{CELL}")
        make_private(run, owned=True)
        for name in (CELLS, TRIES, BACKENDS):
            # Below these, directories are moved and removed by their paths.
            if run.names(name):
                try:
                    run.below(name).close()
                except OSError as error:
                    raise UsageError(f"{directory / name} is not a directory") from error
    return directory.absolute()


def check_planned(directory: Path, ids: Collection[str]) -> None:
    """Raise :class:`UsageError` if the run in ``directory`` has cells that are not among ``ids``:
    they would be lost if it were resumed with these alone."""
    with _opened(directory) as run:
        try:
            header = _header(run)
        except _Lost:  # nobody knows then
            return
    if left := [one for one in header.planned if one not in ids]:
        raise UsageError(
            f"the run in {directory} has {len(left)} of {len(header.planned)} cells that these "
            f"options do not choose now, such as {left[0]}: give the options with which it was "
            f"started ('{header.command}'), or start another run"
        )


def load_run(directory: Path, note: Note = ignore_note) -> RunRecord:
    """Read the run in ``directory``, with the full record of each of its cells.

    If its ``results.json`` is lost, the run is rebuilt from its cells, and ``note`` gets a line.
    Raises :class:`UsageError` if there is no run, or if it can't be read.
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


def load_list(path: Path) -> Listed:
    """Read the output of ``wsgiproof list --json``. Raises :class:`UsageError`."""
    try:
        content = read_file(path, LARGEST_RECORD, follow=True)
    except OSError as error:
        raise UsageError(describe(error)) from error
    try:
        return msgspec.json.decode(content, type=Listed)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not what 'wsgiproof list --json' prints: {error}") from error


def only(record: RunRecord, pattern: str) -> RunRecord:
    """Return the run with only the cells whose id is, or matches, ``pattern``.

    Raises :class:`UsageError` if there is none.
    """
    exact = [id for id in record.planned if id == pattern]
    planned = exact or [id for id in record.planned if fnmatchcase(id, pattern)]
    if not planned:
        near = get_close_matches(pattern, record.planned, n=1, cutoff=0.0)
        hint = f"; the nearest is {near[0]}" if near else ": it has no cells"
        raise UsageError(f"no cell of the run matches '{pattern}'{hint}")
    return msgspec.structs.replace(
        record,
        planned=tuple(planned),
        excluded=(),
        cells=tuple(cell for cell in record.cells if cell.cell.id in planned),
    )


def read_cell(path: Path) -> CellRecord:
    """Read the record of a cell from a file that the user named.

    Raises :class:`UsageError` if it can't be read.
    """
    try:
        return _decode(read_file(path, LARGEST_RECORD, follow=True), path, CellRecord, "a cell")
    except OSError as error:
        raise UsageError(describe(error)) from error


def read_directory(directory: Path) -> CellRecord:
    """Read the record in the directory of a cell, or of a try, of the present run.

    Neither the directory nor its parent may be a link. Raises :class:`UsageError` if the record
    can't be read.
    """
    with _opened(directory.parent.parent) as run:
        return _cell(run, directory.parent.name, directory.name)


def read_cells(where: Path) -> list[CellRecord]:
    """Read all cells in ``where``: the directory of a run or a cell, or the record of a cell.

    Raises :class:`UsageError` if there is no cell, or one that can't be read.
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
        raise UsageError(f"{where} holds no recorded cell: it has no {CELLS}/*/{CELL}")
    return found


def load_audit(directory: Path) -> Audit:
    """Read the audit in ``directory``, which is to be resumed, and make that private.

    Raises :class:`UsageError` if there is none, if it can't be read, or if the directory belongs to
    another user.
    """
    with _opened(directory, "audit") as opened:
        path = directory / AUDIT
        if AUDIT not in opened.names():
            raise UsageError(f"{directory} holds no audit: it has no {AUDIT}")
        content = _read(opened, AUDIT, path)
        make_private(opened, owned=True)
        return _decode(content, path, Audit, "an audit", format=AUDIT_FORMAT)


def _opened(directory: Path, what: str = "run") -> Directory:
    """Open a directory that the user named."""
    try:
        return Directory(directory, follow=True)
    except OSError as error:
        raise UsageError(f"{directory} holds no {what}: {error.strerror}") from error


def _header(run: Directory) -> _Header:
    path = run.path / RESULTS
    try:
        content = run.read(RESULTS, LARGEST_RECORD)
    except FileNotFoundError as error:
        raise _Lost(f"{run.path} holds no run: it has no {RESULTS}") from error
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from error
    return _decode(content, path, _Header, "a run", _Lost)


def _entry(run: Directory, place: str) -> CellRecord:
    """Read a cell from the directory that ``results.json`` names."""
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
            f"'{name}' can't be a directory in {run.path / parent}: {error.strerror}"
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
    """Return the names of the cells' directories that have a record."""
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
    """Rebuild a run from its cells, as an incomplete one; None if no cell can be read.

    Its start is unknown, so the time of its oldest record is used.
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
    """Return when a cell's record was written, limited to valid dates."""
    with run.below(CELLS) as cells, cells.below(name) as cell, cell.open(CELL) as file:
        return min(max(os.fstat(file.fileno()).st_mtime, 0.0), 2.0**37)


class _Versioned(msgspec.Struct):
    """The field that every version of a record has."""

    format: int


def _decode(
    content: bytes,
    path: Path,
    kind: type[_Kind],
    what: str,
    broken: type[UsageError] = UsageError,
    *,
    format: int = FORMAT,
) -> _Kind:
    """Decode a record; one of another format is refused with that reason."""
    try:
        version = msgspec.json.decode(content, type=_Versioned).format
        if version != format:
            raise UsageError(f"{path} has format {version}; this wsgiproof reads format {format}")
        _check_numbers(content, path)
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        message = str(error)[:_LONGEST_COMPLAINT]
        raise broken(f"{path} is not the record of {what}: {message}") from error


def _check_numbers(content: bytes, path: Path) -> None:
    """Refuse numbers that are too large to be counts: arithmetic with them could fail or hang."""
    if _LARGE.search(content):  # or a string has such digits
        left = [msgspec.json.decode(content)]
        while left:
            one = left.pop()
            if isinstance(one, dict):
                left += [*one.values(), *(2.0**64 for key in one if _LARGE.fullmatch(key.encode()))]
            elif isinstance(one, list):
                left += one
            elif isinstance(one, int | float) and not -_LARGEST <= one <= _LARGEST:
                raise UsageError(f"{path} has a number that is too large for a record")
