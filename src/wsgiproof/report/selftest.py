"""The self test in the terminal: its confusion table, and the controls with a wrong result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wsgiproof.judge.control_result import ControlResult, Result, confusion
from wsgiproof.report.text import printable

_NEGATIVE = "(negative control)"
_MEANING = {
    0: "every fault was caught by the check meant for it, and every negative control passed",
    1: "a fault was missed by its check, or a negative control failed: do not trust this wsgiproof",
    3: "at least one control was undecided or could not be run",
}


def show_controls(console: Console, controls: Iterable[tuple[str, str, str]]) -> None:
    """Print each control's name, the check meant for it, and what it does."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("meant for", no_wrap=True)
    table.add_column("what it does")
    for name, meant, says in controls:
        table.add_row(name, meant or _NEGATIVE, says)
    console.print(table)


def show_selftest(
    console: Console, trials: Sequence[ControlResult], exit_code: int, output: str
) -> None:
    """Print the confusion table, the controls with a wrong result, and the closing lines."""
    console.print()
    console.print(_table(trials))
    wrong = [trial for trial in trials if not trial.is_expected]
    for trial in wrong:
        console.print(_wrong(trial), soft_wrap=True)
    console.print()
    for line in (
        f"{len(trials)} controls, {len(trials) - len(wrong)} as they should be.",
        f"Exit code {exit_code}: {_MEANING[exit_code]}.",
        f"Results: {output}",
    ):
        console.print(Text(line), soft_wrap=True)


def _table(trials: Sequence[ControlResult]) -> Table:
    """A row for each check that faults are meant for, and one for the negative controls."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("meant for", no_wrap=True)
    table.add_column("controls", justify="right")
    for result in Result:
        table.add_column(result, justify="right")
    for meant, counts in confusion(trials).items():
        numbers = [str(counts[result]) if counts[result] else "" for result in Result]
        table.add_row(meant or _NEGATIVE, str(counts.total()), *numbers)
    return table


def _wrong(trial: ControlResult) -> Text:
    meant = f"meant for {trial.meant}" if trial.meant else "a negative control"
    failing = f", failing: {', '.join(trial.failing)}" if trial.failing else ""
    upstream = f" ({trial.upstream})" if trial.upstream else ""
    return Text.assemble(
        "\n",
        (trial.result.upper(), "bold red"),
        f"  {trial.control}, {meant}: {trial.verdict}{failing}{upstream}",
        f"\n  {printable(trial.reason)}" if trial.reason else "",
    )
