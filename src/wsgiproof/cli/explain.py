"""``wsgiproof explain``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import BinaryIO

import click

from wsgiproof.cli import completion
from wsgiproof.cli.help import command, option
from wsgiproof.cli.options import make_console, print_json
from wsgiproof.errors import ExitCode, UsageError

_LONGEST_LINE = 64_000
_EXAMPLES = (
    "wsgiproof explain pyo3",
    "wsgiproof explain WSGI0146",
    "wsgiproof explain finding-1",
    "wsgiproof explain 'AH00052: child pid 4711 exit signal Segmentation fault (11)'",
    "wsgiproof explain < /var/log/apache2/error.log",
)
_CODES = {
    0: "something is known of it; or the whole error log was read",
    2: "the command line is wrong",
    3: "nothing is known of that identifier or text",
}


@command("explain", examples=_EXAMPLES, codes=_CODES)
@click.argument("text", metavar="[ID|LINE]...", nargs=-1, shell_complete=completion.ids)
@option("--list", "listed", is_flag=True, help="List every identifier with its meaning.")
@option("--json", "as_json", is_flag=True, help="Print what is known as JSON.")
def explain_command(text: tuple[str, ...], listed: bool, as_json: bool) -> None:
    """Explain an identifier, a line, or a whole error log.

    An ID is what a finding names. A LINE comes from an error log, a traceback or a stack. Without
    an argument, the error log is read from standard input; it may be that of any Apache with
    mod_wsgi. Each kind of line that is known is shown with its meaning and its fix; errors that are
    not known are counted.
    """
    from wsgiproof.judge.explain.catalog import entries
    from wsgiproof.judge.explain.lookup import by_id, by_text, explain_log
    from wsgiproof.report.lookup import show_entry, show_log

    if listed:
        if as_json:
            print_json(entries())
        for entry in () if as_json else entries():
            show_entry(make_console(), entry)
        return
    if not text:
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError(
                "name an identifier, paste a line in quotes, or give an error log on standard "
                "input: 'wsgiproof explain < error.log'; --list shows all identifiers"
            )
        log = explain_log(_lines(sys.stdin.buffer))
        if as_json:
            print_json(log)
        else:
            show_log(make_console(), log)
        return
    wanted = " ".join(text)
    if _show_finding(wanted, as_json):
        return
    found = by_id(wanted) or by_text(wanted)
    if found is None:
        click.echo("wsgiproof does not know this identifier or text.", err=True)
        raise SystemExit(ExitCode.UNDECIDED)
    if as_json:
        print_json(found)
    else:
        show_entry(make_console(), found)


def _lines(file: BinaryIO) -> Iterator[str]:
    """Yield the lines of a log. A line that is too long comes in parts, which bounds the memory."""
    while line := file.readline(_LONGEST_LINE):
        yield line.decode("utf-8", "replace").rstrip("\r\n")


def _show_finding(name: str, as_json: bool) -> bool:
    """Print the text of the finding of this name; False if there is none."""
    from wsgiproof.judge.explain.findings import finding
    from wsgiproof.report.lookup import show_finding

    text = finding(name)
    if text is None:
        return False
    if as_json:
        print_json({"id": name, "text": text})
    else:
        show_finding(make_console(), text)
    return True
