"""What ``wsgiproof explain`` prints: identifiers, their list, or a whole error log."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from itertools import groupby

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from wsgiproof.judge.explain.catalog import Entry
from wsgiproof.judge.explain.lookup import FindingText, LogExplained, Topic, Unknown
from wsgiproof.judge.finding import count
from wsgiproof.report.text import one_line

_LONGEST = 200
_HEADING = re.compile(r"#+ (.+)")
_FENCED = re.compile(r"(?ms)^(```.*?^```$)")
_INLINE = re.compile(
    r"(?s)(`+)(?P<code>.+?)\1|\*\*(?P<bold>.+?)\*\*|\[(?P<text>[^]]+)\]\((?P<to>[^)]+)\)"
)
_PROSE = re.compile(r"(?!```|#+ |\||[-*] |\d+\. )")
_OWN_LINE = re.compile(r"\||(?P<marker>(?:[-*]|\d+\.) +)")
"""What begins a row of a table, or an item of a list."""


def show_entry(console: Console, entry: Entry, note: str = "") -> None:
    """Print an entry of the catalog."""
    head = Text.assemble((entry.id, "bold"), f"  {note}" if note else "")
    console.print(head, soft_wrap=True)
    rows = [
        ("meaning", entry.meaning),
        ("versions", entry.versions),
        *([("whose bug", entry.whose)] if entry.whose else []),
        ("fix", entry.action),
        ("see", entry.source),
    ]
    _show_rows(console, rows)


def show_topic(console: Console, topic: Topic) -> None:
    """Print a check or a control in the form of an entry."""
    console.print(Text.assemble((topic.id, "bold"), f"  {topic.kind}"), soft_wrap=True)
    _show_rows(console, [("meaning", topic.meaning), ("see", topic.see)])


def show_finding(console: Console, finding: FindingText) -> None:
    """Print a finding as plain text: its title, its first paragraph, and the rest in order.

    Code blocks and tables stay as written. Paragraphs and items are folded on a terminal only.
    """
    title, _, rest = finding.text.partition("\n")
    blocks = list(_blocks(rest))
    first = next((number for number, block in enumerate(blocks) if _PROSE.match(block)), 0)
    blocks.insert(0, blocks.pop(first))
    console.print(Text(_plain(title), style="bold"), soft_wrap=True)
    width = console.width if console.is_terminal else None
    for block in blocks:
        console.print()
        if heading := _HEADING.match(block):
            console.print(Text(_plain(heading[1]), style="bold"), soft_wrap=True)
        elif block.startswith("```"):
            console.print(Text(block), soft_wrap=True)
        else:
            console.print(Text("\n".join(_folded(block, width))), soft_wrap=True)


def show_list(console: Console, listed: Iterable[Entry | Topic]) -> None:
    """Print one line for each identifier. On a terminal it is cut to the width."""
    for _, group in groupby(listed, key=lambda one: getattr(one, "kind", "")):
        same = list(group)
        column = max(len(one.id) for one in same)
        for one in same:
            line = f"{one.id:{column}}  {one_line(one.meaning)}"
            if console.is_terminal and len(line) > console.width:
                line = f"{line[: console.width - 4]} ..."
            console.print(Text(line), soft_wrap=True)


def show_log(console: Console, log: LogExplained) -> None:
    """Print each entry that matches with its first line, then the unknown errors."""
    for one in log.known:
        severity = "failure" if one.entry.fails else "note"
        where = f"{severity}, {count(one.lines, 'line')}, first at line {one.first:,}"
        show_entry(console, one.entry, where)
        _show_indented(console, Text(f"| {one_line(one.text, _LONGEST)}", style="dim"))
        console.print()
    if log.unknown:
        console.print(Text("Errors that wsgiproof does not know:", style="bold"))
        for line in map(_unknown, log.unknown):
            _show_indented(console, line)
        console.print()
    console.print(Text(summary(log)), soft_wrap=not console.is_terminal)


def summary(log: LogExplained) -> str:
    """Return the number of lines of each kind in one sentence."""
    if not log.lines:
        return "Standard input is empty: there was nothing to read."
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


def _show_rows(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    for label, text in rows:
        _show_indented(console, Text.assemble((f"{label}: ", "bold"), one_line(text)))


def _show_indented(console: Console, line: Text) -> None:
    """Print a line with an indent. It is folded on a terminal only: a file has no width."""
    if console.is_terminal:
        console.print(Padding(line, (0, 0, 0, 2), expand=False))
    else:
        console.print(Text.assemble("  ", line), soft_wrap=True)


def _blocks(markdown: str) -> Iterable[str]:
    """Yield paragraphs, lists, tables and headings, and each code block as a whole."""
    for part in _FENCED.split(markdown):
        if part.startswith("```"):
            yield part
        else:
            yield from (block.strip("\n") for block in re.split(r"\n\s*\n", part) if block.strip())


def _folded(block: str, width: int | None) -> Iterable[str]:
    """Yield each row, item or paragraph of a block as plain text; no ``width``: in one line."""
    whole: list[tuple[str, bool]] = []  # each with whether it is a row of a table
    hanging: list[int] = []
    for line in block.splitlines():
        own = _OWN_LINE.match(line.lstrip())
        if own or not whole:
            indent = len(line) - len(line.lstrip()) if own else 0
            whole.append((" " * indent + line.strip(), line.lstrip().startswith("|")))
            hanging.append(indent + len(own["marker"] or "") if own else 0)
        else:
            whole[-1] = (f"{whole[-1][0]} {line.strip()}", whole[-1][1])
    for (text, is_row), indent in zip(whole, hanging, strict=True):
        plain = _plain(text)
        if width is None or is_row:
            yield plain
        else:
            yield textwrap.fill(
                plain,
                width,
                subsequent_indent=" " * indent,
                break_long_words=False,
                break_on_hyphens=False,
            )


def _plain(markdown: str) -> str:
    """Return text without the marks of code, bold and links. Web addresses are kept."""
    return _INLINE.sub(_unmarked, markdown)


def _unmarked(match: re.Match[str]) -> str:
    if match["code"]:
        return match["code"]
    if match["bold"]:
        return _plain(match["bold"])
    text = _plain(match["text"])
    return f"{text} ({match['to']})" if "://" in match["to"] else text
