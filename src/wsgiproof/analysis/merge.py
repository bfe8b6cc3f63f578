"""Merges result directories, for a matrix whose cells ran on different machines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

import wsgiproof
from wsgiproof.errors import CannotRun, UsageError, describe
from wsgiproof.files import Directory, copy_tree
from wsgiproof.records.cell import Cell
from wsgiproof.records.reading import load_list, load_run
from wsgiproof.records.run import CellRecord, Excluded, RunRecord
from wsgiproof.records.writing import CELLS, RESULTS, make_output, save


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """One of the runs, and its directory."""

    directory: Path
    record: RunRecord


class MergedRun(msgspec.Struct, frozen=True, kw_only=True):
    """The merged run, and notes about cells that more than one run had."""

    record: RunRecord
    output: Path
    notes: tuple[str, ...]


def merge(directories: Sequence[Path], output: Path, plan: Path | None = None) -> MergedRun:
    """Copy the cells of all runs to ``output``, and write its ``results.json``.

    ``plan`` is a file with the output of ``wsgiproof list --json``. Its cells count as planned too,
    so that those of a run that is missing altogether are noticed. Raises :class:`UsageError` if a
    run can't be read, if ``output`` already holds results, or if two different cells have the same
    id.
    """
    notes: list[str] = []
    shards = [Shard(directory=one, record=load_run(one, notes.append)) for one in directories]
    chosen, duplicates = _choose(shards)
    listed = tuple(one.id for one in load_list(plan).cells) if plan else ()
    cells = [cell for cell, _ in chosen.values()]
    record = _merged_record([one.record for one in shards], cells, listed)
    output = make_output(output)
    for cell, shard in chosen.values():
        _copy(cell, shard.directory, output)
    save(record.to_json(), output / RESULTS)
    return MergedRun(record=record, output=output, notes=(*notes, *duplicates))


def _choose(shards: Sequence[Shard]) -> tuple[dict[str, tuple[CellRecord, Shard]], list[str]]:
    """Return each cell with the shard to copy it from: the one that was started last."""
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
                    f"({cell.verdict}); the latter is used, since it was started later"
                )
            chosen[id] = cell, shard
    return chosen, notes


def _check_same(one: CellRecord, other: CellRecord) -> None:
    if one.cell != other.cell:
        axes = [axis for axis, value in one.cell.axes.items() if other.cell.axes[axis] != value]
        differences = ", ".join(
            f"{axis} is {one.cell.axes[axis]} or {other.cell.axes[axis]}" for axis in axes
        )
        raise UsageError(f"two different cells have the id {one.cell.id}: {differences}")


def _merged_record(
    records: Sequence[RunRecord], cells: Sequence[CellRecord], listed: Sequence[str]
) -> RunRecord:
    """Return the record of the merged run; its command is that of the first."""
    of_runs = (id for record in records for id in record.planned)
    planned = tuple(dict.fromkeys((*listed, *of_runs)))
    ends = [record.finished for record in records]
    ids = {cell.cell.id for cell in cells}
    place = {id: number for number, id in enumerate(planned)}
    return RunRecord(
        wsgiproof=wsgiproof.__version__,
        command=records[0].command,
        started=min(record.started for record in records),
        finished=None if None in ends else max(end for end in ends if end is not None),
        complete=all(record.complete for record in records) and ids.issuperset(planned),
        planned=planned,
        excluded=_excluded(records, cells, planned),
        host=_hosts(records),
        cells=tuple(sorted(cells, key=lambda cell: place.get(cell.cell.id, len(place)))),
    )


def _excluded(
    records: Iterable[RunRecord], cells: Sequence[CellRecord], planned: Sequence[str]
) -> tuple[Excluded, ...]:
    """Return the combinations that are a cell of no run, once for each reason."""
    every = {(*one.axes.items(), one.reason): one for record in records for one in record.excluded}
    return tuple(
        one
        for one in every.values()
        if one.cell not in planned and not any(_is(one, cell.cell) for cell in cells)
    )


def _is(excluded: Excluded, cell: Cell) -> bool:
    """Return whether a cell is this combination, whose values are the requested or exact ones."""
    return all(value in _names(axis, cell.axes) for axis, value in excluded.axes.items())


def _names(axis: str, axes: Mapping[str, str | int | bool]) -> set[str]:
    others = {str(axes.get(f"{axis}{part}", "")) for part in ("_name", "_path")}
    return {str(axes.get(axis, ""))} | (others - {""})


def _hosts(records: Sequence[RunRecord]) -> dict[str, str]:
    """Return the facts about the machines, with all values where they differ."""
    keys = dict.fromkeys(key for record in records for key in record.host)
    return {
        key: "; ".join(dict.fromkeys(record.host[key] for record in records if key in record.host))
        for key in keys
    }


def _copy(cell: CellRecord, source: Path, output: Path) -> None:
    """Copy the files and directories of a cell; the targets of links are not part of it."""
    try:
        with (
            Directory(source, follow=True) as run,
            run.below(CELLS) as cells,
            cells.below(cell.directory.partition("/")[2]) as one,
        ):
            copy_tree(one, output / cell.directory)
    except OSError as error:
        raise CannotRun(f"{source / cell.directory} can't be copied: {describe(error)}") from error
