"""One result directory out of several: of a matrix whose cells have run on different machines."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath

import msgspec

import wsgiproof
from wsgiproof.cell import Cell
from wsgiproof.errors import CannotRun, UsageError, describe
from wsgiproof.records import CellRecord, Excluded, RunRecord, save
from wsgiproof.results import RESULTS, load_run, make_output


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """One of the runs, and where it is."""

    directory: Path
    record: RunRecord


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """The run that they are together, and which cells more than one of them had."""

    record: RunRecord
    output: Path
    notes: tuple[str, ...]


def merge(directories: Sequence[Path], output: Path, plan: Path | None = None) -> Merged:
    """Copy the cells of all runs to ``output``, and write its ``results.json``.

    ``plan`` is a file with what ``wsgiproof list --json`` printed: its cells are planned, too, so
    that one of a run that is not there at all is missed. Raises :class:`UsageError` if one of them
    can't be read, if ``output`` holds results already, or if two cells have one name and are not
    the same.
    """
    shards = [Shard(directory=one, record=load_run(one)) for one in directories]
    chosen, notes = _choose(shards)
    whole = _planned(plan) if plan else ()
    cells = [cell for cell, _ in chosen.values()]
    record = _together([one.record for one in shards], cells, whole)
    output = make_output(output)
    for cell, shard in chosen.values():
        _copy(cell, shard.directory, output)
    save(record.to_json(), output / RESULTS)
    return Merged(record=record, output=output, notes=tuple(notes))


def _choose(shards: Sequence[Shard]) -> tuple[dict[str, tuple[CellRecord, Shard]], list[str]]:
    """Each cell with the shard to take it from: of those that have it, the one started last."""
    chosen: dict[str, tuple[CellRecord, Shard]] = {}
    notes = []
    for shard in sorted(shards, key=lambda one: one.record.started):
        for cell in shard.record.cells:
            id = cell.cell.id
            if id in chosen:
                earlier, where = chosen[id]
                _check_same(earlier, cell)
                notes.append(
                    f"{id} is in {where.directory} ({earlier.verdict}) and in {shard.directory} "
                    f"({cell.verdict}), which was started later and is taken"
                )
            chosen[id] = cell, shard
    return chosen, notes


def _check_same(one: CellRecord, other: CellRecord) -> None:
    if one.cell != other.cell:
        axes = [axis for axis, value in one.cell.axes.items() if other.cell.axes[axis] != value]
        told = ", ".join(f"{axis} {one.cell.axes[axis]}, {other.cell.axes[axis]}" for axis in axes)
        raise UsageError(f"two cells are called {one.cell.id}, and differ: {told}")


class _Listed(msgspec.Struct):
    id: str


class _Plan(msgspec.Struct):
    cells: list[_Listed]


def _planned(path: Path) -> tuple[str, ...]:
    """The ids of the cells that ``wsgiproof list --json`` has listed."""
    try:
        return tuple(one.id for one in msgspec.json.decode(path.read_bytes(), type=_Plan).cells)
    except OSError as error:
        raise UsageError(describe(error)) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not what 'wsgiproof list --json' prints: {error}") from error


def _together(
    records: Sequence[RunRecord], cells: Sequence[CellRecord], whole: Sequence[str]
) -> RunRecord:
    """The one run that they are parts of; its command is that of the first."""
    parts = (id for record in records for id in record.planned)
    planned = tuple(dict.fromkeys((*whole, *parts)))
    ends = [record.finished for record in records]
    there = {cell.cell.id for cell in cells}
    place = {id: number for number, id in enumerate(planned)}
    return RunRecord(
        wsgiproof=wsgiproof.__version__,
        command=records[0].command,
        started=min(record.started for record in records),
        finished=None if None in ends else max(end for end in ends if end is not None),
        complete=all(record.complete for record in records) and there.issuperset(planned),
        planned=planned,
        excluded=_excluded(records, cells, planned),
        host=_hosts(records),
        cells=tuple(sorted(cells, key=lambda cell: place.get(cell.cell.id, len(place)))),
    )


def _excluded(
    records: Iterable[RunRecord], cells: Sequence[CellRecord], planned: Sequence[str]
) -> tuple[Excluded, ...]:
    """What is a cell of none of them; each combination once for each reason."""
    every = {(*one.axes.items(), one.reason): one for record in records for one in record.excluded}
    return tuple(
        one
        for one in every.values()
        if one.cell not in planned and not any(_is(one, cell.cell) for cell in cells)
    )


def _is(excluded: Excluded, cell: Cell) -> bool:
    """Whether a cell is this combination, whose values are as they were asked for, or exact."""
    return all(value in _called(axis, cell.axes) for axis, value in excluded.axes.items())


def _called(axis: str, axes: Mapping[str, str | int]) -> set[str]:
    others = {str(axes.get(f"{axis}{part}", "")) for part in ("_name", "_path")}
    return {str(axes.get(axis, ""))} | (others - {""})


def _hosts(records: Sequence[RunRecord]) -> dict[str, str]:
    """What the machines are; all of them where they differ."""
    keys = dict.fromkeys(key for record in records for key in record.host)
    return {
        key: "; ".join(dict.fromkeys(record.host[key] for record in records if key in record.host))
        for key in keys
    }


def _copy(cell: CellRecord, source: Path, output: Path) -> None:
    _check_directory(cell)
    try:
        # Links are copied as links: what they point to is not the cell's.
        shutil.copytree(source / cell.directory, output / cell.directory, symlinks=True)
    except (OSError, shutil.Error) as error:
        raise CannotRun(f"{source / cell.directory} can't be copied: {error}") from error


def _check_directory(cell: CellRecord) -> None:
    """A record may come from elsewhere, and must not name a place outside of its run."""
    parts = PurePath(cell.directory).parts
    if len(parts) != 2 or parts[0] != "cells" or parts[1] == "..":
        raise UsageError(f"{cell.cell.id} names '{cell.directory}' as its directory")
