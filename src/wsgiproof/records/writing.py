"""Writes the result directory of a run while it runs.

``results.json`` has the run and the verdict of each cell; ``cells/<id>/cell.json`` has everything
about one cell. ``docs/results.md`` describes both. :mod:`wsgiproof.records.reading` reads them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from wsgiproof.errors import CannotRun, Locked, UsageError
from wsgiproof.files import Directory, sync_directory, write_output
from wsgiproof.process.locks import locked
from wsgiproof.records.run import CellRecord, RunRecord, as_json

RESULTS = "results.json"
_LOCK = ".lock"
CELLS = "cells"
TRIES = "tries"
"""The directories of earlier tries of cells, which ended in ``error``."""
BACKENDS = "backends"
"""The directory of the logs of backends that were started."""
CELL = "cell.json"


class Results:
    """``results.json`` of a run, complete and up to date after each cell."""

    def __init__(self, record: RunRecord, directory: Path) -> None:
        self._path = directory / RESULTS
        self._save(record)

    def plan(self, cells: Sequence[str]) -> None:
        """Add cells, by their ids, that are to be run as well."""
        planned = dict.fromkeys((*self._record.planned, *cells))
        self._save(msgspec.structs.replace(self._record, planned=tuple(planned)))

    def add(self, cell: CellRecord) -> None:
        """Add the record of a cell."""
        self._save(msgspec.structs.replace(self._record, cells=(*self._record.cells, cell)))

    def finish(self) -> RunRecord:
        """Mark the run as complete, and return its record."""
        self._save(msgspec.structs.replace(self._record, complete=True, finished=now()))
        return self._record

    def _save(self, record: RunRecord) -> None:
        self._record = record
        save(record.to_json(), self._path)


def save(value: object, path: Path) -> None:
    """Write a record as JSON, atomically: a reader sees the old file or the new one.

    The new file is on the disk when this returns. Raises :class:`CannotRun` if it can't be written;
    the old file is then unchanged.
    """
    write_output(msgspec.json.format(as_json(value), indent=2) + b"\n", path)


def save_cell(record: CellRecord, directory: Path) -> None:
    """Write the record of a cell into its directory, and sync that directory to the disk."""
    save(record, directory / CELL)
    sync_directory(directory.parent)


def keep(record: CellRecord, output: Path) -> None:
    """Write the record of a cell that could not write its own, and make its directory."""
    directory = output / record.directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotRun(f"{directory} can't be written: {error.strerror}") from error
    save_cell(record, directory)


@contextmanager
def held(output: Path) -> Iterator[None]:
    """Lock a directory against other runs until the block ends.

    Raises :class:`UsageError` if another run has locked it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(output / _LOCK, seconds=0))
        except Locked as error:
            raise UsageError(f"another wsgiproof is using {output}: {error}") from error
        except OSError as error:
            raise CannotRun(f"{output} can't be written: {error.strerror}") from error
        yield


def make_output(requested: Path | None) -> Path:
    """Make the run's directory with mode 0700, since it may hold what an application logs.

    It is ``wsgiproof-results/TIME`` unless another one is ``requested``. Raises :class:`UsageError`
    if it already holds results, belongs to another user, or has other files and is open to other
    users, and :class:`CannotRun` if it can't be made.
    """
    output = make_private_directory(requested, RESULTS)
    try:
        (output / CELLS).mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise CannotRun(f"{output} can't be written: {error.strerror}") from error
    return output


def make_private_directory(requested: Path | None, record: str) -> Path:
    """Make the directory of a run or an audit, as :func:`make_output` says; ``record`` is the name
    of the file that it must not hold yet."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    output = (requested or Path("wsgiproof-results") / stamp).absolute()
    if os.path.lexists(output / record):
        raise UsageError(f"{output} already holds results: name another --output")
    try:
        _make_parents(output.parent)
        output.mkdir(exist_ok=True, mode=0o700)
        with Directory(output, follow=True) as directory:
            make_private(directory)
    except OSError as error:
        raise CannotRun(f"{output} can't be written: {error.strerror}") from error
    return output


def _make_parents(directory: Path) -> None:
    """Make the parent directories, which only their owner may write whatever the umask is."""
    if not directory.is_dir():
        _make_parents(directory.parent)
        directory.mkdir(exist_ok=True, mode=0o755)


def make_private(output: Directory, *, owned: bool = False) -> None:
    """Give the directory mode 0700.

    Raises :class:`UsageError` if it belongs to another user, or if it is open to others and has
    files that a run did not leave (``owned``).
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
            "name another --output, or give it mode 0700"
        )
    if mode != 0o700:
        os.fchmod(output.fd, 0o700)
    if stat.S_IMODE(os.fstat(output.fd).st_mode) & 0o077:
        raise CannotRun(f"{output.path} can't be made private (0700) on this file system")


def now() -> str:
    """Return the present time as records have it: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
