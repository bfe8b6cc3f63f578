"""A run in Markdown, for a pull request or the summary of a CI job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TypeVar

from msgspec import structs

from wsgiproof.analysis.axes import (
    axes_of,
    is_usual,
    named,
    title,
    value_of,
    values,
    varying,
    versions,
)
from wsgiproof.analysis.figures import TITLES, by_name, machines, names
from wsgiproof.judge.finding import count
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import Finding, Verdict
from wsgiproof.records.known import KnownState
from wsgiproof.records.run import CellRecord, RunRecord, known_in
from wsgiproof.report import known
from wsgiproof.report.explained import control, error_log, explained, unknown
from wsgiproof.report.markdown import code, fence, folded, in_table, link, prose, table
from wsgiproof.report.text import some
from wsgiproof.report.undecided import undecided

_MARKS = {
    Verdict.PASS: "\N{CHECK MARK} pass",
    Verdict.KNOWN: "\N{CHECK MARK} known",
    Verdict.FAIL: "\N{BALLOT X} **fail**",
    Verdict.INCONCLUSIVE: "? inconclusive",
    Verdict.ERROR: "! error",
    Verdict.SKIPPED: "\N{EN DASH} skipped",
}
_MOST_COLUMNS = 8
_MOST_ROWS = 60
_MOST_CELLS_NAMED = 10
_MOST_LINES = 10
_LONGEST = 60_000
"""Characters. A comment on GitHub has 65,536."""

_Key = TypeVar("_Key")
_Item = TypeVar("_Item")
_Kind = tuple[str, str, str, str]
"""Of a finding: its check, what it means, what to do, and why it is accepted."""
_Labels = tuple[str, ...]
"""What some axes say of a cell."""


def to_markdown(record: RunRecord) -> str:
    """Return the run: its totals, a table of its cells, and why the others did not pass."""
    parts = [f"## wsgiproof: {heading(record)}", _totals(record), *_table(record.cells)]
    details = [*_findings(record.cells), *_others(record), *_figures(record.cells)]
    kept = _fitting(details, _LONGEST - sum(map(len, parts)))
    parts += kept
    if len(kept) < len(details):
        left = count(len(details) - len(kept), "section")
        parts.append(f"{left} more did not fit; `results.json` has all of them.")
    return "\n\n".join(parts) + "\n"


def _fitting(texts: Sequence[str], room: int) -> list[str]:
    sizes = accumulate(len(text) + 2 for text in texts)
    return [text for text, size in zip(texts, sizes, strict=True) if size <= room]


def heading(record: RunRecord) -> str:
    """Return the result of the run in a few words."""
    numbers = Counter(cell.verdict for cell in record.cells)
    total = count(len(record.planned), "cell")
    if numbers[Verdict.FAIL]:
        return f"{numbers[Verdict.FAIL]} of {total} failed"
    gone = sum(one.state is KnownState.GONE for one in known_in(record.cells))
    if gone:
        return f"none of {total} failed, but {count(gone, 'known finding')} no longer appeared"
    good = numbers[Verdict.PASS] + numbers[Verdict.KNOWN]
    accepted = (
        f", {numbers[Verdict.KNOWN]} of them with known findings" if numbers[Verdict.KNOWN] else ""
    )
    if good == len(record.planned) != 0:
        return f"{total} passed{accepted}"
    return f"{good} of {total} passed{accepted}, none failed, others undecided"


def _totals(record: RunRecord) -> str:
    verdicts = Counter(cell.verdict for cell in record.cells)
    numbers = [f"{verdicts[verdict]} {verdict}" for verdict in Verdict if verdicts[verdict]]
    if record.missing:
        numbers.append(f"{len(record.missing)} never ran")
    excluded = count(len(record.excluded), "combination")
    left_out = f"; {excluded} excluded" if record.excluded else ""
    return f"{count(len(record.planned), 'cell')} planned: {', '.join(numbers)}{left_out}."


# The table


def _table(cells: Sequence[CellRecord]) -> Iterator[str]:
    """A row for each set of versions and a column for each way to serve, where cells differ."""
    if not cells:
        return
    everything = [cell.cell for cell in cells]
    rows, columns = _layout(everything)
    grid: dict[_Labels, dict[_Labels, str]] = {}
    for cell in cells:
        grid.setdefault(_labels(cell.cell, rows), {})[_labels(cell.cell, columns)] = _mark(cell)
    heads = [*dict.fromkeys(_labels(cell, columns) for cell in everything)]
    shown = _shown(grid)
    yield from _same(everything, {*rows, *columns})
    yield table(
        [*(in_table(title(axis)) for axis in rows), *map(_head, heads)],
        [
            [*map(in_table, row), *(grid[row].get(head, "\N{EN DASH}") for head in heads)]
            for row in shown
        ],
    )
    if len(shown) < len(grid):
        yield f"Not shown: {count(len(grid) - len(shown), 'row')}; passed rows are left out first."


def _layout(cells: Sequence[Cell]) -> tuple[list[str], list[str]]:
    """The axes of the rows and of the columns; the number of columns is limited."""
    differing = varying(cells)
    of_versions = versions(cells)
    rows = [axis for axis in of_versions if axis in differing] or of_versions
    columns = [axis for axis in differing if axis not in of_versions]
    while len({_labels(cell, columns) for cell in cells}) > _MOST_COLUMNS:
        rows.append(columns.pop())
    return rows, columns


def _labels(cell: Cell, axes: Iterable[str]) -> _Labels:
    return tuple(value_of(axis, cell) for axis in axes)


def _mark(cell: CellRecord) -> str:
    mark = _MARKS[cell.verdict]
    by_name = cell.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.KNOWN)
    return f"{mark}: {in_table(cell.reason)}" if by_name and cell.reason else mark


def _head(labels: _Labels) -> str:
    return in_table(", ".join(filter(None, labels)) or "verdict")


def _shown(grid: dict[_Labels, dict[_Labels, str]]) -> list[_Labels]:
    """All rows; if there are too many, those in which not every cell passed."""
    passed = {_MARKS[Verdict.PASS]}
    rows = list(grid)
    if len(rows) > _MOST_ROWS:
        rows = [row for row in rows if set(grid[row].values()) != passed]
    return rows[:_MOST_ROWS]


def _same(cells: Sequence[Cell], shown: set[str]) -> Iterator[str]:
    """The axes that are not in the table: they are the same for all cells."""
    same = [
        (axis, *values(axis, cells))
        for axis in axes_of(cells)
        if axis not in shown and not is_usual(axis, cells[0])
    ]
    values_of_all = ", ".join(named(axis, *value) for axis, *value in same if value)
    yield f"In all cells: {prose(values_of_all)}."


# What is not a pass


def kinds(cells: Sequence[CellRecord]) -> list[tuple[_Kind, list[tuple[CellRecord, Finding]]]]:
    """Return each kind of finding with its cells; the kind in most cells comes first."""
    found = _by(
        ((one.check, one.meaning, one.action, known.accepted(one)), (cell, one))
        for cell in cells
        for one in cell.findings
    )
    return sorted(found.items(), key=lambda item: -len(item[1]))


def _findings(cells: Sequence[CellRecord]) -> Iterator[str]:
    """Each kind of finding once, with its cells."""
    named_entries: set[str] = set()
    for (check, meaning, action, accepted), hits in kinds(cells):
        first, finding = hits[0]
        lines = [
            *_seen(hits),
            *([f"- accepted: {_prose_and_link(accepted)}"] if accepted else []),
            f"- means: {prose(meaning)}",
            f"- do: {prose(action)}",
            *_explained([finding for _, finding in hits], named_entries),
            f"- error log: {code(error_log(first))}",
            f"- rerun: {code(first.rerun)}",
        ]
        mark = " (known)" if accepted else ""
        heading = f"### {prose(check)}{mark}: {_where([cell for cell, _ in hits], cells)}"
        evidence = folded("Evidence, of the first", fence("\n".join(finding.evidence)))
        yield "\n\n".join([heading, "\n".join(lines), *([evidence] if finding.evidence else [])])


def _prose_and_link(text: str) -> str:
    words, _, address = text.rpartition(" ")
    return f"{prose(words)} {link(address)}" if words and link(address) else prose(text)


def _explained(findings: Sequence[Finding], named_entries: set[str]) -> Iterator[str]:
    """What the catalog knows about these findings, each entry once."""
    known = {one.id: one for finding in findings for one in finding.explained}
    together = structs.replace(findings[0], explained=tuple(known.values()))
    for label, text in explained(together, named_entries):
        indent = "" if label == "known" else "  "
        yield f"{indent}- {label}: {link(text) or prose(text)}"


def _seen(hits: Sequence[tuple[CellRecord, Finding]]) -> list[str]:
    """What was seen, and in which cells; numbers differ from cell to cell."""
    seen = _by((finding.seen, cell) for cell, finding in hits)
    return _cut([f"- seen: {prose(text)} ({_names(cells)})" for text, cells in seen.items()])


def _others(record: RunRecord) -> Iterator[str]:
    """What could not be decided, could not be run, never ran or was left out."""
    for heading, lines in (
        ("Known, and not seen", [f"- {prose(line)}" for _, line in known.unseen(record.cells)]),
        ("Undecided", [*_reasons(record.cells)]),
        ("Could not be run", [*_whole_cells(record.cells, Verdict.ERROR)]),
        ("Controls", [*_controls(record.cells)]),
        ("Skipped", [*_whole_cells(record.cells, Verdict.SKIPPED)]),
        ("In error logs, without an explanation", [*_unknown(record.cells)]),
        ("Never ran", [f"- {code(name)}" for name in record.missing]),
        ("Excluded", [*_excluded(record)]),
    ):
        if lines:
            yield "\n\n".join([f"### {heading}", "\n".join(_cut(lines))])


def _reasons(cells: Sequence[CellRecord]) -> Iterator[str]:
    """Each check that is undecided in any cell, with its reason."""
    said = _by(
        ((", ".join(checks), reason), cell) for cell in cells for checks, reason in undecided(cell)
    )
    for (checks, reason), where in said.items():
        yield f"- {prose(checks)}: {prose(reason)} ({_names(where)}; rerun: {code(where[0].rerun)})"


def _controls(cells: Sequence[CellRecord]) -> Iterator[str]:
    """Each control, which changes the application on purpose."""
    for text, where in _by((text, cell) for cell in cells if (text := control(cell))).items():
        yield f"- {prose(text)} ({_names(where)})"


def _whole_cells(cells: Sequence[CellRecord], verdict: Verdict) -> Iterator[str]:
    said = _by((cell.reason, cell) for cell in cells if cell.verdict is verdict)
    for reason, where in said.items():
        yield f"- reason: {prose(reason)} ({_names(where)}; rerun: {code(where[0].rerun)})"


def _figures(cells: Sequence[CellRecord]) -> Iterator[str]:
    """The key figures of each cell that has any."""
    every = {cell.cell.id: by_name(cell) for cell in cells}
    there = names([*one.values()] for one in every.values())
    rows = [
        [in_table(cell), *(figures[name].text if name in figures else "" for name in there)]
        for cell, figures in every.items()
        if figures
    ]
    if rows:
        head = ["cell", *(TITLES[name] for name in there)]
        yield folded("Key figures", table(head, rows[:_MOST_ROWS]))
        if spread := machines(cells):
            yield prose(spread)


def _unknown(cells: Sequence[CellRecord]) -> Iterator[str]:
    lines = _by((line, cell) for cell in cells for line in unknown(cell))
    for line, where in lines.items():
        yield f"- {prose(line)} ({_names(where)})"


def _excluded(record: RunRecord) -> Iterator[str]:
    for reason, number in Counter(one.reason for one in record.excluded).most_common():
        yield f"- {count(number, 'combination')}: {prose(reason)}"


def _cut(lines: Sequence[str]) -> list[str]:
    more = len(lines) - _MOST_LINES
    return [*lines[:_MOST_LINES], *([f"- and {more:,} more"] if more > 0 else [])]


def _names(cells: Sequence[CellRecord]) -> str:
    return some([code(cell.cell.id) for cell in cells], _MOST_CELLS_NAMED)


def _where(some_cells: Sequence[CellRecord], cells: Sequence[CellRecord]) -> str:
    """The number of cells, and the axes in which they agree and others differ."""
    ids = {cell.cell.id for cell in some_cells}
    number = count(len(ids), "cell")
    inside = [cell.cell for cell in some_cells]
    axes = [axis for axis in varying(cell.cell for cell in cells) if len(values(axis, inside)) == 1]
    if len(ids) < 2 or not axes:
        return number
    common = prose(", ".join(named(axis, *values(axis, inside)) for axis in axes))
    alike = {cell.cell.id for cell in cells if _labels(cell.cell, axes) == _labels(inside[0], axes)}
    return f"{number}, {'every one' if alike == ids else 'all'} with {common}"


def _by(pairs: Iterable[tuple[_Key, _Item]]) -> dict[_Key, list[_Item]]:
    """The items of each key, in their order."""
    found: dict[_Key, list[_Item]] = {}
    for key, item in pairs:
        found.setdefault(key, []).append(item)
    return found
