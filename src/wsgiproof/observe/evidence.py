"""Reads the directory in which the processes of a server leave evidence.

Less trusted code may have made, replaced or removed the files there. No link is followed, no read
blocks, and every read has a size limit. Files that were refused, or that are missing, are noted,
and the checks that need them are then undecided.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

from wsgiproof.agent import protocol
from wsgiproof.errors import describe
from wsgiproof.files import Directory, UnsafeFile, read_at_most
from wsgiproof.records.observed import EvidenceKind, Identity, MissingEvidence

_MOST_NAMES = 200_000
"""Entries of the directory that are examined; a thousand restarts leave 30,000."""
_MOST_NOTES = 5
"""Reasons that are kept for one kind; the rest are counted."""


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
        """Yield the pid and the content of each file of a kind, in the order of their names.

        With ``pids``, only the files of these processes. Reads at most the first ``largest`` bytes
        of each file, and about ``most`` bytes in all.
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
                    self.note(kind, f"only the first {most:,} bytes were read")
                    return
                try:
                    content = _content(directory, name, largest)
                except OSError as error:
                    self.note(kind, f"{name}: {error.strerror}")
                    continue
                left -= len(content)
                yield pid, content

    def _names(self, directory: Directory, kind: EvidenceKind) -> list[tuple[str, int]]:
        """Return the names of the files of a kind with their pids, sorted."""
        pattern = protocol.evidence_of(kind)
        with os.scandir(directory.fd) as entries:
            names = [
                entry.name for entry in islice(entries, _MOST_NAMES) if entry.name[:1] == kind[0]
            ]
            if next(entries, None) is not None:
                self.note(
                    kind, f"there are more than {_MOST_NAMES:,} files; the rest was not examined"
                )
        found = ((name, pattern.match(name)) for name in names)
        return sorted((name, int(match[1])) for name, match in found if match)

    def note(self, kind: EvidenceKind, reason: str) -> None:
        """Note that evidence of this kind is missing or was refused."""
        self._missing[kind, reason] = None

    def expect(self, identities: Sequence[Identity], loaded: Collection[tuple[int, str]]) -> None:
        """Note the files that interpreters which have answered must have left, if they are gone.

        ``loaded`` are the pid and token of each interpreter whose identity was found.
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
                    self.note("identity", f"the identity that pid {one.pid} wrote is gone")
                fatal = protocol.note_file(protocol.FATAL, one.pid)
                if _has_fatal_trace(one) and not _exists(directory, fatal):
                    self.note("fatal", f"{fatal} is gone")
                if not _exists(directory, protocol.slots_file(one.pid, one.token)):
                    self.note("requests", f"a list of the requests of pid {one.pid} is gone")

    def missing(self) -> tuple[MissingEvidence, ...]:
        """Return everything that was noted, an entry for each kind."""
        by_kind: dict[EvidenceKind, list[str]] = {}
        for kind, reason in list(self._missing):
            by_kind.setdefault(kind, []).append(reason)
        return tuple(
            MissingEvidence(kind=kind, reasons=tuple(_shortened(reasons)))
            for kind, reasons in sorted(by_kind.items())
        )


def _has_fatal_trace(one: Identity) -> bool:
    """Return whether an interpreter opens a file for its fatal trace.

    Python 2.7 has no faulthandler, and an interpreter with its own GIL can't load it.
    """
    return one.gil == "shared" and not one.python.startswith("2.")


def _shortened(reasons: list[str]) -> list[str]:
    more = len(reasons) - _MOST_NOTES
    return [*reasons[:_MOST_NOTES], f"{more:,} more like these"] if more > 0 else reasons


def _content(directory: Directory, name: str, largest: int) -> bytes:
    with directory.open(name) as file:
        check_owner(os.fstat(file.fileno()), directory)
        return read_at_most(file, largest)


def check_owner(status: os.stat_result, directory: Directory) -> None:
    """Raise :class:`UnsafeFile` unless the owner of the directory made this file.

    It may be a hard link to another user's file.
    """
    if status.st_nlink > 1:
        raise UnsafeFile(errno.EPERM, "it has another name elsewhere")
    if status.st_uid != os.fstat(directory.fd).st_uid:
        raise UnsafeFile(errno.EPERM, "it belongs to another user")


def _exists(directory: Directory, name: str) -> bool:
    if "/" in name:
        return False
    try:
        status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(status.st_mode)


def _unusable(error: OSError) -> str:
    return f"the evidence directory can't be read: {error.strerror or describe(error)}"
