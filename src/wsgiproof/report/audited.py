"""An audit in the terminal: a table, what failed and how, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from wsgiproof.records.audit import Audit, Environment, Outcome, Result, StandardFailure, Tier
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
_Column = tuple[InterpreterKind, Tier]
_LONGEST = 600
"""Characters of a reason."""
_LONGEST_ADVICE = 4000


def show_audit(console: Console, audit: Audit, saved: str) -> None:
    """Print each environment, and where the record is."""
    for environment in audit.environments:
        _show_environment(console, environment)
    console.print(Text(f"Record: {saved}"), soft_wrap=True)


def _show_environment(console: Console, environment: Environment) -> None:
    console.print(Text(printable(environment.python), style="bold"))
    kinds = list(dict.fromkeys([InterpreterKind.MAIN, *environment.kinds]))
    columns = [(kind, Tier.FAST) for kind in kinds]
    if environment.deep:
        columns += [(kind, Tier.DEEP) for kind in environment.kinds]
    rows = _rows(environment)
    if rows:
        console.print(_table(rows, columns))
    else:
        console.print("No distribution with compiled code is installed: --all tries the others.")
    for one in _worth_words(environment):
        console.print(_heading(one))
        for line in _lines(one):
            console.print(Padding(Text(printable(line, _LONGEST)), (0, 0, 0, 2), expand=False))
    for kind, failures in environment.baseline.items():
        if failures:
            console.print(Text(_baseline_line(kind, failures), style="yellow"))
    for what, why in environment.not_confined.items():
        line = f"The packages could {_COULD.get(what, what)}, since the kernel says: {why}"
        console.print(Text(printable(line), style="yellow"))
    for advice in environment.advice:
        console.print(Text(printable(advice, _LONGEST_ADVICE)))


def _baseline_line(kind: str, failures: Sequence[StandardFailure]) -> str:
    names = ", ".join(one.module for one in failures)
    line = f"The standard library alone fails under {kind}, which is no package's fault: {names}"
    return printable(f"{line} ({failures[0].module} {failures[0].error})", _LONGEST)


def _rows(environment: Environment) -> dict[tuple[str, str], dict[_Column, Result]]:
    rows: dict[tuple[str, str], dict[_Column, Result]] = {}
    for one in (*environment.control, *environment.results, *environment.deep):
        rows.setdefault((one.name, one.version), {})[one.kind, one.tier] = one
    return rows


def _table(rows: dict[tuple[str, str], dict[_Column, Result]], columns: Sequence[_Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("package", overflow="fold")
    table.add_column("version", overflow="fold")
    for kind, tier in columns:
        table.add_column(_title(kind, tier), no_wrap=True)
    table.add_column("tried by", no_wrap=True)
    for (name, version), results in rows.items():
        cells = [_cell(results.get(column)) for column in columns]
        used = any(one.exercised for one in results.values())
        installed = all(one.outcome is not Outcome.NOT_INSTALLABLE for one in results.values())
        tried = "exercise" if used else "import alone" if installed else "-"
        table.add_row(Text(printable(name)), Text(printable(version)), *cells, Text(tried))
    return table


def _title(kind: InterpreterKind, tier: Tier) -> str:
    return f"{kind} in Apache" if tier is Tier.DEEP else kind


def _cell(result: Result | None) -> Text:
    return Text(result.outcome, style=_STYLES[result.outcome]) if result else Text("-")


def _worth_words(environment: Environment) -> list[Result]:
    """The results that a table can't say, and the reasons of the main interpreter once."""
    tried = (*environment.results, *environment.deep)
    asked = [one for one in tried if one.outcome is not Outcome.WORKS or one.notes]
    named = {one.name for one in asked}
    bad = [one for one in environment.control if one.outcome is not Outcome.WORKS]
    return [*asked, *(one for one in bad if one.name not in named)]


def _heading(one: Result) -> Text:
    return Text.assemble(
        (printable(f"{one.name} {one.version}".strip()), "bold"),
        f" {_title(one.kind, one.tier)}: ",
        (one.outcome, _STYLES[one.outcome]),
        f", because of {printable(one.cause)}" if one.cause else "",
    )


def _lines(one: Result) -> list[str]:
    crashed = one.outcome is Outcome.CRASHES and one.ends and "none of" not in one.ends
    return [line for line in (one.reason, one.ends if crashed else "", *one.notes) if line]
