"""Which commit a git checkout is at, read from its files.

git itself would run what the configuration of the checkout names, as its ``core.fsmonitor``.
"""

from __future__ import annotations

import re
from pathlib import Path

from wsgiproof.files import read_file

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REF = re.compile(r"refs/[^\0\n]+")
_LARGEST = 16 << 20
"""Bytes; a repository with 100,000 tags has packed refs of 7 MB."""


def commit_of(tree: Path) -> str:
    """Return the commit that is checked out in a directory; empty if that is unknown.

    The files may differ from those of the commit.
    """
    try:
        git = _git_directory(tree)
        head = _read(git / "HEAD")
        found = _resolved(head.removeprefix("ref: "), git) if head.startswith("ref: ") else head
    except (OSError, UnicodeDecodeError):
        return ""
    return found if _COMMIT.fullmatch(found) else ""


def _git_directory(tree: Path) -> Path:
    """Return the directory of git; that of a worktree or a submodule is elsewhere."""
    git = tree / ".git"
    return tree / _read(git).removeprefix("gitdir: ") if git.is_file() else git


def _resolved(ref: str, git: Path) -> str:
    """Return the commit of a branch: it has a file, or a line among the packed refs."""
    if not _REF.fullmatch(ref) or ".." in ref:
        return ""
    shared = git / _read(git / "commondir") if (git / "commondir").is_file() else git
    for directory in (git, shared):
        if (directory / ref).is_file():
            return _read(directory / ref)
    for line in _read(shared / "packed-refs").splitlines():
        commit, _, name = line.partition(" ")
        if name == ref:
            return commit
    return ""


def _read(path: Path) -> str:
    return read_file(path, _LARGEST).decode().strip()
