"""The directory in which the processes of a server leave evidence, read as what it is: files that
less trusted code may have made, replaced or removed.

Nothing there is followed, waited for, or read beyond a bound. What had to be refused, and what
should be there and is not, is noted: the checks that rest on it are undecided then.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

from wsgiproof.errors import describe
from wsgiproof.files import Directory, UnsafeFile, read_at_most
from wsgiproof.records import EvidenceKind, Identity, MissingEvidence

_MOST_NAMES = 200_000
"""Entries of the directory that are looked at; a thousand restarts leave 30,000."""
_MOST_NOTES = 5
"""Of one kind that are kept; the rest are counted."""


class Evidence:
    """The evidence of one server. Several threads may read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._missing: dict[tuple[EvidenceKind, str], None] = {}

    def files(
        self,
        kind: EvidenceKind,
        largest: int,
        most: int,
        pids: Collection[int] | None = None,
    ) -> Iterator[tuple[int, bytes]]:
        """The pid and the content of each file of a kind, by name; ``pids`` leaves out others.

        At most the first ``largest`` bytes of each file, and about ``most`` of all.
        """
        left = most
        try:
            directory = Directory(self.path)
        except OSError as error:
            self.note(kind, _unusable(error))
            return
        with directory:
            for name, pid in self._names(directory, kind):
                if pids is not None and pid not in pids:
                    continue
                if left <= 0:
                    self.note(kind, f"no more was read than {most:,} bytes")
                    return
                try:
                    content = _content(directory, name, largest)
                except OSError as error:
                    self.note(kind, f"{name}: {error.strerror}")
                    continue
                left -= len(content)
                yield pid, content

    def _names(self, directory: Directory, kind: EvidenceKind) -> list[tuple[str, int]]:
        """The names of that kind with their pids, sorted."""
        pattern = re.compile(rf"{kind}-([1-9][0-9]{{0,9}})(?:\.txt|-[0-9A-Za-z]{{1,64}})", re.ASCII)
        with os.scandir(directory.fd) as entries:
            names = [
                entry.name for entry in islice(entries, _MOST_NAMES) if entry.name[:1] == kind[0]
            ]
            if next(entries, None) is not None:
                self.note(
                    kind, f"there are more than {_MOST_NAMES:,} files; not all were looked at"
                )
        found = ((name, pattern.fullmatch(name)) for name in names)
        return sorted((name, int(match[1])) for name, match in found if match)

    def note(self, kind: EvidenceKind, reason: str) -> None:
        """Evidence of that kind is not there as it should be."""
        self._missing[kind, reason] = None

    def expect(self, identities: Sequence[Identity], loaded: Collection[tuple[int, str]]) -> None:
        """Note what interpreters that have answered must have left, and what is not there.

        ``loaded`` are pid and token of those that have written down who they are.
        """
        try:
            directory = Directory(self.path)
        except OSError as error:
            for kind in ("identity", "fatal", "requests"):
                self.note(kind, _unusable(error))
            return
        with directory:
            for one in identities:
                if (one.pid, one.token) not in loaded:
                    self.note("identity", f"pid {one.pid} wrote down who it is, and that is gone")
                if _leaves_last_words(one) and not _there(directory, f"fatal-{one.pid}.txt"):
                    self.note("fatal", f"fatal-{one.pid}.txt is gone")
                if not _there(directory, f"requests-{one.pid}-{one.token}"):
                    self.note("requests", f"a list of the requests of pid {one.pid} is gone")

    def missing(self) -> tuple[MissingEvidence, ...]:
        """All that was noted, an entry for each kind."""
        reasons: dict[EvidenceKind, list[str]] = {}
        for kind, reason in list(self._missing):
            reasons.setdefault(kind, []).append(reason)
        return tuple(
            MissingEvidence(kind=kind, reasons=tuple(_few(told)))
            for kind, told in sorted(reasons.items())
        )


def _leaves_last_words(one: Identity) -> bool:
    """Whether it has opened the file for them: Python 2.7 has no faulthandler, and an interpreter
    that may have a GIL of its own can't load it."""
    return one.gil == "shared" and not one.python.startswith("2.")


def _few(reasons: list[str]) -> list[str]:
    more = len(reasons) - _MOST_NOTES
    return [*reasons[:_MOST_NOTES], f"{more:,} more like these"] if more > 0 else reasons


def _content(directory: Directory, name: str, largest: int) -> bytes:
    with directory.open(name) as file:
        check_ours(os.fstat(file.fileno()), directory)
        return read_at_most(file, largest)


def check_ours(status: os.stat_result, directory: Directory) -> None:
    """Raise :class:`UnsafeFile` for a file that the owner of the directory has not made, such as a
    hard link to one of somebody else."""
    if status.st_nlink > 1:
        raise UnsafeFile(errno.EPERM, "it has another name elsewhere")
    if status.st_uid != os.fstat(directory.fd).st_uid:
        raise UnsafeFile(errno.EPERM, "it belongs to another user")


def _there(directory: Directory, name: str) -> bool:
    if "/" in name:
        return False
    try:
        status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(status.st_mode)


def _unusable(error: OSError) -> str:
    return f"the directory of the evidence can't be read: {error.strerror or describe(error)}"
