"""Text of others in Markdown as GitHub and GitLab render it: shown as it is, and as nothing else.

Plain words stay words. Whatever could be markup, a link, a mention or HTML is put into code, where
none of these is looked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from wsgiproof.report.text import block, one_line

_WORD = re.compile(
    r"(?!.*www\.)(?:[^\W_]|(?<=[^\W_])_(?=[^\W_])|[,.;'\"()/%+=?!-])+:?", re.IGNORECASE
)
"""With '_' inside a word only (elsewhere it is emphasis), and ':' at its end only (URLs, emoji)."""

_URL = re.compile(r"https://[A-Za-z0-9./#_-]{1,300}")


def prose(text: str, longest: int = 600) -> str:
    """One line of words; for the middle of a line, since '- x' at the start of one is a list."""
    words = one_line(text, longest).split(" ")
    runs = groupby(words, key=lambda word: _WORD.fullmatch(word) is not None)
    return " ".join(
        " ".join(run) if is_plain else code(" ".join(run)) for is_plain, run in runs
    ).strip()


def link(text: str) -> str:
    """A URL that can be followed, if the text is one and of plain characters; else nothing."""
    return f"<{text}>" if _URL.fullmatch(text) else ""


def code(text: str) -> str:
    """One line of code, such as the id of a cell; nothing for nothing."""
    line = one_line(text)
    if not line:
        return ""
    ticks = "`" * (_longest_run(line) + 1)
    space = " " if "`" in (line[0], line[-1]) else ""
    return f"{ticks}{space}{line}{space}{ticks}"


def fence(text: str, language: str = "text") -> str:
    """A block of code, that nothing in it can end."""
    inside = block(text)
    ticks = "`" * max(3, _longest_run(inside) + 1)
    return f"{ticks}{language}\n{inside}\n{ticks}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts that have been made by :func:`in_table`."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def in_table(text: str) -> str:
    """Prose for a cell of a table. How a '|' is escaped in code there, renderers don't agree on."""
    return prose(text.replace("|", "\N{BROKEN BAR}"), longest=120)


def folded(summary: str, content: str) -> str:
    """What is shown when ``summary``, words of ours, is opened."""
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def _longest_run(text: str) -> int:
    """Of backticks."""
    return max(map(len, re.findall("`+", text)), default=0)
