"""``wsgiproof doctor``."""

from __future__ import annotations

from typing import Any

import click

from wsgiproof.cli.options import EXIT_CODES, configure, machine_options, make_console
from wsgiproof.errors import ExitCode


@click.command("doctor", epilog=EXIT_CODES)
@machine_options
def doctor_command(**options: Any) -> None:
    """Look at each thing that a run needs, and say what is there and what mends the rest."""
    from wsgiproof.cache import Cache
    from wsgiproof.needs import Survey
    from wsgiproof.report.needs import show_needs

    console = make_console()
    config, _ = configure(options)
    survey = Survey(config, Cache())
    show_needs(console, survey.needs)
    if any(need.problem for need in survey.needs):
        raise SystemExit(ExitCode.UNDECIDED)
