"""A run that was judged again: its table, its findings, and the differences to its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from wsgiproof.judge.rules import RulesOf
from wsgiproof.records.run import CellRecord
from wsgiproof.report.terminal import show_run
from wsgiproof.report.text import printable


def show_again(
    console: Console,
    cells: Sequence[CellRecord],
    rules_of: RulesOf,
    differing: Mapping[str, Sequence[str]],
    exit_code: int,
    where: str,
) -> None:
    """Print all that ``run`` prints, and what is ``differing``, by the ids of the cells."""
    show_run(console, cells, rules_of, exit_code, where, "Judged again")
    if not differing:
        console.print(Text("Each check of each cell has the verdict that was recorded."))
        return
    console.print(Text("Different from the record:"))
    for cell, lines in differing.items():
        for line in lines:
            console.print(Text(f"  {cell}  {printable(line)}"), soft_wrap=True)
