"""The command line: arguments in, exit codes out. One module for each group of commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import wsgiproof
from wsgiproof import limits
from wsgiproof.cli import (
    build,
    cache,
    client,
    configuration,
    doctor,
    explain,
    pythons,
    report,
    results,
    run,
    selftest,
    serve,
)
from wsgiproof.cli.defect import defect
from wsgiproof.cli.options import EXIT_CODES
from wsgiproof.cli.output import guarded, say
from wsgiproof.errors import ExitCode, WsgiproofError, describe, interrupted, one_line
from wsgiproof.leftovers import end_run
from wsgiproof.signals import ignore_interrupts, interrupts_deferred

if TYPE_CHECKING:
    from wsgiproof.report.progress import RunProgress


class _Commands(click.Group):
    """Keeps click from making an exit code of ours of an error of some pipe."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise SystemExit(ExitCode.CLOSED) from None
        except EOFError as error:
            raise RuntimeError(f"something ended early: {error}") from error


@click.group(cls=_Commands, epilog=EXIT_CODES)
@click.version_option(wsgiproof.__version__, prog_name="wsgiproof")
def cli() -> None:
    """Run PyMongo inside real Apache + mod_wsgi and say, with evidence, whether it holds.

    Shell completion: eval "$(_WSGIPROOF_COMPLETE=bash_source wsgiproof)", or zsh_source,
    fish_source.
    """


for _command in (
    run.run_command,
    run.list_command,
    serve.serve_command,
    serve.conf_command,
    selftest.selftest_command,
    results.show_command,
    results.compare_command,
    report.report_command,
    report.trends_command,
    results.merge_command,
    results.judge_command,
    pythons.pythons_command,
    client.client_command,
    explain.explain_command,
    doctor.doctor_command,
    build.build_command,
    cache.cache_command,
    configuration.init_command,
    configuration.schema_command,
):
    cli.add_command(_command)


def main() -> None:
    """The entry point: whatever ends a command becomes one line at most, and its exit code.

    Whatever the end, nothing is left of what was started, and Ctrl-C does not break that off.
    """
    with guarded():
        shown: list[RunProgress] = []
        try:
            try:
                code = cli.main(standalone_mode=False, obj=shown) or ExitCode.PASS
            finally:
                with interrupts_deferred():
                    end_run()
                    ignore_interrupts()  # nothing that was started is left to interrupt
        except BaseException as error:
            code = _end(error, next((one.output for one in shown if one.output), None))
    raise SystemExit(code)


def _end(error: BaseException, output: Path | None) -> int:
    """Say why a command came to an end, and return its exit code."""
    if isinstance(error, SystemExit):
        return int(error.code or ExitCode.PASS)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        say(error.format_message(), err=True)
        return ExitCode.USAGE
    message, code = _told(error) or defect(error, output)
    say(f"wsgiproof: {one_line(message)}", err=True)
    return code


def _told(error: BaseException) -> tuple[str, ExitCode] | None:
    """What is said of an error, and its exit code; None of one that nobody has foreseen."""
    if isinstance(error, click.exceptions.Abort) or interrupted(error):
        return "interrupted; everything that was started has been stopped", ExitCode.INTERRUPTED
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "wsgiproof"
        return f"{error.format_message()} See '{command} --help'.", ExitCode.USAGE
    if isinstance(error, click.ClickException):
        return error.format_message(), ExitCode.USAGE
    if isinstance(error, WsgiproofError):
        return str(error), error.exit_code
    if isinstance(error, OSError):
        return describe(error), ExitCode.UNDECIDED
    if reached := limits.explain(error):
        return reached, ExitCode.UNDECIDED
    return None
