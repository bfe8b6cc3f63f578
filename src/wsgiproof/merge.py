"""One result directory out of several: of a matrix whose cells have run on different machines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

import wsgiproof
from wsgiproof.cell import Cell
from wsgiproof.errors import CannotRun, UsageError, describe
from wsgiproof.files import LARGEST_RECORD, Directory, copy_tree, read_file
from wsgiproof.records import CellRecord, Excluded, RunRecord
from wsgiproof.results import CELLS, RESULTS, load_run, make_output, save


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
    notes: list[str] = []
    shards = [Shard(directory=one, record=load_run(one, notes.append)) for one in directories]
    chosen, doubled = _choose(shards)
    whole = _planned(plan) if plan else ()
    cells = [cell for cell, _ in chosen.values()]
    record = _together([one.record for one in shards], cells, whole)
    output = make_output(output)
    for cell, shard in chosen.values():
        _copy(cell, shard.directory, output)
    save(record.to_json(), output / RESULTS)
    return Merged(record=record, output=output, notes=(*notes, *doubled))


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
        content = read_file(path, LARGEST_RECORD, follow=True)
    except OSError as error:
        raise UsageError(describe(error)) from error
    try:
        return tuple(one.id for one in msgspec.json.decode(content, type=_Plan).cells)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
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
    """Only files and directories: what a link points to is not the cell's."""
    try:
        with (
            Directory(source, follow=True) as run,
            run.below(CELLS) as cells,
            cells.below(cell.directory.partition("/")[2]) as one,
        ):
            copy_tree(one, output / cell.directory)
    except OSError as error:
        raise CannotRun(f"{source / cell.directory} can't be copied: {describe(error)}") from error
