"""Text that applications and servers have written, made fit for files that other programs read."""

from __future__ import annotations

import re

_LONGEST_LINE = 1000
_MOST_LINES = 60
_COMMAND = re.compile(r"##(?=\w*\[)")
"""Azure Pipelines (``##vso[``), GitHub (``##[``, the old form) and TeamCity look for theirs
anywhere in a line."""
_BEGINNING = re.compile(r"(\A|[\r\n])(\s*)::")
"""GitHub's other form begins a line; blanks before it do not count. What GitLab looks for
(``section_start:...``) ends with control characters, which no text of others keeps."""


def plain(text: str) -> str:
    """Without control characters, surrogates and the like; line ends and tabs are kept."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("".join(map(_plain, line)) for line in lines)


def printable(text: str, longest: int = 300) -> str:
    """Return one line for a terminal, at most ``longest`` characters: nothing in it acts."""
    return "".join(char if char.isprintable() else "?" for char in text[:longest])


def visible(text: str) -> str:
    """With each control character, mark of direction and the like shown as what it is.

    Line ends and tabs are kept: this is for pages, where all else would act, or not be seen.
    """
    if text.isprintable():
        return text
    return "".join(map(_visible, text.replace("\r\n", "\n")))


def for_logs(text: str, *, at_start: bool = True) -> str:
    """``text`` with nothing in it that a CI system takes for a command, where its log has it.

    ``at_start`` says whether it begins a line. ``##vso[`` becomes ``# #vso[``, ``::error::`` at the
    beginning of a line ``: :error::``.
    """

    def part(match: re.Match[str]) -> str:
        begins = match.start() > 0 or bool(match[1]) or at_start
        return f"{match[1]}{match[2]}: :" if begins else match[0]

    return _BEGINNING.sub(part, _COMMAND.sub("# #", text))


def excerpt(text: str, head: int, tail: int) -> str:
    """The first and the last lines, each cut to its length, and how many lie between."""
    lines = text.splitlines()
    if len(lines) <= head + tail:
        return "\n".join(map(_shortened, lines))
    left = len(lines) - head - tail
    between = f"... {left:,} lines are left out here ..."
    kept = [*lines[:head], between, *lines[len(lines) - tail :]]
    return "\n".join(map(_shortened, kept))


def one_line(text: str, longest: int = _LONGEST_LINE) -> str:
    """Plain text in one line, cut to so many characters; the cut is marked."""
    # Cut first, since a megabyte need not be looked at for what is shown of it.
    line = " ".join(plain(text[: 2 * longest]).split())
    return line if len(line) <= longest and len(text) <= 2 * longest else f"{line[:longest]} ..."


def block(text: str, most: int = _MOST_LINES) -> str:
    """Plain text in lines, cut to so many of them; what was left out is said."""
    lines = text.splitlines()
    kept = [_cut(line) for line in lines[:most]]
    if len(lines) > most:
        kept.append(f"... {len(lines) - most:,} more lines in cell.json")
    return "\n".join(kept)


def some(names: list[str], most: int) -> str:
    """``a, b, and 4 more``: all of them if they are not many."""
    told = ", ".join(names[:most])
    return f"{told}, and {len(names) - most:,} more" if len(names) > most else told


def _cut(line: str) -> str:
    clean = plain(line[:_LONGEST_LINE])
    return clean if len(line) <= _LONGEST_LINE else f"{clean} ..."


def _shortened(line: str) -> str:
    more = len(line) - _LONGEST_LINE
    return line if more <= 0 else f"{line[:_LONGEST_LINE]} ... {more:,} more characters"


def _visible(char: str) -> str:
    if char.isprintable() or char in "\n\t":
        return char
    number = ord(char)
    if number < 0x20:
        return chr(0x2400 + number)  # Unicode has pictures of these
    return f"<U+{number:04X}>"


def _plain(char: str) -> str:
    return char if char.isprintable() or char == "\t" else "?"
