"""Trends over several runs in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wsgiproof.analysis.figures import TITLES, of_other_machines
from wsgiproof.analysis.trends import DATE, Point, Row, Trends
from wsgiproof.judge.finding import count
from wsgiproof.records.judgement import Verdict
from wsgiproof.report.cells_table import STYLES
from wsgiproof.report.text import printable


def show_trends(console: Console, over: Trends, figure: str) -> None:
    """Print a row for each cell, with its verdicts and one of its key figures."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("cell", overflow="fold")
    for column in over.columns:
        head = printable(_when(column) if over.by == DATE else column)
        table.add_column(Text(head), overflow="fold")
    for row in over.rows:
        table.add_row(Text(printable(row.name)), *_places(row, len(over.columns), figure))
    console.print(table)
    changed = sum(row.changes > 0 for row in over.rows)
    line = f"{count(len(over.rows), 'cell')}, {changed} of them with more than one verdict"
    console.print(Text(f"{line}; the number next to a verdict: {TITLES[figure]}."), soft_wrap=True)
    if over.other_machines:
        console.print(Text(of_other_machines(over.other_machines, "row")), soft_wrap=True)


def _places(row: Row, columns: int, figure: str) -> list[Text]:
    points = {point.column: point for point in row.points}
    return [_place(points.get(number), figure) for number in range(columns)]


def _place(point: Point | None, figure: str) -> Text:
    if point is None:
        return Text("-")
    text = next((one.text for one in point.figures if one.name == figure), "")
    return Text.assemble((point.verdict, STYLES[Verdict(point.verdict)]), f" {text}" * bool(text))


def _when(started: str) -> str:
    """``2026-11-23 05:43`` of an ISO 8601 time, with its number if several runs have the same."""
    return started.replace("T", " ")[:16] + started.partition(" ")[2]
