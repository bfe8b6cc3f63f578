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
    from wsgiproof.preflight import Preflight
    from wsgiproof.report.prerequisites import show_prerequisites

    console = make_console()
    config, _ = configure(options)
    preflight = Preflight(config, Cache())
    show_prerequisites(console, preflight.prerequisites)
    if any(one.problem for one in preflight.prerequisites):
        raise SystemExit(ExitCode.UNDECIDED)
