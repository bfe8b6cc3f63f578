"""The table of cells and verdicts, in the form that fits the width of the console."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from wsgiproof.analysis.axes import axes_of, is_usual, named, value_of, values, varying
from wsgiproof.analysis.figures import by_name, machines
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.run import CellRecord
from wsgiproof.report.text import printable

STYLES = {
    Verdict.PASS: "green",
    Verdict.KNOWN: "blue",
    Verdict.FAIL: "bold red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.ERROR: "bold magenta",
    Verdict.SKIPPED: "dim",
}
_LEAST_FOR_A_TABLE = 60
"""Columns of the console; below, each cell has lines of its own."""
_WIDEST_IN_A_LOG = 100
"""Columns of a table that goes to a file or a pipe, which has no width."""
_LEAST_FOR_A_REASON = 24
_VERDICT = max(map(len, Verdict))
_GAP = 2
"""Between two columns."""
_FIGURES = ("requests/s", "seconds")


def show_table(console: Console, cells: Sequence[CellRecord]) -> None:
    """Print a row for each cell, and whether their figures are of different machines.

    The verdict and the reason are kept whatever the width is. Ids give way to the axes in which the
    cells differ, then the figures go. What still does not fit, and any console narrower than 60
    columns, gets lines in place of a table.
    """
    ids = [cell.cell.id for cell in cells]
    short = short_labels(cells)
    forms = [(ids, True), (short, True), (short, False)]
    width = table_width(console)
    fitting = (form for form in forms if _fits(width, cells, *form))
    labels, figures = next(fitting, (short or ids, None))
    if labels is not ids:
        console.print(Text(f"All cells: {same(cells)}."))
        console.print()
    if figures is not None:
        console.print(_table(cells, labels, figures), width=width)
    else:
        _show_lines(console, cells, labels)
    if spread := machines(cells):
        console.print(Text(printable(spread)), soft_wrap=True)


def _show_lines(console: Console, cells: Sequence[CellRecord], labels: Sequence[str]) -> None:
    for cell, label in zip(cells, labels, strict=True):
        # An id is printed whole, so that it can be copied.
        verdict = (cell.verdict, STYLES[cell.verdict])
        console.print(Text.assemble(verdict, f"  {printable(label)}"), soft_wrap=True)
        if cell.verdict is not Verdict.PASS or not console.is_terminal:
            text = printable(cell.reason) if console.is_terminal else _in_a_log(cell)
            console.print(Padding(Text(text), (0, 0, 0, 6), expand=False))


def table_width(console: Console) -> int:
    """Return the columns that a table may have: those of the terminal, or of a wide page."""
    return console.width if console.is_terminal else min(console.width, _WIDEST_IN_A_LOG)


def same(cells: Sequence[CellRecord]) -> str:
    """What is the same for all cells: ``Python 3.11.2, daemon``."""
    all_of_them = [cell.cell for cell in cells]
    differing = varying(all_of_them)
    return ", ".join(
        named(axis, *values(axis, all_of_them))
        for axis in axes_of(all_of_them)
        if axis not in differing
        and values(axis, all_of_them)
        and not is_usual(axis, all_of_them[0])
    )


def short_labels(cells: Sequence[CellRecord]) -> list[str]:
    """Return the values in which the cells differ; nothing if that leaves two cells alike."""
    axes = varying(cell.cell for cell in cells)
    labels = [
        ", ".join(filter(None, (value_of(axis, cell.cell) for axis in axes))) for cell in cells
    ]
    return labels if axes and len({*labels}) == len(cells) else []


def _fits(width: int, cells: Sequence[CellRecord], labels: Sequence[str], figures: bool) -> bool:
    longest = max((len(printable(cell.reason)) for cell in cells), default=0)
    if not labels:
        return False
    needed = [max(map(len, labels)), _VERDICT, min(longest, _LEAST_FOR_A_REASON)]
    needed += [len(name) for name in _FIGURES] if figures else []
    return width >= _LEAST_FOR_A_TABLE and sum(needed) + _GAP * (len(needed) - 1) <= width


def _in_a_log(cell: CellRecord) -> str:
    """The reason with the figures, which a log does not have to do without."""
    rate, seconds = _numbers(cell)
    figures = [f"{rate} requests/s"] if rate else []
    return "; ".join([printable(cell.reason), ", ".join([*figures, f"{seconds} s"])])


def _numbers(cell: CellRecord) -> tuple[str, str]:
    """The figures of the table: requests per second, and seconds."""
    rate = by_name(cell).get("requests_per_second")
    return rate.text if rate else "", f"{cell.timings.get('total', 0):.1f}"


def _table(cells: Sequence[CellRecord], labels: Sequence[str], figures: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("cell", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for name in _FIGURES if figures else ():
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("because of", overflow="fold")
    for cell, label in zip(cells, labels, strict=True):
        numbers = _numbers(cell)
        table.add_row(
            Text(printable(label)),
            Text(cell.verdict, style=STYLES[cell.verdict]),
            *(numbers if figures else ()),
            Text(printable(cell.reason)),
        )
    return table
