"""The command line: arguments in, exit codes out. One module for each group of commands."""

from __future__ import annotations

import os

import click

import wsgiproof
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
from wsgiproof.cli.options import EXIT_CODES
from wsgiproof.errors import ExitCode, WsgiproofError, describe, one_line
from wsgiproof.leftovers import become_reaper, end_run
from wsgiproof.signals import held, take_over
from wsgiproof.spawn import limit_reached


@click.group(epilog=EXIT_CODES)
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
    """The entry point: every error of ours becomes one line and its exit code.

    Whatever the end, nothing is left of what was started, and Ctrl-C does not break that off.
    """
    take_over()
    become_reaper()
    os.umask(os.umask(0o077) | 0o022)  # nothing that we or a build make is for others to write
    try:
        try:
            cli.main(standalone_mode=False)
        finally:
            with held():
                end_run()
    except click.exceptions.Abort:
        _fail("interrupted; everything that was started has been stopped", ExitCode.INTERRUPTED)
    except KeyboardInterrupt:
        _fail("interrupted; everything that was started has been stopped", ExitCode.INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        raise SystemExit(ExitCode.USAGE) from None
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "wsgiproof"
        _fail(f"{error.format_message()} See '{command} --help'.", ExitCode.USAGE)
    except click.ClickException as error:
        _fail(error.format_message(), ExitCode.USAGE)
    except WsgiproofError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        _fail(limit_reached(error) or describe(error), ExitCode.UNDECIDED)
    except RuntimeError as error:
        reached = limit_reached(error)
        if not reached:
            raise
        _fail(reached, ExitCode.UNDECIDED)


def _fail(message: str, code: ExitCode) -> None:
    click.echo(f"wsgiproof: {one_line(message)}", err=True)
    raise SystemExit(code) from None
