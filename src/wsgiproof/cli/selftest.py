"""``wsgiproof selftest``."""

from __future__ import annotations

from typing import Any

from wsgiproof.cli.command_line import command_line
from wsgiproof.cli.help import command, option
from wsgiproof.cli.options import (
    CONTROL,
    configure,
    machine_options,
    make_console,
    note,
    progress_on,
    version_options,
)
from wsgiproof.errors import UsageError
from wsgiproof.subjects.registry import SUBJECTS

_EXAMPLES = (
    "wsgiproof selftest",
    "wsgiproof selftest --together",
    "wsgiproof selftest --only 'leak-*' --only reopen-connection",
    "wsgiproof selftest --list",
)
_CODES = {
    0: "each fault was caught by its check, and each negative control passed",
    1: "a fault was not caught, or a negative control failed",
    2: "the command line is wrong, or names something that does not exist",
    3: "at least one control could not be decided or could not run",
}


@command("selftest", examples=_EXAMPLES, codes=_CODES)
@machine_options
@version_options
@option(
    "--only",
    metavar="GLOB",
    multiple=True,
    shell_complete=CONTROL.shell_complete,
    help="Run only the controls whose name matches.\nMay be given several times.",
)
@option(
    "--together",
    is_flag=True,
    help="Plant faults that do not hide each other in one application.\n"
    "That takes a fraction of the time.",
)
@option("--list", "list_only", is_flag=True, help="List the controls, and run none.")
def selftest_command(
    only: tuple[str, ...], together: bool, list_only: bool, **options: Any
) -> None:
    """Plant faults, and check that wsgiproof finds each one.

    Each fault has a negative control: the same application without the fault, which has to pass.
    Each runs in real Apache; all of them take about a quarter of an hour.
    """
    from wsgiproof.judge.control_result import ControlResult, exit_code
    from wsgiproof.report.selftest import show_controls, show_selftest
    from wsgiproof.run.selftest import lacking, select, selftest

    console = make_console()
    config, _ = configure(options)
    if only and together:
        raise UsageError("--only chooses controls by name, so it can't be used with --together")
    controls = select(SUBJECTS[config.subject], only, together=together)
    if list_only:
        show_controls(console, ((one.name, one.trips, one.about) for one in controls))
        return
    if not only and (left_out := lacking(controls)):
        controls = tuple(one for one in controls if one not in left_out)
        names = ", ".join(one.name for one in left_out)
        extras = ",".join(sorted({one.extra for one in left_out}))
        note(f"left out, since 'wsgiproof[{extras}]' is not installed: {names}")
    trials: list[ControlResult] = []
    with progress_on(console) as progress:
        trials += selftest(controls, config, command_line(), progress)
    code = exit_code(trials)
    show_selftest(console, trials, code, str(progress.output))
    raise SystemExit(code)
