"""Following an error log: what is new in it, and the phase in which each line was written."""

from __future__ import annotations

from pathlib import Path

from wsgiproof.records import LogLine

_MOST = 8_000_000
"""Characters that are kept in all: a thousand restarts take five million."""
_LONGEST_LINE = 2000


class NewLines:
    """Reads what was added to a log since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[str]:
        """All complete lines that are new."""
        data = self._rest()
        end = data.rfind(b"\n") + 1
        self._offset += end
        return _lines(data[:end])

    def finish(self) -> list[str]:
        """The rest, the last line included even if nobody ended it."""
        return _lines(self._rest())

    def _rest(self) -> bytes:
        with self._path.open("rb") as log:
            log.seek(self._offset)
            return log.read()


class LogFollower:
    """Keeps the lines of a log, each with the phase in which it was new."""

    def __init__(self, path: Path) -> None:
        self._new = NewLines(path)
        self.lines: list[LogLine] = []
        self._kept = 0
        self.dropped = 0
        """Lines beyond that: they are in the file, and were not kept here."""

    def read(self, phase: str) -> None:
        """Take in all complete lines that are new, and note them under ``phase``."""
        self._take(self._new.read(), phase)

    def finish(self, phase: str) -> None:
        """Take in the rest, the last line included even if nobody ended it."""
        self._take(self._new.finish(), phase)

    def _take(self, lines: list[str], phase: str) -> None:
        for line in lines:
            if self._kept < _MOST:
                self.lines.append(LogLine(phase=phase, text=line[:_LONGEST_LINE]))
                self._kept += len(self.lines[-1].text) + 1
            else:
                self.dropped += 1


def _lines(data: bytes) -> list[str]:
    """Split at newlines only: what else Python calls a line's end may stand within one."""
    text = data.decode("utf-8", "replace")
    return text.removesuffix("\n").split("\n") if text else []
