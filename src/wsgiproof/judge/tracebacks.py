"""Reads the tracebacks in an error log: whose each is, where it ends, and what raised it.

The threads of a process write at the same time, so their lines are mixed. Each line names its
thread, and the URL of its request, if the log has the ErrorLogFormat of a cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath

import msgspec

from wsgiproof.judge.explain.lines import TRACEBACK, Line
from wsgiproof.judge.stacks import is_standard

CHAINED = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
"""What Python writes between the traceback of a cause and that of the exception it led to."""
_RAISED = re.compile(
    r"WSGI0(?:098|109|110|112|131|174|188): "
    r"|mod_wsgi \(pid=\d+\): Exception occurred (?:processing|within) "
)
"""mod_wsgi reports an exception. It writes the exception alone if that was raised in C, such as by
mod_wsgi for a wrong part of a body; mod_wsgi 6 does so for all with Python 3.10 and 3.11."""
_EXCEPTION = re.compile(r"(?!AH\d|WSGI\d)[A-Za-z_][\w.]*(?::|\Z)")
_FRAME = re.compile(r'  File "(?P<file>.+)", line (?P<line>\d+)(?:, in (?P<function>.+))?')
_GROUP = re.compile(r"^  [+|] ?")
"""What Python writes before each line of an exception group."""
_HEAD, _TAIL = 4, 26
"""Lines of a long traceback that are kept: the deepest frames are its last ones."""
_INSIDE = "/wsgiproof_agent/"
"""Where the code of wsgiproof is that calls the application."""
_PLANTED = re.compile(r"/wsgiproof_agent/(subject/)?faults\w*\.py$")
_INSTALLED = ("/site-packages/", "/dist-packages/")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A frame of a traceback."""

    file: str
    line: int
    function: str

    @property
    def where(self) -> str:
        """Return ``act (faults.py:27)``."""
        return f"{self.function or '<module>'} ({PurePath(self.file).name}:{self.line})"

    @property
    def of_application(self) -> bool:
        """Whether it is in the application: in no package, and not in wsgiproof's code."""
        if _INSIDE in self.file:
            return bool(_PLANTED.search(self.file))
        installed = any(part in self.file for part in _INSTALLED)
        return not installed and not is_standard(self.file)


class Traceback(msgspec.Struct, frozen=True, kw_only=True):
    """An exception in an error log, with the tracebacks of its causes."""

    at: int
    """The number of the line that announces it, or at which it begins, from 0."""
    begins: tuple[int, ...]
    """The numbers of the lines at which its tracebacks begin; none if it was logged without."""
    phase: str
    pid: str
    url: str
    """The path of the request; empty if the log does not say, or if there was no request."""
    exception: str
    """The line that ends it; the line that begins it if it breaks off."""
    calls: tuple[Call, ...]
    """The frames of the exception that was raised last, the deepest one last."""
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """Return all of its lines; from the middle of a long one, the number of lines."""
        if len(self.lines) <= _HEAD + _TAIL:
            return "\n".join(self.lines)
        left = len(self.lines) - _HEAD - _TAIL
        kept = (*self.lines[:_HEAD], f"  ... {left:,} lines ...", *self.lines[-_TAIL:])
        return "\n".join(kept)

    @property
    def place(self) -> str:
        """Return the deepest call of the application's own code, and the deepest call of all."""
        if not self.calls:
            return ""
        own = [call for call in self.calls if call.of_application]
        if not own:
            return f"raised in {self.calls[-1].where}"
        if own[-1] == self.calls[-1]:
            return f"raised in {own[-1].where}"
        return f"in {own[-1].where}, raised in {self.calls[-1].where}"

    @property
    def kind(self) -> str:
        """Return what alike exceptions have in common: the type and the place, or the whole text.

        Their messages may differ, in names and numbers.
        """
        return f"{self.exception.partition(':')[0]} {self.place}" if self.calls else self.exception

    @property
    def summary(self) -> str:
        """Return the exception, and where it was raised, in one line."""
        return f"{self.exception}, {self.place}" if self.place else self.exception


class _Open:
    """An exception of which more lines may follow."""

    def __init__(self, at: int, line: Line) -> None:
        self.at = at
        self.begins: list[int] = []
        self.line = line
        self.texts: list[str] = []
        self.calls: list[Call] = []
        self.exception = ""
        """The line that ends it; empty while there is none."""
        self.continues = True
        """Whether the next traceback of this thread belongs to it."""

    def begin(self, at: int, text: str) -> None:
        """Begin a traceback: the first one, or that of what its exception led to."""
        self.begins.append(at)
        self.texts.append(text)
        self.calls, self.exception, self.continues = [], "", False

    def add(self, text: str) -> None:
        """Add a line that does not begin a traceback."""
        if text in CHAINED and self.exception:
            self.texts.append(text)
            self.continues = True
        elif self.exception or not text.strip():
            pass  # the rest of its message, or a line that has nothing to do with it
        elif self.texts and text.startswith(" "):
            self.texts.append(text)
            if frame := _FRAME.match(text):
                function = frame["function"] or ""
                self.calls.append(
                    Call(file=frame["file"], line=int(frame["line"]), function=function)
                )
        elif self.texts or _EXCEPTION.match(text):
            self.texts.append(text)
            self.exception = text

    def ended(self) -> list[Traceback]:
        """Return it; nothing if only its announcement was there."""
        if not self.texts:
            return []
        one = Traceback(
            at=self.at,
            begins=tuple(self.begins),
            phase=self.line.phase,
            pid=self.line.pid,
            url=self.line.url,
            exception=self.exception or self.texts[0],
            calls=tuple(self.calls),
            lines=tuple(self.texts),
        )
        return [one]


def tracebacks(lines: Iterable[Line]) -> list[Traceback]:
    """Return every exception in a log, in order. The causes of an exception are part of it."""
    found: list[Traceback] = []
    latest: dict[tuple[str, str], _Open] = {}
    for at, line in enumerate(lines):
        thread = (line.pid, line.tid)
        one = latest.get(thread)
        announced = _RAISED.match(line.text)
        begins = TRACEBACK in line.text
        if announced or (begins and (one is None or not one.continues)):
            found += one.ended() if one else []
            one = latest[thread] = _Open(at, line)
        if one is None or announced:
            continue
        text = _GROUP.sub("", line.text)
        if begins:
            one.begin(at, text)
        else:
            one.add(text)
    found += (each for one in latest.values() for each in one.ended())
    return sorted(found, key=lambda one: one.at)


def different(found: Iterable[Traceback]) -> list[list[Traceback]]:
    """Return the tracebacks by kind, the most frequent kind first."""
    kinds: dict[str, list[Traceback]] = {}
    for one in found:
        kinds.setdefault(one.kind, []).append(one)
    return sorted(kinds.values(), key=lambda alike: -len(alike))


def of_request(found: Sequence[Traceback], phase: str, url: str) -> list[Traceback]:
    """Return those that belong to failed requests of a phase to the URL with this path.

    If the log names no URLs, they are all of the phase.
    """
    of_phase = [one for one in found if one.phase == phase]
    if any(one.url for one in found):
        return [one for one in of_phase if one.url == url]
    return of_phase
