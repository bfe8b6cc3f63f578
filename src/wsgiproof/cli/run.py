"""``wsgiproof run`` and ``wsgiproof list``: the matrix, run or shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsgiproof.cli.command_line import command_line
from wsgiproof.cli.help import RUN_CODES, command, option
from wsgiproof.cli.options import (
    DASK,
    JUNIT,
    RESUME,
    configure,
    make_console,
    matrix_options,
    note,
    print_json,
    progress_on,
    read_list,
    summary_option,
)
from wsgiproof.cli.output import say, say_unfinished
from wsgiproof.errors import UsageError
from wsgiproof.subjects.registry import DEFAULT

if TYPE_CHECKING:
    from wsgiproof.records.listed import Listed

_EXAMPLES = (
    *DEFAULT.examples.get("run", ()),
    "wsgiproof run '*own-gil*' --set nightly --junit report.xml",
    "wsgiproof run --resume wsgiproof-results/20261123-120000",
)
_HELP = f"""Run cells, and print the verdict of each. CELL is an id or a glob.

By default all cells run. Without options and without a configuration file there are
{DEFAULT.by_default}.
"""
_LIST_EXAMPLES = (
    "wsgiproof list",
    "wsgiproof list --set nightly '*embedded*' --json",
    'echo "matrix=$(wsgiproof list --github --shards 20)" >> "$GITHUB_OUTPUT"',
)
_LIST_CODES = {
    0: "the cells are shown",
    2: "the command line is wrong, or no cell is left",
    3: "this machine lacks something, or the package index does not answer",
}
_EXECUTION = [
    RESUME,
    DASK,
    option(
        "--fail-fast",
        is_flag=True,
        default=None,
        help="Stop at the first cell that fails.",
        rare=True,
    ),
    option(
        "--retry-errors",
        type=int,
        metavar="N",
        help="Run a cell that ended in error again, up to N times.\n"
        "A cell that failed is never run again.  [default: 0]",
        rare=True,
    ),
]
_OUTPUT = [
    JUNIT,
    summary_option(rare=True),
    option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print results.json; progress goes to stderr.",
        rare=True,
    ),
]
_FORMS = [
    option(
        "--json",
        "form",
        flag_value="json",
        help="Print the cells as JSON.\nWith what is left out.",
    ),
    option("--github", "form", flag_value="github", help="Print a matrix of GitHub Actions."),
    option("--gitlab", "form", flag_value="gitlab", help="Print jobs of a GitLab child pipeline."),
    option(
        "--evergreen",
        "form",
        flag_value="evergreen",
        help="Print tasks for Evergreen's generate.tasks.\nNeeds the extra [evergreen].",
    ),
    option(
        "--shards",
        type=int,
        metavar="N",
        help="Spread the cells over N machines.\nFor --github, --gitlab and --evergreen.",
    ),
]


@command("run", help=_HELP, examples=_EXAMPLES, codes=RUN_CODES)
@matrix_options(execution=_EXECUTION, output=_OUTPUT)
def run_command(
    file: Path | None,
    no_config: bool,
    chosen: str,
    listed: Path | None,
    resume: Path | None,
    junit: Path | None,
    summary: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Run cells, and print the verdict of each."""
    # Imported here, since --help and completion need not wait for a driver and an HTTP parser.
    from rich.text import Text

    from wsgiproof.analysis.figures import with_figures
    from wsgiproof.records.run import exit_code
    from wsgiproof.report.files import write_reports
    from wsgiproof.report.html.page import leave_page
    from wsgiproof.report.terminal import show_cells, show_run
    from wsgiproof.run.session import run
    from wsgiproof.subjects.registry import rules_of

    config, path = configure(options, file=file, no_config=no_config, chosen=chosen)
    console = make_console(stderr=as_json)
    progress = progress_on(console)
    try:
        with progress:
            record = run(
                config,
                command_line(),
                progress,
                resume=resume,
                listed=read_list(listed),
                own_file=path is not None,
                note=note,
            )
    except (KeyboardInterrupt, Exception):
        # What was finished before is shown; why it went no further is said by main().
        if progress.records:
            show_cells(console, progress.records, rules_of, str(progress.output or ""))
        if progress.output:
            say_unfinished(progress.output, err=as_json)
        raise
    code = exit_code(record.cells)
    show_run(console, record.cells, rules_of, code, str(progress.output))
    write_reports(record, junit, summary, note)
    if progress.output:
        page = leave_page(record, rules_of, progress.output)
        console.print(Text(f"Report: {page}"), soft_wrap=True)
    if as_json:
        print_json(with_figures(record))
    raise SystemExit(code)


@command("list", examples=_LIST_EXAMPLES, codes=_LIST_CODES)
@matrix_options(output=_FORMS)
def list_command(
    file: Path | None,
    no_config: bool,
    chosen: str,
    listed: Path | None,
    form: str | None,
    shards: int | None,
    **options: Any,
) -> None:
    """Show the cells that 'wsgiproof run' would run.

    Each other combination is listed with the reason why it is left out. Nothing is built and
    nothing is started; the package index is asked for versions.
    """
    from wsgiproof.report import matrix as forms
    from wsgiproof.report.evergreen import for_evergreen
    from wsgiproof.run.planning import plan, preflight
    from wsgiproof.run.resolve import resolved_environments, resolved_values

    if shards is not None and form not in forms.MOST_JOBS:
        raise UsageError("--shards needs --github, --gitlab or --evergreen")
    config, _ = configure(options, file=file, no_config=no_config, chosen=chosen)
    setup = preflight(config, read_list(listed))
    run_plan = plan(config, setup)
    matrix = run_plan.matrix

    def listed_now() -> Listed:
        environments = resolved_environments(job.spec for job in run_plan.jobs)
        resolved = resolved_values(setup.resolved)
        return forms.as_listed(matrix.cells, matrix.excluded, resolved, environments)

    if form is None:
        forms.show_matrix(make_console(), matrix.cells, matrix.excluded)
        return
    if form == "json":
        print_json(listed_now())
        return
    plans = {job.cell.id: job.plan for job in run_plan.jobs}
    dealt = forms.deal(plans, form, shards, config.retry_errors)
    if form == "github":
        print_json(forms.for_github(dealt), indent=0)
    elif form == "gitlab":
        say(forms.for_gitlab(dealt))
    else:
        print_json(for_evergreen(dealt, listed_now()))
