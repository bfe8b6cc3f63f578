"""Text from applications and servers, made safe for terminals, pages and files."""

from __future__ import annotations

import re

_LONGEST_LINE = 1000
_MOST_LINES = 60
_COMMAND = re.compile(r"##(?=\w*\[)")
"""Commands of Azure Pipelines (``##vso[``), GitHub (``##[``, the old form) and TeamCity work
anywhere in a line."""
_BEGINNING = re.compile(r"(\A|[\r\n])(\s*)::")
"""GitHub's other form begins a line, after any blanks. GitLab's (``section_start:...``) needs
control characters, which are always removed."""


def plain(text: str) -> str:
    """Return text without control characters, surrogates and the like; keep line ends and tabs."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("".join(map(_plain, line)) for line in lines)


def printable(text: str, longest: int = 300) -> str:
    """Return one line for a terminal, at most ``longest`` characters: nothing in it acts."""
    return "".join(char if char.isprintable() else "?" for char in text[:longest])


def visible(text: str) -> str:
    """Return text in which control characters, marks of direction and the like are visible.

    Line ends and tabs are kept. On a page all others would act, or could not be seen.
    """
    if text.isprintable():
        return text
    return "".join(map(_visible, text.replace("\r\n", "\n")))


def for_logs(text: str, *, at_start: bool = True) -> str:
    """Return ``text`` without anything that a CI system takes for a command in its log.

    ``at_start`` says whether it begins a line. ``##vso[`` becomes ``# #vso[``, ``::error::`` at the
    beginning of a line ``: :error::``.
    """

    def part(match: re.Match[str]) -> str:
        begins = match.start() > 0 or bool(match[1]) or at_start
        return f"{match[1]}{match[2]}: :" if begins else match[0]

    return _BEGINNING.sub(part, _COMMAND.sub("# #", text))


def excerpt(text: str, head: int, tail: int) -> str:
    """Return the first and the last lines, each shortened, and the number of lines between them."""
    lines = text.splitlines()
    if len(lines) <= head + tail:
        return "\n".join(map(_shortened, lines))
    left = len(lines) - head - tail
    between = f"... {left:,} lines are left out here ..."
    kept = [*lines[:head], between, *lines[len(lines) - tail :]]
    return "\n".join(map(_shortened, kept))


def one_line(text: str, longest: int = _LONGEST_LINE) -> str:
    """Return plain text in one line of at most ``longest`` characters; a cut is marked."""
    # Cut first: a megabyte need not be read for the part that is shown.
    line = " ".join(plain(text[: 2 * longest]).split())
    return line if len(line) <= longest and len(text) <= 2 * longest else f"{line[:longest]} ..."


def block(text: str, most: int = _MOST_LINES) -> str:
    """Return plain text of at most ``most`` lines; a cut is marked."""
    lines = text.splitlines()
    kept = [_cut(line) for line in lines[:most]]
    if len(lines) > most:
        kept.append(f"... {len(lines) - most:,} more lines in cell.json")
    return "\n".join(kept)


def some(names: list[str], most: int) -> str:
    """Return ``a, b, and 4 more``, or all names if there are at most ``most``."""
    shown = ", ".join(names[:most])
    return f"{shown}, and {len(names) - most:,} more" if len(names) > most else shown


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
