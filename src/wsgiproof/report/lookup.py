"""Entries of the catalog in the terminal: one of them, or those of a whole error log."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from wsgiproof.judge.explain.catalog import Entry
from wsgiproof.judge.explain.lookup import LogExplained, Unknown
from wsgiproof.judge.finding import count
from wsgiproof.report.text import one_line

_LONGEST = 200


def show_entry(console: Console, entry: Entry, note: str = "") -> None:
    """Print an entry of the catalog."""
    head = Text.assemble((entry.id, "bold"), f"  {note}" if note else "")
    console.print(head, soft_wrap=True)
    rows = [
        ("meaning", entry.meaning),
        ("versions", entry.versions),
        ("fix", entry.action),
        ("see", entry.source),
    ]
    for label, text in rows:
        line = Text.assemble((f"{label}: ", "bold"), one_line(text))
        console.print(Padding(line, (0, 0, 0, 2), expand=False))


def show_finding(console: Console, text: str) -> None:
    """Print the text of a finding, which is Markdown, as it was written."""
    console.print(Text(text), soft_wrap=True)


def show_log(console: Console, log: LogExplained) -> None:
    """Print each entry that matches with its first line, then the unknown errors."""
    for one in log.known:
        severity = "failure" if one.entry.fails else "note"
        where = f"{severity}, {count(one.lines, 'line')}, first at line {one.first:,}"
        show_entry(console, one.entry, where)
        quoted = Text(f"| {one_line(one.text, _LONGEST)}", style="dim")
        console.print(Padding(quoted, (0, 0, 1, 2), expand=False))
    if log.unknown:
        console.print(Text("Errors that wsgiproof does not know:", style="bold"))
        for line in map(_unknown, log.unknown):
            console.print(Padding(line, (0, 0, 0, 2), expand=False))
        console.print()
    console.print(Text(summary(log)))


def summary(log: LogExplained) -> str:
    """Return the number of lines of each kind in one sentence."""
    known = sum(one.lines for one in log.known)
    parts = [
        f"{known:,} known ({count(len(log.known), 'entry', 'entries')})",
        f"{count(log.unknown_lines, 'unknown error')}",
        f"{log.application_lines:,} written by the application",
    ]
    return f"{count(log.lines, 'line')}: {', '.join(parts)}; the rest report no error."


def _unknown(one: Unknown) -> Text:
    times = f" ({one.lines:,} times)" if one.lines > 1 else ""
    return Text(f"line {one.first:,}{times}: {one_line(one.text, _LONGEST)}")
