"""A run in the terminal: its table of cells, its findings, and what its exit code means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
from rich.console import Console
from rich.text import Text

from wsgiproof.judge.explain.lines import TRACEBACK
from wsgiproof.judge.finding import count
from wsgiproof.judge.rules import Rules, RulesOf
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.run import CellRecord
from wsgiproof.report import known
from wsgiproof.report.causes import Cause, causes
from wsgiproof.report.cells_table import STYLES, show_table
from wsgiproof.report.explained import also, control, error_log, unknown
from wsgiproof.report.text import printable
from wsgiproof.report.undecided import needed_requests, skipped, undecided

_MEANING = {
    0: "every check of every cell passed",
    1: "at least one check found something wrong with the subject, which may be a package, "
    "mod_wsgi, Python or the application; wsgiproof itself worked",
    3: "at least one cell could not be decided or could not be run, and none of them failed",
}
_MOST_EVIDENCE_LINES = 6
_MOST_UNDECIDED = 3
_LONGEST_QUOTE = 300
_LONGEST_PROSE = 1000
"""Characters."""
_FEW_REQUESTS = 1000
"""With fewer, a pass says little."""
_LEAST_WIDTH = 24
"""Columns that are used even if the console has fewer."""


def show_run(
    console: Console,
    cells: Sequence[CellRecord],
    rules_of: RulesOf,
    exit_code: int,
    output: str,
    opening: str = "The run is complete",
) -> None:
    """Print the table, every finding, and the closing lines."""
    show_cells(console, cells, rules_of, output)
    console.print()
    for line in _closing(cells, exit_code, output, opening):
        console.print(Text(line), soft_wrap=True)


def show_cells(
    console: Console, cells: Sequence[CellRecord], rules_of: RulesOf, output: str = ""
) -> None:
    """Print the table and every finding. ``output`` is the directory of the run."""
    console.print()
    show_table(console, cells)
    for cell in cells:
        for line in _details(cell, rules_of(cell.cell), output):
            _print(console, line)


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of what is said about a cell."""

    indent: int = 0
    """Blanks; the rest of a wrapped line has two more."""
    label: str = ""
    text: str
    style: str = ""
    label_style: str = "bold"
    kind: Literal["prose", "quote", "command"] = "prose"
    """Prose is wrapped on a terminal, a quote is cut to its width, and a command stays whole."""


def _print(console: Console, line: _Line) -> None:
    """Print a line as it suits the console; a log gets each line whole."""
    label = (line.label, line.label_style)
    text = Text.assemble(label, (printable(line.text, _LONGEST_PROSE), line.style))
    if line.kind == "quote":
        text.truncate(_LONGEST_QUOTE)
    if console.is_terminal and line.kind == "quote":
        text.truncate(max(_LEAST_WIDTH, console.width - line.indent), overflow="ellipsis")
    if not console.is_terminal or line.kind != "prose":
        console.print(Text(" " * line.indent) + text, soft_wrap=True)
        return
    wrapped = text.wrap(console, max(_LEAST_WIDTH, console.width - line.indent - 2))
    for number, part in enumerate(wrapped):
        console.print(Text(" " * (line.indent + 2 * bool(number))) + part, soft_wrap=True)


def _details(cell: CellRecord, rules: Rules, output: str) -> Iterator[_Line]:
    """The lines below the table about one cell; if it passed, only unknown lines of its log."""
    not_known = [_Line(indent=2, text=text) for text in unknown(cell)]
    if cell.verdict is Verdict.PASS and not not_known:
        return
    yield _Line(text="")
    yield _Line(
        label=f"{cell.verdict.upper()}  ",
        label_style=STYLES[cell.verdict],
        text=cell.cell.id,
        kind="command",
    )
    if cell.verdict is Verdict.ERROR:
        yield _Line(indent=2, text=cell.reason)
    if planted := control(cell):
        yield _Line(indent=2, label="control: ", text=planted)
    for cause in causes(cell, rules):
        yield from _cause(cause)
    yield from _undecided(cell)
    yield from not_known
    if others := also(cell):
        yield _Line(indent=2, text=others)
    if output and cell.findings:
        log = error_log(cell, output)
        yield _Line(indent=2, label="error log: ", text=log, kind="command")
    yield _Line(indent=2, label="rerun: ", text=cell.rerun, style="cyan", kind="command")


def _undecided(cell: CellRecord) -> Iterator[_Line]:
    """The checks without a result; those of a failed cell in one line if they are many."""
    for verdict, groups in (
        (Verdict.INCONCLUSIVE, undecided(cell)),
        (Verdict.SKIPPED, skipped(cell)),
    ):
        texts = [f"{', '.join(names)}: {reason}" for names, reason in groups]
        if cell.findings and len(groups) > _MOST_UNDECIDED:
            texts = [", ".join(name for names, _ in groups for name in names)]
        for text in texts:
            yield _Line(indent=2, label=f"{verdict} ", label_style=STYLES[verdict], text=text)


def _cause(cause: Cause) -> Iterator[_Line]:
    """What broke, why, what to do, what followed from it; the evidence comes last."""
    for seen in cause.sightings:
        yield _Line(indent=2, label=f"{printable(cause.check)}: ", text=seen)
    for why in cause.accepted:
        yield _Line(indent=4, label="accepted: ", text=why)
    yield _Line(indent=4, label="means: ", text=cause.meaning)
    yield _Line(indent=4, label="do: ", text=cause.action)
    if cause.known:
        entry = f"{cause.known.id} ({cause.known.versions})"
        yield _Line(indent=4, label="known: ", text=entry)
        if cause.known.whose:
            yield _Line(indent=4, label="whose bug: ", text=cause.known.whose)
        command = f"wsgiproof explain {cause.known.id}"
        yield _Line(indent=4, label="more: ", text=command, style="cyan", kind="command")
    for finding in cause.consequences:
        text = f"{finding.check}: {finding.seen}"
        yield _Line(indent=4, label="likely consequence: ", text=text)
    if cause.also_known:
        traces = ", ".join(f"{one.id} ({one.count:,} x)" for one in cause.also_known)
        yield _Line(indent=4, label="traces: ", text=traces)
    for line in _quoted(cause.evidence):
        yield _Line(indent=4, text=f"| {line}", style="dim", kind="quote")


def _quoted(evidence: Sequence[str]) -> Iterator[str]:
    """The first lines of the evidence; of a traceback the last ones, which say what was raised."""
    lines = [line for text in evidence for line in text.splitlines()]
    left = len(lines) - _MOST_EVIDENCE_LINES
    if left <= 0:
        yield from lines
        return
    raised = next((text.splitlines() for text in evidence if TRACEBACK in text), [])
    if raised and evidence[0].splitlines() != raised:  # lines about it come first
        before = lines[: lines.index(raised[0])][:2]
        raised = raised[-(_MOST_EVIDENCE_LINES - len(before)) :]
        yield from (*before, *raised)
    else:
        yield from raised[-_MOST_EVIDENCE_LINES:] or lines[:_MOST_EVIDENCE_LINES]
    yield f"... {count(left, 'more line')} in cell.json"


def _closing(cells: Sequence[CellRecord], exit_code: int, output: str, opening: str) -> list[str]:
    numbers = [
        f"{sum(cell.verdict is verdict for cell in cells)} {verdict}"
        for verdict in Verdict
        if any(cell.verdict is verdict for cell in cells)
    ]
    return [
        f"{opening}: {', '.join([count(len(cells), 'cell'), *numbers])}.",
        f"Exit code {exit_code}: {_meaning(cells, exit_code)}.",
        *map(printable, known.found(cells)),
        *(printable(line) for _, line in known.unseen(cells)),
        *_limits(cells, exit_code),
        f"Results: {output}",
    ]


def _meaning(cells: Sequence[CellRecord], exit_code: int) -> str:
    verdicts = {cell.verdict for cell in cells}
    if exit_code == 1 and Verdict.FAIL not in verdicts:
        return "no cell failed, but what is known no longer appears"
    if exit_code == 0 and Verdict.KNOWN in verdicts:
        return "nothing was found but what is known and accepted"
    return _MEANING[exit_code]


def _limits(cells: Sequence[CellRecord], exit_code: int) -> Iterator[str]:
    """How little a pass says that rests on few requests; what would decide about memory alone."""
    seen = [cell.observed for cell in cells if cell.observed is not None]
    fewest = min((one.requests for one in seen), default=0)
    if exit_code == 0 and 0 < fewest < _FEW_REQUESTS:
        # With n requests and no failure, 3/n is the 95 % bound of the rate.
        yield (
            f"That rests on {count(fewest, 'request')} in a cell: what goes wrong less often than "
            f"once in {max(1, fewest // 3):,} requests may not have shown (95 %). -n makes more."
        )
    names = {name for cell in cells for group, _ in undecided(cell) for name in group}
    needed = max(map(needed_requests, seen), default=0)
    if exit_code == 3 and names == {"memory"} and needed:
        yield (
            "Nothing but memory is undecided: it takes more requests than the other checks. "
            f"'-n {needed}' is likely to decide it."
        )
