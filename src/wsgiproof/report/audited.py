"""An audit in the terminal: a table, what failed and how, and what to do about it.

The other reports of an audit take their words from here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from wsgiproof.judge.finding import count
from wsgiproof.records.audit import (
    FAILURES,
    Audit,
    Environment,
    Outcome,
    Result,
    StandardFailure,
    Tier,
)
from wsgiproof.records.cell import InterpreterKind
from wsgiproof.report.text import printable

_STYLES = {
    Outcome.WORKS: "green",
    Outcome.REFUSES: "bold red",
    Outcome.DEGRADES: "bold red",
    Outcome.CRASHES: "bold red",
    Outcome.HANGS: "bold red",
    Outcome.WRONG: "bold red",
    Outcome.LEAKS: "bold red",
    Outcome.TAKES_GIL: "bold red",
    Outcome.NOT_INSTALLABLE: "yellow",
    Outcome.UNKNOWN: "yellow",
}
_COULD = {"network": "use the network", "files": "write to any file of their user"}
"""What a package may do where the kernel does not allow to prevent it."""
Column = tuple[InterpreterKind, Tier]
_LONGEST = 600
"""Characters of a reason."""
NOTHING = "No distribution with compiled code is installed: --all tries the others."
_LONGEST_ADVICE = 4000


def heading(audit: Audit) -> str:
    """Return the answer of an audit in a few words, over all of its environments."""
    results = [
        one
        for environment in audit.environments
        for one in (*environment.results, *environment.deep)
    ]
    named = {one.name for one in results}
    broken = {one.name for one in results if one.outcome in FAILURES}
    unknown = {one.name for one in results if one.outcome is not Outcome.WORKS} - broken
    if not named:
        return "nothing was tried"
    if broken:
        verb = "breaks" if len(broken) == 1 else "break"
        return f"{len(broken)} of {count(len(named), 'package')} {verb}"
    if unknown:
        return f"none of {count(len(named), 'package')} breaks, {len(unknown)} not known"
    return "the package works" if len(named) == 1 else f"all {len(named)} packages work"


def show_audit(console: Console, audit: Audit, saved: str) -> None:
    """Print each environment, and where the record is."""
    for environment in audit.environments:
        _show_environment(console, environment)
    for note in audit.notes:
        console.print(Text(printable(note, _LONGEST)))
    if not audit.complete:
        console.print(
            Text("Not finished: the same command with --resume goes on, --deep left out.")
        )
    console.print(Text(f"Record: {saved}"), soft_wrap=True)


def _show_environment(console: Console, environment: Environment) -> None:
    console.print(Text(printable(environment.python), style="bold"))
    rows = rows_of(environment)
    console.print(_table(rows, columns_of(environment)) if rows else NOTHING)
    for one in worth_words(environment):
        console.print(_heading(one))
        for line in lines_of(one):
            console.print(Padding(Text(printable(line, _LONGEST)), (0, 0, 0, 2), expand=False))
    if environment.left:
        left = f"{environment.left} of {len(environment.audited)}"
        console.print(Text(f"Not tried: {left}.", style="yellow"))
    for line in cautions(environment):
        console.print(Text(printable(line, _LONGEST), style="yellow"))
    for advice in environment.advice:
        console.print(Text(printable(advice, _LONGEST_ADVICE)))


def cautions(environment: Environment) -> list[str]:
    """Return what to know of all results: what fails alone, and what packages could do."""
    failed = [_baseline(kind, found) for kind, found in environment.baseline.items() if found]
    return [
        *failed,
        *(
            f"The packages could {_COULD.get(what, what)}, since the kernel says: {why}"
            for what, why in environment.not_confined.items()
        ),
    ]


def _baseline(kind: str, failures: Sequence[StandardFailure]) -> str:
    names = ", ".join(one.module for one in failures)
    line = f"The standard library alone fails under {kind}, which is no package's fault: {names}"
    return f"{line} ({failures[0].module} {failures[0].error})"


def columns_of(environment: Environment) -> list[Column]:
    """Return the columns of the table: the control, and the kinds that were asked for, in each
    tier."""
    kinds = dict.fromkeys([InterpreterKind.MAIN, *environment.kinds])
    columns = [(kind, Tier.FAST) for kind in kinds]
    if environment.deep:
        columns += [(kind, Tier.DEEP) for kind in environment.kinds]
    return columns


def title_of(kind: InterpreterKind, tier: Tier) -> str:
    """Return the title of a column."""
    return f"{kind} in Apache" if tier is Tier.DEEP else kind


def rows_of(environment: Environment) -> dict[tuple[str, str], dict[Column, Result]]:
    """Return the rows of the table: the results of each name and version."""
    rows: dict[tuple[str, str], dict[Column, Result]] = {}
    for one in (*environment.control, *environment.results, *environment.deep):
        rows.setdefault((one.name, one.version), {})[one.kind, one.tier] = one
    return rows


def _table(rows: dict[tuple[str, str], dict[Column, Result]], columns: Sequence[Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("package", overflow="fold")
    table.add_column("version", overflow="fold")
    for kind, tier in columns:
        table.add_column(title_of(kind, tier), no_wrap=True)
    table.add_column("tried by", no_wrap=True)
    for (name, version), results in rows.items():
        cells = [_cell(results.get(column)) for column in columns]
        tried = tried_by(results.values())
        table.add_row(Text(printable(name)), Text(printable(version)), *cells, Text(tried))
    return table


def tried_by(results: Collection[Result]) -> str:
    """Return how a distribution was tried, by its results."""
    if any(one.exercised for one in results):
        return "exercise"
    installed = all(one.outcome is not Outcome.NOT_INSTALLABLE for one in results)
    return "import alone" if installed else "-"


def _cell(result: Result | None) -> Text:
    return Text(result.outcome, style=_STYLES[result.outcome]) if result else Text("-")


def worth_words(environment: Environment) -> list[Result]:
    """The results that a table can't say, and the reasons of the main interpreter once."""
    tried = (*environment.results, *environment.deep)
    asked = [one for one in tried if one.outcome is not Outcome.WORKS or one.notes]
    named = {one.name for one in asked}
    bad = [one for one in environment.control if one.outcome is not Outcome.WORKS]
    return [*asked, *(one for one in bad if one.name not in named)]


def _heading(one: Result) -> Text:
    return Text.assemble(
        (printable(f"{one.name} {one.version}".strip()), "bold"),
        f" {title_of(one.kind, one.tier)}: ",
        (one.outcome, _STYLES[one.outcome]),
        f", because of {printable(one.cause)}" if one.cause else "",
    )


def lines_of(one: Result) -> list[str]:
    """Return what there is to say of a result beside its outcome."""
    crashed = one.outcome is Outcome.CRASHES and one.ends and "none of" not in one.ends
    return [line for line in (one.reason, one.ends if crashed else "", *one.notes) if line]
