"""``wsgiproof pythons``."""

from __future__ import annotations

import click

from wsgiproof.cli.options import exit_codes, make_console, print_json
from wsgiproof.errors import ExitCode

_EXAMPLES = """\b
Examples:
  wsgiproof pythons
  wsgiproof pythons --json
"""
_CODES = exit_codes(
    {
        0: "at least one of them can be embedded",
        3: "none can: see 'wsgiproof build python --help'",
    }
)


@click.command("pythons", epilog=f"{_EXAMPLES}\n{_CODES}")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def pythons_command(as_json: bool) -> None:
    """Show each Python on this machine, and whether mod_wsgi can embed it.

    They are looked for on PATH, in pyenv, uv, conda, Debian's own place, /opt/python, and among
    those that wsgiproof has built, and preferred in that order.
    """
    from wsgiproof.account import server_account
    from wsgiproof.build.python import found_pythons
    from wsgiproof.report.pythons import as_rows, show_pythons

    found = found_pythons(server_account())
    if as_json:
        print_json(as_rows(found))
    else:
        show_pythons(make_console(), found)
    if all(one.problem for one in found):
        raise SystemExit(ExitCode.UNDECIDED)
