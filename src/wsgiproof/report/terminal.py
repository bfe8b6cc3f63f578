"""A run in the terminal: its table of cells, its findings, and what its exit code means."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wsgiproof.judge.finding import count
from wsgiproof.records import CellRecord, Finding, Verdict
from wsgiproof.report.explained import also, explained, unknown
from wsgiproof.report.figures import by_name
from wsgiproof.report.text import one_line

STYLES = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.ERROR: "bold magenta",
    Verdict.SKIPPED: "dim",
}

_MEANING = {
    0: "every check of every cell passed",
    1: "at least one check found something wrong with the subject; wsgiproof itself worked",
    3: "at least one cell could not be decided or could not be run, and none of them failed",
}
_MOST_EVIDENCE_LINES = 6
_LONGEST_EVIDENCE_LINE = 300


def show_run(
    console: Console,
    cells: Sequence[CellRecord],
    exit_code: int,
    output: str,
    opening: str = "The run is complete",
) -> None:
    """Print the table, every finding, and the closing lines."""
    show_cells(console, cells)
    console.print()
    for line in _closing(cells, exit_code, output, opening):
        console.print(Text(line), soft_wrap=True)


def show_cells(console: Console, cells: Sequence[CellRecord]) -> None:
    """Print the table and every finding."""
    console.print()
    console.print(_table(cells))
    for cell in cells:
        for line in _details(cell):
            console.print(line, soft_wrap=True)


def _table(cells: Sequence[CellRecord]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("cell", no_wrap=True, overflow="fold")
    table.add_column("verdict", no_wrap=True)
    table.add_column("requests/s", justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("because of")
    for cell in cells:
        rate = by_name(cell).get("requests_per_second")
        table.add_row(
            Text(cell.cell.id),
            Text(cell.verdict, style=STYLES[cell.verdict]),
            rate.told if rate else "",
            f"{cell.timings.get('total', 0):.1f}",
            Text(printable(cell.reason)),
        )
    return table


def _details(cell: CellRecord) -> list[Text]:
    """The lines below the table about one cell; if it passed, only what nobody knows of its log."""
    not_known = [Text(f"  {printable(line)}") for line in unknown(cell)]
    if cell.verdict is Verdict.PASS and not not_known:
        return []
    lines = [Text.assemble("\n", (cell.verdict.upper(), STYLES[cell.verdict]), f"  {cell.cell.id}")]
    if cell.verdict is Verdict.ERROR:
        lines.append(Text(f"  {printable(cell.reason)}"))
    told: set[str] = set()
    for finding in cell.findings:
        lines += _finding(finding, told)
    lines += [
        Text.assemble(
            (f"  {check.verdict} ", STYLES[check.verdict]),
            printable(f"{check.check}: {check.reason}"),
        )
        for check in cell.checks
        if check.verdict in (Verdict.INCONCLUSIVE, Verdict.SKIPPED)
    ]
    lines += not_known
    if beside := also(cell):
        lines.append(Text(f"  {beside}"))
    lines.append(_line("  rerun", cell.rerun, "cyan"))
    return lines


def _finding(finding: Finding, told: set[str]) -> list[Text]:
    lines = [
        Text.assemble("  ", (printable(finding.check), "bold"), f": {printable(finding.seen)}"),
        _line("    means", finding.meaning),
        _line("    do", finding.action),
    ]
    shown = [line for text in finding.evidence for line in text.splitlines()]
    for line in shown[:_MOST_EVIDENCE_LINES]:
        lines.append(Text(f"    | {printable(line)}", style="dim"))
    if len(shown) > _MOST_EVIDENCE_LINES:
        more = len(shown) - _MOST_EVIDENCE_LINES
        lines.append(Text(f"    | ... {more} more lines in cell.json", style="dim"))
    for label, text in explained(finding, told):
        quoted = label == "known"
        lines.append(
            _line(f"    {label}", printable(text)) if quoted else _line(f"      {label}", text)
        )
    return lines


def _line(label: str, text: str, style: str = "") -> Text:
    return Text.assemble((f"{label}: ", "bold"), (one_line(text), style))


def printable(line: str) -> str:
    """Without control characters: what an application logs must not steer a terminal."""
    clean = "".join(char if char.isprintable() else "?" for char in line)
    return clean[:_LONGEST_EVIDENCE_LINE]


def _closing(cells: Sequence[CellRecord], exit_code: int, output: str, opening: str) -> list[str]:
    numbers = [
        f"{sum(cell.verdict is verdict for cell in cells)} {verdict}"
        for verdict in Verdict
        if any(cell.verdict is verdict for cell in cells)
    ]
    return [
        f"{opening}: {', '.join([count(len(cells), 'cell'), *numbers])}.",
        f"Exit code {exit_code}: {_MEANING[exit_code]}.",
        f"Results: {output}",
    ]
