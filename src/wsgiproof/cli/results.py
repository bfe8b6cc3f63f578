"""Commands that work on what a run has left behind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsgiproof.cli.options import (
    EXIT_CODES,
    exit_codes,
    make_console,
    print_json,
    read_run,
    report_options,
)
from wsgiproof.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from wsgiproof.records import RunRecord

_DIRECTORY = click.Path(path_type=Path)

_SHOW_EXAMPLES = """\b
Examples:
  wsgiproof show wsgiproof-results/20261123-054359
  wsgiproof show wsgiproof-results/20261123-054359 '*-embedded-*'
  wsgiproof show wsgiproof-results/20261123-054359 --junit junit.xml --summary summary.md
"""
_COMPARE_EXAMPLES = """\b
Examples:
  wsgiproof compare pymongo-4.19.0 pymongo-4.20.0
  wsgiproof compare last-week today --json
"""
_COMPARE_CODES = exit_codes(
    {
        0: "nothing got worse",
        1: "a cell, or a check of it, got worse",
        2: "the command line is wrong, or the runs have no cell to compare",
    }
)
_MERGE_EXAMPLES = """\b
Examples:
  wsgiproof merge shard-1 shard-2 shard-3 --output whole
  wsgiproof merge shards/* --output whole --plan plan.json --junit junit.xml
"""


@click.command("judge", epilog=EXIT_CODES)
@click.argument("where", metavar="DIR", type=_DIRECTORY)
def judge_command(where: Path) -> None:
    """Judge the recorded cells of a run again, offline, and say what comes out otherwise.

    DIR is the output directory of a run, or the directory or the cell.json of one cell. Nothing in
    it is changed.
    """
    from wsgiproof.rejudge import differences, rejudge
    from wsgiproof.report.rejudge import show_again
    from wsgiproof.run import exit_code

    judged = rejudge(where)
    cells = [again.now for again in judged]
    differing = {again.now.cell.id: lines for again in judged if (lines := [*differences(again)])}
    code = exit_code(cells)
    show_again(make_console(), cells, differing, code, str(where))
    raise SystemExit(code)


@click.command("show", epilog=f"{_SHOW_EXAMPLES}\n{EXIT_CODES}")
@click.argument("where", metavar="DIR", type=_DIRECTORY)
@click.argument("cell", metavar="[CELL]", required=False)
@click.option(
    "--json", "as_json", is_flag=True, help="Print what results.json has, with key figures."
)
@report_options
def show_command(
    where: Path, cell: str | None, as_json: bool, junit: Path | None, summary: Path | None
) -> None:
    """Show a recorded run again, as it was shown when it ended.

    DIR is the output directory of a run. CELL is the id of a cell, or a glob: then it is as if the
    run had planned no other cells.
    """
    from wsgiproof.report.figures import with_figures
    from wsgiproof.report.files import write_files
    from wsgiproof.report.recorded import show_recorded
    from wsgiproof.results import only

    record = read_run(where)
    if cell is not None:
        record = only(record, cell)
    write_files(record, junit, summary)
    code = _exit_code(record)
    if as_json:
        print_json(with_figures(record))
    else:
        show_recorded(make_console(), record, code, str(where))
    raise SystemExit(code)


@click.command("compare", epilog=f"{_COMPARE_EXAMPLES}\n{_COMPARE_CODES}")
@click.argument("old", metavar="OLD", type=_DIRECTORY)
@click.argument("new", metavar="NEW", type=_DIRECTORY)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def compare_command(old: Path, new: Path, as_json: bool) -> None:
    """Say which cells, and which checks of them, came to something else in a newer run.

    OLD and NEW are output directories of runs. If they have no cell in common since one version,
    or another axis, differs throughout, cells are compared that are alike but for that.
    """
    from wsgiproof.report.compare import compare
    from wsgiproof.report.compared import show_comparison

    comparison = compare(read_run(old), read_run(new))
    if not comparison.compared:
        raise UsageError(f"no cell of {old} has its like in {new}: there is nothing to compare")
    if as_json:
        print_json(comparison.to_json())
    else:
        show_comparison(make_console(), comparison)
    raise SystemExit(ExitCode.FINDING if comparison.worse else ExitCode.PASS)


@click.command("merge", epilog=f"{_MERGE_EXAMPLES}\n{EXIT_CODES}")
@click.argument("where", metavar="DIR...", type=_DIRECTORY, nargs=-1, required=True)
@click.option(
    "--output", metavar="DIR", type=_DIRECTORY, required=True, help="Where the whole run goes."
)
@click.option(
    "--plan",
    metavar="FILE",
    type=_DIRECTORY,
    help="What 'wsgiproof list --json' printed: a cell of it that no DIR knows of never came.",
)
@report_options
def merge_command(
    where: tuple[Path, ...],
    output: Path,
    plan: Path | None,
    junit: Path | None,
    summary: Path | None,
) -> None:
    """Make one run of several that have each run a part of the cells.

    Each DIR is the output directory of a run, and is not changed. A planned cell that none of them
    has is told, and counts as undecided.
    """
    from rich.text import Text

    from wsgiproof.merge import merge
    from wsgiproof.report.files import write_reports
    from wsgiproof.report.html.page import leave_page
    from wsgiproof.report.recorded import show_recorded

    merged = merge(where, output, plan)
    console = make_console()
    code = _exit_code(merged.record)
    show_recorded(console, merged.record, code, str(merged.output))
    for line in merged.notes:
        console.print(Text(line), soft_wrap=True)
    write_reports(merged.record, junit, summary)
    leave_page(merged.record, merged.output)
    raise SystemExit(code)


def _exit_code(record: RunRecord) -> ExitCode:
    """As ``run`` has it, and never success where a planned cell never came."""
    from wsgiproof.run import exit_code

    code = exit_code(record.cells)
    return ExitCode.UNDECIDED if code is ExitCode.PASS and record.missing else code
