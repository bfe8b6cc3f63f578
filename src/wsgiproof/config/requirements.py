"""Requirements that the user names: packages, or files of them as for pip."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from wsgiproof.errors import UsageError, describe
from wsgiproof.files import read_file

_OPTION = re.compile(r"(?:-r|--requirement)[\s=]*(?P<path>\S.*)")
_COMMENT = re.compile(r"(^|\s)#.*")
_SUFFIXES = (".txt", ".in")
_LARGEST = 1 << 20
"""Bytes of a file."""
_DEEPEST = 10
"""Files that name each other."""


def requirements(text: str, directory: Path) -> tuple[str, ...]:
    """Return what a requirement stands for: itself, or the lines of the file that it names.

    A file is named by ``-r FILE``, by a name that ends in .txt or .in, or by a path; it is relative
    to ``directory``. Raises UsageError if it can't be read, or has options other than ``-r``.
    """
    option = _OPTION.fullmatch(text.strip())
    name = option["path"].strip() if option else text.strip()
    is_path = "/" in name and "@" not in name and "://" not in name
    if option or is_path or name.endswith(_SUFFIXES):
        return tuple(_of_file(directory / name, 1))
    return (text,)


def _of_file(path: Path, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise UsageError(f"--requirement {path}: more than {_DEEPEST} files name each other")
    try:
        text = read_file(path, _LARGEST, follow=True).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = describe(error) if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"--requirement {path}: {why}") from error
    for number, line in _lines(text):
        if option := _OPTION.fullmatch(line):
            yield from _of_file(path.parent / option["path"].strip(), depth + 1)
        elif line.startswith("-") or " --" in line:
            what = next(word for word in line.split() if word.startswith("-")).partition("=")[0]
            raise UsageError(
                f"--requirement {path}:{number}: the option {what} is not supported in a file; "
                "name packages only, and use --constraint for a constraints file"
            )
        else:
            yield line


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines without comments, each with its number; a backslash joins a line and the next."""
    begun = ""
    for number, line in enumerate(text.splitlines(), 1):
        begun += _COMMENT.sub("", line).strip()
        if begun.endswith("\\"):
            begun = f"{begun[:-1].rstrip()} "
        elif begun:
            yield number, begun
            begun = ""
