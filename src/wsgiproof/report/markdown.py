"""Text from outside in Markdown, which GitHub and GitLab render without any effect of it.

Plain words stay words. Everything that could be markup, a link, a mention or HTML becomes code,
where renderers look for none of these.
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
    """Return one line of words for the middle of a line; at its start, '- x' would be a list."""
    words = one_line(text, longest).split(" ")
    runs = groupby(words, key=lambda word: _WORD.fullmatch(word) is not None)
    return " ".join(
        " ".join(run) if is_plain else code(" ".join(run)) for is_plain, run in runs
    ).strip()


def link(text: str) -> str:
    """Return a link if the text is a URL of plain characters; else nothing."""
    return f"<{text}>" if _URL.fullmatch(text) else ""


def code(text: str) -> str:
    """Return one line of code, such as the id of a cell; nothing for an empty text."""
    line = one_line(text)
    if not line:
        return ""
    ticks = "`" * (_longest_run(line) + 1)
    space = " " if "`" in (line[0], line[-1]) else ""
    return f"{ticks}{space}{line}{space}{ticks}"


def fence(text: str, language: str = "text") -> str:
    """Return a block of code that no text inside can end."""
    inside = block(text)
    ticks = "`" * max(3, _longest_run(inside) + 1)
    return f"{ticks}{language}\n{inside}\n{ticks}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of texts that :func:`in_table` made."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def in_table(text: str) -> str:
    """Return prose for a cell of a table; renderers disagree about escaping a '|' in code there."""
    return prose(text.replace("|", "\N{BROKEN BAR}"), longest=120)


def folded(summary: str, content: str) -> str:
    """Return content that is shown once ``summary``, which must be trusted text, is opened."""
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def _longest_run(text: str) -> int:
    """The length of the longest run of backticks."""
    return max(map(len, re.findall("`+", text)), default=0)
