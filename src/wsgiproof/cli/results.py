"""Commands that work on what a run has left behind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsgiproof.cli import completion
from wsgiproof.cli.help import RUN_CODES, command, option
from wsgiproof.cli.options import (
    PATH,
    make_console,
    note,
    print_json,
    read_run,
    report_options,
)
from wsgiproof.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from wsgiproof.records.run import RunRecord

_SHOW_EXAMPLES = (
    "wsgiproof show wsgiproof-results/20261123-054359",
    "wsgiproof show wsgiproof-results/20261123-054359 '*-embedded-*'",
    "wsgiproof show wsgiproof-results/20261123-054359 --rejudge",
    "wsgiproof show wsgiproof-results/20261123-054359 --junit junit.xml --summary summary.md",
)
_SHOW_CODES = {**RUN_CODES, 2: "the command line is wrong, or DIR holds no run"}
_COMPARE_EXAMPLES = (
    "wsgiproof compare before-upgrade after-upgrade",
    "wsgiproof compare last-week today --json",
)
_COMPARE_CODES = {
    0: "nothing got worse",
    1: "a cell, or a check of it, got worse",
    2: "the command line is wrong, or the runs have no cell to compare",
}
_MERGE_EXAMPLES = (
    "wsgiproof merge shard-1 shard-2 shard-3 --output whole",
    "wsgiproof merge shards/* --output whole --plan plan.json --junit junit.xml",
)
_MERGE_CODES = {
    **RUN_CODES,
    2: "the command line is wrong, or the runs do not fit together",
    3: "a planned cell is missing, could not be decided, or could not run",
}


@command("show", examples=_SHOW_EXAMPLES, codes=_SHOW_CODES)
@click.argument("where", metavar="DIR", type=PATH)
@click.argument("cell", metavar="[CELL]", required=False, shell_complete=completion.cells)
@option(
    "--rejudge",
    is_flag=True,
    help="Judge the recorded cells again, and show what comes out differently.",
)
@option("--json", "as_json", is_flag=True, help="Print results.json, with key figures.")
@report_options
def show_command(
    where: Path,
    cell: str | None,
    rejudge: bool,
    as_json: bool,
    junit: Path | None,
    summary: Path | None,
) -> None:
    """Show a recorded run again, as it was shown when it ended.

    DIR is the output directory of a run. CELL is the id of a cell, or a glob: other cells count as
    not planned. With --rejudge, DIR may also be the directory or the cell.json of one cell.
    Nothing in it is changed.
    """
    if rejudge:
        if as_json or junit or summary:
            raise UsageError(
                "--rejudge shows its result in the terminal: leave --json, --junit and --summary "
                "out"
            )
        raise SystemExit(_show_rejudged(where, cell))
    from wsgiproof.analysis.figures import with_figures
    from wsgiproof.records.reading import only
    from wsgiproof.report.files import write_files
    from wsgiproof.report.recorded import show_recorded
    from wsgiproof.subjects.registry import rules_to_show

    record = read_run(where)
    if cell is not None:
        record = only(record, cell)
    write_files(record, junit, summary, note)
    code = _exit_code(record)
    if as_json:
        print_json(with_figures(record))
    else:
        show_recorded(make_console(), record, rules_to_show, code, str(where))
    raise SystemExit(code)


def _show_rejudged(where: Path, cell: str | None) -> ExitCode:
    from wsgiproof.analysis.rejudge import differences, rejudge
    from wsgiproof.records.run import exit_code
    from wsgiproof.report.rejudge import show_again
    from wsgiproof.subjects.registry import rules_of

    judged = rejudge(where, rules_of, cell)
    cells = [again.now for again in judged]
    differing = {again.now.cell.id: lines for again in judged if (lines := [*differences(again)])}
    code = exit_code(cells)
    show_again(make_console(), cells, rules_of, differing, code, str(where))
    return code


@command("compare", examples=_COMPARE_EXAMPLES, codes=_COMPARE_CODES)
@click.argument("old", metavar="OLD", type=PATH)
@click.argument("new", metavar="NEW", type=PATH)
@option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def compare_command(old: Path, new: Path, as_json: bool) -> None:
    """Show which cells and checks differ between two runs.

    OLD and NEW are output directories of runs. If they have no cell in common because one axis,
    such as a version, differs throughout, cells are compared that differ in this axis alone.
    """
    from wsgiproof.analysis.compare import compare
    from wsgiproof.report.compared import show_comparison

    comparison = compare(read_run(old), read_run(new))
    if not comparison.compared:
        raise UsageError(
            f"no cell of {old} has a counterpart in {new}: there is nothing to compare; give two "
            "runs whose cells differ in one axis at most"
        )
    if as_json:
        print_json(comparison.to_json())
    else:
        show_comparison(make_console(), comparison)
    raise SystemExit(ExitCode.FINDING if comparison.worse else ExitCode.PASS)


@command("merge", examples=_MERGE_EXAMPLES, codes=_MERGE_CODES)
@click.argument("where", metavar="DIR...", type=PATH, nargs=-1, required=True)
@option("--output", metavar="DIR", type=PATH, required=True, help="Where the whole run goes.")
@option(
    "--plan",
    metavar="FILE",
    type=PATH,
    help="The output of 'wsgiproof list --json'.\n"
    "A cell of it that no DIR has is reported as missing.",
)
@report_options
def merge_command(
    where: tuple[Path, ...],
    output: Path,
    plan: Path | None,
    junit: Path | None,
    summary: Path | None,
) -> None:
    """Merge runs that each ran a part of the cells.

    Each DIR is the output directory of a run, and is not changed. A planned cell that none of them
    has is reported, and counts as undecided.
    """
    from rich.text import Text

    from wsgiproof.analysis.merge import merge
    from wsgiproof.report.files import write_reports
    from wsgiproof.report.html.page import leave_page
    from wsgiproof.report.recorded import show_recorded
    from wsgiproof.subjects.registry import rules_to_show

    merged = merge(where, output, plan)
    console = make_console()
    code = _exit_code(merged.record)
    show_recorded(console, merged.record, rules_to_show, code, str(merged.output))
    for line in merged.notes:
        console.print(Text(line), soft_wrap=True)
    write_reports(merged.record, junit, summary, note)
    leave_page(merged.record, rules_to_show, merged.output)
    raise SystemExit(code)


def _exit_code(record: RunRecord) -> ExitCode:
    """Return what ``run`` would, but never success where a planned cell is missing."""
    from wsgiproof.records.run import exit_code

    code = exit_code(record.cells)
    return ExitCode.UNDECIDED if code is ExitCode.PASS and record.missing else code
