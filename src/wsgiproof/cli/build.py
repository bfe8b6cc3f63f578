"""``wsgiproof build``: what a matrix needs, or a Python, built ahead of a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from wsgiproof.cli.options import EXIT_CODES, configure, make_console, matrix_options
from wsgiproof.errors import ExitCode

_EXAMPLES = """\b
Examples:
  wsgiproof build
  wsgiproof build --python 3.12 --python 3.13 --mod-wsgi 5.0.2 --mod-wsgi 6.1.1
  wsgiproof build --set nightly '*embedded*'
"""
_DEFAULT = "cells"


class _Group(click.Group):
    """A group whose arguments are those of one of its commands, unless they name another."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if (not args or args[0] not in self.commands) and "--help" not in args[:1]:
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


@click.group("build", cls=_Group, epilog=f"{_EXAMPLES}\n{EXIT_CODES}")
def build_command() -> None:
    """Build ahead what a run would build on demand: for every cell, unless told otherwise.

    Takes the same CELLs and options as 'wsgiproof run'; 'wsgiproof build cells --help' lists them.
    """


@build_command.command(_DEFAULT, epilog=f"{_EXAMPLES}\n{EXIT_CODES}")
@matrix_options
def build_cells(file: Path | None, no_config: bool, chosen: str, **options: Any) -> None:
    """Build mod_wsgi and PyMongo for every CELL, at the same time, and Apache where there is none.

    Nothing is started. What is there already is not built again.
    """
    from wsgiproof.planning import plan, survey
    from wsgiproof.prebuild import prebuild
    from wsgiproof.report.builds import BuildProgress, show_builds

    config, _ = configure(options, file=file, no_config=no_config, chosen=chosen)
    console = make_console()
    started = time.monotonic()
    site = survey(config)
    with BuildProgress(console) as progress:
        built = list(prebuild(plan(config, site), site, progress))
    show_builds(console, built, time.monotonic() - started)
    if any(one.problem for one in built):
        raise SystemExit(ExitCode.UNDECIDED)
