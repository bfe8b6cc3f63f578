"""A recorded run in the terminal, with the cells that never ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wsgiproof.analysis.figures import TITLES, by_name, names
from wsgiproof.judge.finding import count
from wsgiproof.judge.rules import RulesOf
from wsgiproof.records.run import CellRecord, RunRecord
from wsgiproof.report.cells_table import short_labels, table_width
from wsgiproof.report.terminal import show_run
from wsgiproof.report.text import printable


def show_recorded(
    console: Console, record: RunRecord, rules_of: RulesOf, exit_code: int, where: str
) -> None:
    """Print all that ``run`` prints, the planned cells that never ran, and what was excluded."""
    opening = "The run is complete" if record.complete else "The run is not complete"
    show_run(console, record.cells, rules_of, exit_code, where, opening)
    _show_figures(console, record.cells)
    for line in rest(record):
        console.print(Text(printable(line)), soft_wrap=True)


def _show_figures(console: Console, cells: Sequence[CellRecord]) -> None:
    """Print the key figures of each cell that has any; of a single cell without its id."""
    every = [by_name(cell) for cell in cells]
    there = names([*one.values()] for one in every)
    if not there:
        return
    labels = short_labels(cells) or [cell.cell.id for cell in cells]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    if len(cells) > 1:
        table.add_column("cell", overflow="fold")
    for name in there:
        table.add_column(TITLES[name], justify="right")
    for label, figures in zip(labels, every, strict=True):
        if figures:
            texts = [figures[name].text if name in figures else "" for name in there]
            table.add_row(*([Text(printable(label))] if len(cells) > 1 else []), *texts)
    console.print()
    console.print(table, width=table_width(console))


def rest(record: RunRecord) -> list[str]:
    """Return a line for each planned cell that never ran, and for each reason of an exclusion."""
    reasons = Counter(one.reason for one in record.excluded).most_common()
    return [
        *(f"Planned and never ran: {name}" for name in record.missing),
        *(f"Excluded: {count(number, 'combination')}, {reason}" for reason, number in reasons),
    ]
