"""The same cells over several runs. Pure: records in, a table out.

By date, each run is a column and each id a row. By an axis, such as the subject's version, each of
its values is a column, and each combination of the other axes a row; the latest run that has a cell
counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import msgspec
from packaging.version import InvalidVersion, Version

from wsgiproof.analysis.axes import axes_of, named, origins, value_of, varying
from wsgiproof.analysis.figures import TITLES, Figure, figures, names
from wsgiproof.records.cell import Cell
from wsgiproof.records.run import FORMAT, CellRecord, RunRecord

DATE = "date"
WSGIPROOF = "wsgiproof"
"""The possible columns."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One cell in one column."""

    column: int
    """Counted from 0."""
    cell: str
    verdict: str
    reason: str
    figures: tuple[Figure, ...] = ()


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The same cell over time, or over versions; a column without it has no point."""

    name: str
    points: tuple[Point, ...]

    @property
    def changes(self) -> int:
        """The number of changes of its verdict."""
        verdicts = [point.verdict for point in self.points]
        return sum(one != other for one, other in pairwise(verdicts))


class Trends(msgspec.Struct, frozen=True, kw_only=True):
    """All cells of several runs. Rows whose verdict changed come first."""

    by: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    other_machines: int = 0
    """The number of rows whose cells ran on different machines, as far as records say."""

    @property
    def figures(self) -> list[str]:
        """The names of the figures that any of the cells has."""
        return names(point.figures for row in self.rows for point in row.points)

    def to_json(self) -> dict[str, Any]:
        """Return the trends as ``docs/results.md`` describes them."""
        titles = {name: TITLES[name] for name in self.figures}
        return {"format": FORMAT, **msgspec.structs.asdict(self), "figures": titles}


def trends(records: Sequence[RunRecord], by: str = DATE) -> Trends:
    """Return the cells of these runs by date or by version.

    ``by`` is :data:`DATE`, :data:`WSGIPROOF` (its version), or the name of an axis of versions.
    """
    records = sorted(records, key=lambda record: record.started)
    dates = [*_dates(records)]
    columned = [
        (date if by == DATE else _column(record, cell, by), cell)
        for record, date in zip(records, dates, strict=True)
        for cell in record.cells
    ]
    columns = tuple(dates) if by == DATE else _ordered(column for column, _ in columned)
    place = {column: number for number, column in enumerate(columns)}
    rows: dict[str, dict[int, CellRecord]] = {}
    for column, cell in columned:
        rows.setdefault(_row(cell.cell, by), {})[place[column]] = cell
    labels = _labels({key: next(iter(cells.values())).cell for key, cells in rows.items()}, by)
    every = [_points(labels[key], cells) for key, cells in rows.items()]
    return Trends(
        by=by,
        columns=columns,
        rows=tuple(sorted(every, key=lambda row: -row.changes)),
        other_machines=sum(_moved(cells.values()) for cells in rows.values()),
    )


def _moved(cells: Iterable[CellRecord]) -> bool:
    return any(one.host != other.host for one, other in pairwise(cells))


def _column(record: RunRecord, cell: CellRecord, by: str) -> str:
    return record.wsgiproof if by == WSGIPROOF else value_of(by, cell.cell)


def _dates(records: Sequence[RunRecord]) -> Iterator[str]:
    """When each run started; runs of the same second get a number."""
    seen: Counter[str] = Counter()
    for record in records:
        seen[record.started] += 1
        number = seen[record.started]
        yield record.started if number == 1 else f"{record.started} ({number})"


def _ordered(columns: Iterable[str]) -> tuple[str, ...]:
    """Each version once, from old to new."""
    return tuple(sorted(set(columns), key=_version))


def _version(column: str) -> tuple[bool, Version, str]:
    """Versions come in their order, then other names."""
    try:
        return False, Version(column.partition(" ")[0]), column
    except InvalidVersion:
        return True, Version("0"), column


def _row(cell: Cell, by: str) -> str:
    """The key of the row of a cell."""
    if by in (DATE, WSGIPROOF):
        return "\n".join([cell.id, *origins(cell)])
    return "\n".join(value_of(axis, cell) for axis in axes_of([cell]) if axis != by)


def _labels(cells: dict[str, Cell], by: str) -> dict[str, str]:
    """A name for each row: its id, or the axes in which rows differ."""
    if by in (DATE, WSGIPROOF):
        ids = Counter(cell.id for cell in cells.values())
        return {
            key: cell.id if ids[cell.id] == 1 else f"{cell.id} ({', '.join(origins(cell))})"
            for key, cell in cells.items()
        }
    axes = [axis for axis in varying(cells.values()) if axis != by]
    shown = axes or ["mode"]
    return {
        key: ", ".join(named(axis, value) for axis in shown if (value := value_of(axis, cell)))
        for key, cell in cells.items()
    }


def _points(name: str, cells: dict[int, CellRecord]) -> Row:
    return Row(
        name=name,
        points=tuple(
            Point(
                column=column,
                cell=cell.cell.id,
                verdict=cell.verdict,
                reason=cell.reason,
                figures=figures(cell),
            )
            for column, cell in sorted(cells.items())
        ),
    )
