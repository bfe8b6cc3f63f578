"""The command line: arguments in, exit codes out. One module for each group of commands.

The module of a command is imported when the command is needed: to show which ones there are takes
none of them.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

import wsgiproof
from wsgiproof import limits
from wsgiproof.cli.choices import LISTED
from wsgiproof.cli.defect import defect
from wsgiproof.cli.help import RUN_CODES, SETTINGS, Group
from wsgiproof.cli.output import guarded, say
from wsgiproof.errors import ExitCode, WsgiproofError, describe, interrupted, one_line
from wsgiproof.process.leftovers import end_run
from wsgiproof.process.signals import ignore_interrupts, interrupts_deferred

if TYPE_CHECKING:
    from wsgiproof.report.progress import RunProgress


class _Later(click.Command):
    """Stands for a command in the list of all, with its summary, until it is needed."""

    def __init__(self, name: str, module: str, summary: str) -> None:
        super().__init__(name, short_help=summary)
        self._module = module

    def load(self) -> click.Command:
        """Import and return the command."""
        module = import_module(f"{__name__}.{self._module}")
        found: click.Command = getattr(module, f"{self.name}_command")
        return found


class _Commands(Group):
    """Imports a command that is called. Keeps click from making one of our exit codes of a pipe's
    error."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        return found.load() if isinstance(found, _Later) else found

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
        _Later("run", "run", "Run cells, and print the verdict of each."),
        _Later("list", "run", "Show the cells that 'wsgiproof run' would run."),
        _Later("bisect", "bisect", "Find the version that changed a verdict."),
        _Later("serve", "serve", "Keep the server of one CELL up until Ctrl-C."),
        _Later("audit", "audit", "Try packages in several interpreters of a process."),
        _Later("selftest", "selftest", "Plant faults, and check that wsgiproof finds each one."),
    ),
    "Read results": (
        _Later("show", "results", "Show a recorded run again, as it was shown when it ended."),
        _Later("compare", "results", "Show which cells and checks differ between two runs."),
        _Later("merge", "results", "Merge runs that each ran a part of the cells."),
        _Later("report", "report", "Write a recorded run as one HTML page, which opens offline."),
        _Later("explain", "explain", "Explain an identifier, a line, or a whole error log."),
    ),
    "Set up": (
        _Later("doctor", "doctor", "Check what a run needs, and say how to get what is missing."),
        _Later("init", "configuration", "Write a wsgiproof.toml to begin with."),
        _Later("build", "build", "Build what a run needs, ahead of the run."),
        _Later("cache", "cache", "List, check and remove what has been built."),
    ),
    "Load": (
        _Later("client", "client", "Load URLs with GET requests, and report what came back."),
    ),
}
"""A summary is the first sentence of the command's own help, which is not imported to show it."""
for _title, _commands in _SECTIONS.items():
    cli.add_section(cloup.Section(_title, _commands))


def commands() -> dict[str, click.Command]:
    """Import and return every command by its name."""
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {name: one for name, one in found.items() if one is not None}


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
