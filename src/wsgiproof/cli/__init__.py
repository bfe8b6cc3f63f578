"""The command line: arguments in, exit codes out. One module for each group of commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

import wsgiproof
from wsgiproof import limits
from wsgiproof.cli import (
    audit,
    build,
    cache,
    client,
    configuration,
    doctor,
    explain,
    report,
    results,
    run,
    selftest,
    serve,
)
from wsgiproof.cli.defect import defect
from wsgiproof.cli.help import SETTINGS, Group
from wsgiproof.cli.options import LISTED, RUN_CODES
from wsgiproof.cli.output import guarded, say
from wsgiproof.errors import ExitCode, WsgiproofError, describe, interrupted, one_line
from wsgiproof.process.leftovers import end_run
from wsgiproof.process.signals import ignore_interrupts, interrupts_deferred

if TYPE_CHECKING:
    from wsgiproof.report.progress import RunProgress


class _Commands(Group):
    """Keeps click from making one of our exit codes of a pipe's error."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise SystemExit(ExitCode.CLOSED) from None
        except EOFError as error:
            raise RuntimeError(f"something ended early: {error}") from error


@click.group(cls=_Commands, codes=RUN_CODES, context_settings=SETTINGS)
@click.version_option(wsgiproof.__version__, prog_name="wsgiproof")
def cli() -> None:
    """Test Python code inside real Apache + mod_wsgi, and show the evidence.

    Shell completion: eval "$(_WSGIPROOF_COMPLETE=bash_source wsgiproof)", or zsh_source,
    fish_source.
    """


_SECTIONS = {
    "Test": (
        run.run_command,
        run.list_command,
        serve.serve_command,
        audit.audit_command,
        selftest.selftest_command,
    ),
    "Read results": (
        results.show_command,
        results.compare_command,
        results.merge_command,
        report.report_command,
        explain.explain_command,
    ),
    "Set up": (
        doctor.doctor_command,
        configuration.init_command,
        build.build_command,
        cache.cache_command,
    ),
    "Load": (client.client_command,),
}
for _title, _commands in _SECTIONS.items():
    cli.add_section(cloup.Section(_title, _commands))


def main() -> None:
    """Run the command line: every end of a command becomes one line at most, and an exit code.

    At every end, all that was started is stopped, and Ctrl-C does not interrupt that.
    """
    with guarded():
        shown: list[RunProgress] = []
        try:
            try:
                code = _run(shown)
            finally:
                with interrupts_deferred():
                    end_run()
                    ignore_interrupts()  # nothing that was started is left to interrupt
        except BaseException as error:
            code = _end(error, next((one.output for one in shown if one.output), None))
    raise SystemExit(code)


def _run(shown: list[RunProgress]) -> int:
    # The name decides which variable turns completion on, however the process was started.
    return cli.main(prog_name="wsgiproof", standalone_mode=False, obj=shown) or ExitCode.PASS


def _end(error: BaseException, output: Path | None) -> int:
    """Print why a command ended, and return its exit code."""
    if isinstance(error, SystemExit):
        return int(error.code or ExitCode.PASS)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        say(error.format_message(), err=True)
        return ExitCode.USAGE
    message, code = _foreseen(error) or defect(error, output)
    say(f"wsgiproof: {one_line(message)}", err=True)
    return code


def _foreseen(error: BaseException) -> tuple[str, ExitCode] | None:
    """Return the message and the exit code of an error; None for one that nobody has foreseen."""
    if isinstance(error, click.exceptions.Abort) or interrupted(error):
        return "interrupted; everything that was started has been stopped", ExitCode.INTERRUPTED
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "wsgiproof"
        message = error.format_message()
        if message.endswith(LISTED):  # that helps more than the help does
            return message, ExitCode.USAGE
        end = "" if message.endswith((".", "?", ")")) else "."
        every = "-all" if error.ctx and getattr(error.ctx.command, "has_rare", False) else ""
        return f"{message}{end} See '{command} --help{every}'.", ExitCode.USAGE
    if isinstance(error, click.ClickException):
        return error.format_message(), ExitCode.USAGE
    if isinstance(error, WsgiproofError):
        return str(error), error.exit_code
    if isinstance(error, OSError):
        return describe(error), ExitCode.UNDECIDED
    if reached := limits.explain(error):
        return reached, ExitCode.UNDECIDED
    return None
