"""Follows an error log, and notes the phase in which each line was written.

Apache's children have the log open and may do anything with it: fill it, truncate it, or never end
a line. Each read is therefore limited, and reports what it could not keep.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from wsgiproof.errors import describe
from wsgiproof.files import open_regular
from wsgiproof.records.observed import LogLine

_MOST = 8_000_000
"""Characters that are kept in all; a thousand restarts write five million."""
_MOST_LINES = 200_000
_LONGEST_LINE = 2000
_CHUNK = 1 << 20
_MOST_AT_ONCE = 64 << 20
"""Bytes of one read; the rest is skipped."""
_COMPARED = 64
"""Bytes before the last position that are read again: if they differ, the log was replaced."""
_LONGEST_KEPT = 4 * _LONGEST_LINE
"""Bytes that are kept of an incomplete line."""
_ENDING = re.compile(r"mod_wsgi \(pid=(\d+)\): Destroying interpreters")
"""What mod_wsgi writes before it ends the interpreters of a process."""


class NewLines:
    """Reads what was added to a log since the last read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._known = (0, b"")
        """The position at which the last read ended, and the bytes before it."""
        self._begun = b""
        """The last line, while it is incomplete."""
        self.damaged = ""
        """What happened to the log that should not; empty if nothing did."""
        self.skipped = 0
        """Bytes that were not read, because there were too many."""
        try:
            with open_regular(path) as log:
                self._remember(log, os.fstat(log.fileno()).st_size)
        except OSError as error:
            self._unreadable(error)

    def read(self) -> Iterator[str]:
        """Yield all new complete lines."""
        for data in self._chunks():
            *lines, rest = (self._begun + data).split(b"\n")
            self._begun = rest[:_LONGEST_KEPT]
            yield from map(_text, lines)

    def finish(self) -> Iterator[str]:
        """Yield all remaining lines, the last one included even if it is incomplete."""
        yield from self.read()
        if self._begun:
            yield _text(self._begun)
            self._begun = b""

    def _chunks(self) -> Iterator[bytes]:
        try:
            with open_regular(self._path) as log:
                yield from self._new_in(log)
        except OSError as error:
            self._unreadable(error)

    def _new_in(self, log: BinaryIO) -> Iterator[bytes]:
        size = os.fstat(log.fileno()).st_size
        at, last = self._known
        log.seek(at - len(last))
        if log.read(len(last)) != last:
            self.damaged = "the error log was truncated while the server ran"
            self._offset, self._begun = 0, b""
        end = min(size, self._offset + _MOST_AT_ONCE)
        log.seek(self._offset)
        while self._offset < end and (data := log.read(min(_CHUNK, end - self._offset))):
            self._offset += len(data)
            yield data
        self.skipped += size - end
        self._offset += size - end
        self._remember(log, self._offset)

    def _remember(self, log: BinaryIO, at: int) -> None:
        start = max(0, at - _COMPARED)
        log.seek(start)
        self._known = (at, log.read(at - start))

    def _unreadable(self, error: OSError) -> None:
        self.damaged = f"the error log can't be read: {error.strerror or describe(error)}"


class LogFollower:
    """Keeps the lines of a log, each with the phase in which it was read."""

    def __init__(self, path: Path) -> None:
        self._new = NewLines(path)
        self.lines: list[LogLine] = []
        self.ending: set[int] = set()
        """The processes that have begun to end their interpreters."""
        self._kept = 0
        self.dropped = 0
        """Lines that were not kept, because there were too many; the file has them."""

    @property
    def damaged(self) -> str:
        """Why the log was not read completely; empty if it was. Ignores :attr:`dropped` lines."""
        if self._new.skipped and not self._new.damaged:
            return f"{self._new.skipped:,} bytes of the error log were not read: too many at once"
        return self._new.damaged

    def read(self, phase: str) -> None:
        """Read all new complete lines, and keep them under ``phase``."""
        self._take(self._new.read(), phase)

    def finish(self, phase: str) -> None:
        """Read all remaining lines, the last one included even if it is incomplete."""
        self._take(self._new.finish(), phase)

    def _take(self, lines: Iterator[str], phase: str) -> None:
        for line in lines:
            if ending := _ENDING.search(line):
                self.ending.add(int(ending[1]))
            if self._kept < _MOST and len(self.lines) < _MOST_LINES:
                self.lines.append(LogLine(phase=phase, text=line[:_LONGEST_LINE]))
                self._kept += len(self.lines[-1].text) + 1
            else:
                self.dropped += 1


def _text(line: bytes) -> str:
    """Return a line as text. Only a newline ends it; it may hold Python's other line ends."""
    return line.decode("utf-8", "replace")
