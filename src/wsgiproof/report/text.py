"""Text that applications and servers have written, made fit for files that other programs read."""

from __future__ import annotations

_LONGEST_LINE = 1000
_MOST_LINES = 60


def plain(text: str) -> str:
    """Without control characters, surrogates and the like; line ends and tabs are kept."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("".join(map(_plain, line)) for line in lines)


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


def _plain(char: str) -> str:
    return char if char.isprintable() or char == "\t" else "?"
