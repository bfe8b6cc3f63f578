"""Following an error log, so that each line belongs to the phase in which it was written."""

from __future__ import annotations

from pathlib import Path

from wsgiproof.records import LogLine

_MOST_LINES = 5000
_LONGEST_LINE = 2000


class LogFollower:
    """Reads what was added to a log since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.lines: list[LogLine] = []
        self.dropped = 0
        """Lines beyond the first 5,000: they are in the file, and were not kept here."""

    def read(self, phase: str) -> None:
        """Take in all complete lines that are new, and note them under ``phase``."""
        with self._path.open("rb") as log:
            log.seek(self._offset)
            data = log.read()
        end = data.rfind(b"\n") + 1
        self._take(data[:end], phase)
        self._offset += end

    def finish(self, phase: str) -> None:
        """Take in the rest, the last line included even if nobody ended it."""
        self.read(phase)
        with self._path.open("rb") as log:
            log.seek(self._offset)
            self._take(log.read(), phase)

    def _take(self, data: bytes, phase: str) -> None:
        for line in _lines(data):
            if len(self.lines) < _MOST_LINES:
                self.lines.append(LogLine(phase=phase, text=line[:_LONGEST_LINE]))
            else:
                self.dropped += 1


def _lines(data: bytes) -> list[str]:
    """Split at newlines only: what else Python calls a line's end may stand within one."""
    text = data.decode("utf-8", "replace")
    return text.removesuffix("\n").split("\n") if text else []
