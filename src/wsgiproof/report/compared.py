"""The comparison of two runs in the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from wsgiproof.analysis.axes import title
from wsgiproof.analysis.compare import CellChange, Change, Comparison, RateChange
from wsgiproof.analysis.figures import of_other_machines
from wsgiproof.judge.finding import count
from wsgiproof.records.judgement import Verdict
from wsgiproof.report.text import printable

_WORSE = ("WORSE     ", "bold red")
_BETTER = ("BETTER    ", "green")
_CHANGED = ("CHANGED   ", "yellow")


def show_comparison(console: Console, comparison: Comparison) -> None:
    """Print each cell that changed, the cells that only one run has, and the totals."""
    for line in _lines(comparison):
        console.print(line, soft_wrap=True)


def _lines(comparison: Comparison) -> Iterator[Text]:
    yield from map(Text, _differing_axes(comparison))
    for change in comparison.changed:
        yield from _cell(change)
    yield from map(_rate, comparison.rates)
    for where, ids in (("OLD", comparison.only_old), ("NEW", comparison.only_new)):
        yield from (Text(f"ONLY IN {where}  {printable(name)}") for name in ids)
    yield Text(_closing(comparison))


def _differing_axes(comparison: Comparison) -> Iterator[str]:
    if comparison.paired_without:
        without = title(comparison.paired_without)
        yield f"No cell is in both runs, so cells that differ only in {without} are paired."
    for axis in comparison.axes:
        old, new = ", ".join(axis.old), ", ".join(axis.new)
        yield printable(f"{title(axis.axis)}: {old} in OLD, {new} in NEW.")
    if comparison.other_machines:
        yield of_other_machines(comparison.other_machines, "pair")


def _cell(change: CellChange) -> Iterator[Text]:
    same_id = change.new in (change.old, "")
    name = change.old if same_id else f"{change.old} -> {change.new}"
    yield Text.assemble(_mark(change), name)
    yield from _change("", change, reasons=not change.checks)
    for check in change.checks:
        yield from _change(f"{check.check}: ", check, reasons=True)


def _mark(change: CellChange) -> tuple[str, str]:
    if change.worse:
        return _WORSE
    return _BETTER if change.now == Verdict.PASS else _CHANGED


def _change(what: str, change: Change, reasons: bool) -> Iterator[Text]:
    """The change, with its ``reasons`` unless the lines of its checks have them."""
    yield Text(printable(f"  {what}{change.was} -> {change.now}"))
    for when, reason in (("OLD", change.was_reason), ("NEW", change.now_reason)):
        if reasons and reason:
            yield Text(printable(f"    {when}: {reason}"))


def _rate(change: RateChange) -> Text:
    """How often processes went wrong at their end, and whether chance explains the difference."""
    mark = _WORSE if change.worse else ("RATE      ", "")
    return Text.assemble(mark, printable(change.describe()))


def _closing(comparison: Comparison) -> str:
    worse = sum(change.worse for change in comparison.changed)
    parts = [
        f"{count(comparison.compared, 'cell')} compared: {worse} worse",
        f"{len(comparison.changed) - worse} otherwise changed",
        f"{comparison.same} the same",
    ]
    return ", ".join(parts) + "."
