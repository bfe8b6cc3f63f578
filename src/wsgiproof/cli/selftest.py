"""``wsgiproof selftest``."""

from __future__ import annotations

from typing import Any

import click

from wsgiproof.cli.options import (
    EXIT_CODES,
    choices,
    command_line,
    configure,
    machine_options,
    make_console,
    progress_on,
    version_options,
)
from wsgiproof.subjects.controls import CONTROLS


@click.command("selftest", epilog=EXIT_CODES)
@machine_options
@version_options
@click.option(
    "--only",
    type=choices(sorted(CONTROLS)),
    metavar="NAME",
    multiple=True,
    help="This control alone; may be given several times.",
)
@click.option("--list", "list_only", is_flag=True, help="Name the controls, and run none.")
def selftest_command(only: tuple[str, ...], list_only: bool, **options: Any) -> None:
    """Plant faults, and their clean twins, to see whether wsgiproof tells them apart.

    Each runs in real Apache with a real mongod; all of them take less than ten minutes. Success
    means that every fault was caught by the check meant for it and that every twin passed.
    """
    from wsgiproof.judge.control_result import ControlResult, exit_code
    from wsgiproof.report.selftest import show_controls, show_selftest
    from wsgiproof.selftest import select, selftest

    console = make_console()
    controls = select(only)
    if list_only:
        show_controls(console, ((one.name, one.trips, one.about) for one in controls))
        return
    config, _ = configure(options)
    trials: list[ControlResult] = []
    with progress_on(console) as progress:
        trials += selftest(controls, config, command_line(), progress)
    code = exit_code(trials)
    show_selftest(console, trials, code, str(progress.output))
    raise SystemExit(code)
