"""``wsgiproof explain``."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

import click

from wsgiproof.cli import completion
from wsgiproof.cli.help import command, option
from wsgiproof.cli.options import make_console, print_json
from wsgiproof.cli.output import say
from wsgiproof.errors import ExitCode, UsageError, did_you_mean, one_line

if TYPE_CHECKING:
    from wsgiproof.judge.explain.catalog import Entry
    from wsgiproof.judge.explain.lookup import FindingText, Topic

_LONGEST_LINE = 64_000
_EXAMPLES = (
    "wsgiproof explain pyo3",
    "wsgiproof explain WSGI0146",
    "wsgiproof explain finding-1 finding-17",
    "wsgiproof explain connections",
    "wsgiproof explain 'AH00052: child pid 4711 exit signal Segmentation fault (11)'",
    "wsgiproof explain < /var/log/apache2/error.log",
)
_PATH = re.compile(r"(?!\w+://)\S*(/|\.log\b)\S*|[.~]\S+")
"""What looks like the name of a file."""
_NOT_KNOWN = "wsgiproof does not know this identifier or text"
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

    An ID is what a finding names, a check, or a control; several are explained in turn. A LINE
    comes from an error log, a traceback or a stack. Without an argument, the error log is read from
    standard input; it may be that of any Apache with mod_wsgi. Each kind of line that is known is
    shown with its meaning and its fix; errors that are not known are counted.
    """
    from wsgiproof.cli.known import controls, named
    from wsgiproof.judge.explain.lookup import by_text, explain_log, topics
    from wsgiproof.report.lookup import show_list, show_log
    from wsgiproof.subjects.registry import all_rules

    rules = all_rules()
    if listed:
        every: tuple[Entry | Topic, ...] = (
            *rules.catalog.entries,
            *topics(rules),
            *controls(),
        )
        if as_json:
            print_json(every)
        else:
            show_list(make_console(), every)
        return
    if not text:
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError(
                "name an identifier, paste a line in quotes, or give an error log on standard "
                "input: 'wsgiproof explain < error.log'; --list shows all identifiers"
            )
        log = explain_log(_lines(sys.stdin.buffer), rules.catalog)
        if as_json:
            print_json(log)
        else:
            show_log(make_console(), log)
        return
    known = [one for one in map(named, text) if one is not None]
    if len(known) < len(text):
        is_file = _is_file(text[0]) and len(text) == 1
        pasted = None if is_file else by_text(" ".join(text), rules.catalog)
        if pasted is None:
            say(one_line(_unknown(text)), err=True)
            raise SystemExit(ExitCode.UNDECIDED)
        known = [pasted]
    if as_json:
        print_json(known[0] if len(known) == 1 else known)
    else:
        _show(known)


def _lines(file: BinaryIO) -> Iterator[str]:
    """Yield the lines of a log. A line that is too long comes in parts, which bounds the memory."""
    while line := file.readline(_LONGEST_LINE):
        yield line.decode("utf-8", "replace").rstrip("\r\n")


def _show(known: Sequence[Entry | FindingText | Topic]) -> None:
    from wsgiproof.judge.explain.catalog import Entry
    from wsgiproof.judge.explain.lookup import FindingText
    from wsgiproof.report.lookup import show_entry, show_finding, show_topic

    console = make_console()
    for number, one in enumerate(known):
        if number:
            console.print()
        if isinstance(one, Entry):
            show_entry(console, one)
        elif isinstance(one, FindingText):
            show_finding(console, one)
        else:
            show_topic(console, one)


def _unknown(words: Sequence[str]) -> str:
    """Return the message about arguments of which nothing is known, with what was meant."""
    from wsgiproof.cli.known import ids, named

    if all(map(_is_file, words)):
        return f"{words[0]} is a file: wsgiproof explain < {shlex.quote(words[0])}"
    unknown = [word for word in words if named(word) is None]
    if len(unknown) > 1:  # a pasted line
        return _NOT_KNOWN + "."
    (word,) = unknown
    if len(words) == 1 and _PATH.fullmatch(word) and not os.path.lexists(word):
        return f"there is no file {word}, and {_NOT_KNOWN}."
    names = ids()
    near = did_you_mean(word.lower(), names) or did_you_mean(word.upper(), names) or "."
    return f"wsgiproof does not know '{word}'{near}" if len(words) > 1 else _NOT_KNOWN + near


def _is_file(word: str) -> bool:
    """Whether this names what can be read as a log. A pasted line may be too long for a name."""
    return os.path.exists(word) and not os.path.isdir(word)  # noqa: PTH110, PTH112 - never raise
