"""The directory that a run leaves behind: written while it goes on, and read back.

``results.json`` is the run and what each cell came to; ``cells/<id>/cell.json`` is all about one
cell. ``docs/results.md`` describes both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

import msgspec
from filelock import FileLock, Timeout

from wsgiproof.errors import CannotRun, UsageError, describe
from wsgiproof.records import FORMAT, CellRecord, Excluded, RunRecord, save

RESULTS = "results.json"
_LOCK = ".lock"
CELLS = "cells"
TRIES = "tries"
"""What cells left that ended in ``error`` and were tried again."""
CELL = "cell.json"


_Kind = TypeVar("_Kind")


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


def keep(record: CellRecord, output: Path) -> None:
    """Write the record of a cell that did not come to write its own."""
    directory = output / record.directory
    directory.mkdir(parents=True, exist_ok=True)
    save(record, directory / CELL)


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


@contextmanager
def held(output: Path) -> Iterator[None]:
    """Keep other runs out of a directory for as long as this one goes on, however it ends.

    Raises :class:`UsageError` if another run is in it.
    """
    lock = FileLock(output / _LOCK, mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"another wsgiproof is at work in {output}") from error
    except OSError as error:
        raise CannotRun(f"{output} can't be written: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def make_output(wanted: Path | None) -> Path:
    """The run's own directory, 0700: it may hold what an application logs.

    ``wsgiproof-results/TIME`` unless one is ``wanted``. Raises :class:`UsageError` if it holds
    results already and :class:`CannotRun` if it can't be made.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    output = (wanted or Path("wsgiproof-results") / stamp).absolute()
    if (output / RESULTS).exists():
        raise UsageError(f"{output} already holds results: name another --output")
    try:
        output.mkdir(parents=True, exist_ok=True, mode=0o700)
        (output / CELLS).mkdir(exist_ok=True)
    except OSError as error:
        raise CannotRun(f"{output} can't be written: {error.strerror}") from error
    return output


def reopen_output(directory: Path) -> Path:
    """The directory of a run that is to be gone on with.

    Raises :class:`UsageError` if it holds none.
    """
    _read(directory / RESULTS)
    return directory.absolute()


def load_run(directory: Path) -> RunRecord:
    """A run that was left in ``directory``, with all about each of its cells.

    Raises :class:`UsageError` if there is none, or one that can't be read.
    """
    header = _read(directory / RESULTS)
    return RunRecord(
        wsgiproof=header.wsgiproof,
        command=header.command,
        started=header.started,
        finished=header.finished,
        complete=header.complete,
        planned=header.planned,
        excluded=header.excluded,
        host=header.host,
        cells=tuple(read_cell(directory / cell.directory / CELL) for cell in header.cells),
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
    """The record of a cell. Raises :class:`UsageError` if it can't be read."""
    return _decode(path, CellRecord, "a cell")


def _read(path: Path) -> _Header:
    if not path.is_file():
        raise UsageError(f"{path.parent} holds no run: there is no {path.name} in it")
    return _decode(path, _Header, "a run")


class _Versioned(msgspec.Struct):
    """What every version of a record has."""

    format: int


def _decode(path: Path, kind: type[_Kind], what: str) -> _Kind:
    """A record of this version of wsgiproof; that of another one is refused for being that."""
    try:
        content = path.read_bytes()
        version = msgspec.json.decode(content, type=_Versioned).format
        if version != FORMAT:
            raise UsageError(f"{path} has format {version}; this wsgiproof reads format {FORMAT}")
        return msgspec.json.decode(content, type=kind)
    except OSError as error:
        raise UsageError(describe(error)) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not the record of {what}: {error}") from error


def now() -> str:
    """This moment, as records name it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
