"""A bisection in the terminal: the versions that were tried, and the one that changed something."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wsgiproof.analysis.axes import title
from wsgiproof.analysis.bisection import Bisection, Says
from wsgiproof.judge.rules import RulesOf
from wsgiproof.records.run import CellRecord
from wsgiproof.report.cells_table import STYLES
from wsgiproof.report.terminal import show_cells
from wsgiproof.report.text import printable

_WORDS = {Says.PASS: "passes", Says.FAIL: "fails"}


def show_bisection(
    console: Console, result: Bisection, failing: CellRecord, rules_of: RulesOf, output: str
) -> None:
    """Print the cell beside the change that fails, the versions, and what was found."""
    show_cells(console, [failing], rules_of, output)
    console.print()
    console.print(_table(result))
    console.print()
    for line in _lines(result, failing):
        console.print(Text(printable(line)), soft_wrap=True)
    console.print(Text(f"Results: {output}"), soft_wrap=True)


def _table(result: Bisection) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(title(result.axis), no_wrap=True)
    table.add_column(", ".join(result.checks))
    table.add_column("cell")
    for one in result.tried:
        verdict = Text(one.verdict, STYLES[one.verdict])
        table.add_row(one.version, "?" if one.says is Says.NOTHING else one.says, verdict)
    return table


def _lines(result: Bisection, failing: CellRecord) -> list[str]:
    checks = ", ".join(result.checks)
    name = title(result.axis)
    now = _WORDS[result.says]
    was = _WORDS[Says.PASS if result.says is Says.FAIL else Says.FAIL]
    if result.located:
        lines = [f"{name} {result.after} is the first that {now} {checks}; {result.before} {was}."]
    else:
        lines = [
            f"{name} {result.before} {was} {checks}, and {result.after} {now}. Between them, these "
            f"could not be judged: {', '.join(result.undecided)}."
        ]
    if result.back_again:
        lines.append(
            f"It changes more than once: {', '.join(result.back_again)} {was} as well. This is the "
            "first change among the versions that were tried."
        )
    return [*lines, f"Run the one that fails again: {failing.rerun}"]
