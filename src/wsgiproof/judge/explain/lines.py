"""Parses the lines of an error log: who wrote each of them, and how serious it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from wsgiproof.judge.explain.catalog import CODE
from wsgiproof.records.observed import LogLine

TRACEBACK = "Traceback (most recent call last)"
_PREFIX = re.compile(
    r"(?:|.*?[^\[] )\[[\w:. /+-]*\d\d:\d\d[\w:. /+-]*\]"
    r" \[(?:(?P<module>[\w.-]*):)?"
    r"(?P<level>emerg|alert|crit|error|warn|notice|info|debug|trace[1-8])\]"
    r"(?: \[pid (?P<pid>\d+)(?::tid (?P<tid>\d+))?\])?(?: \[(?P<url>/[^]]*)\])?"
    r"(?: \(\d+\)[^:]*:)?(?: \[[^]]*\])* ?"
)
"""What Apache and mod_wsgi write before the text, the errno included, in the ErrorLogFormat of a
cell and in Apache's default (httpd docs, ``ErrorLogFormat``). Apache 2.2 writes neither module nor
pid, and a journal writes a host first."""
_ERRORS = {"error", "crit", "alert", "emerg"}
_BY_MOD_WSGI = re.compile(r"mod_wsgi(?: \(pid=|: )")


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line without its prefix. ``module`` and ``level`` are empty if it had none."""

    phase: str
    text: str
    module: str
    level: str
    pid: str = ""
    tid: str = ""
    """The thread that wrote it; empty if the log does not say."""
    url: str = ""
    """The path of the request in which it was written; empty if the log does not say."""
    in_traceback: bool

    @property
    def from_application(self) -> bool:
        """Whether the application wrote it: mod_wsgi logs that at the level of its own errors."""
        if self.module != "wsgi" or self.level != "error":
            return False
        return not (_BY_MOD_WSGI.match(self.text) or CODE.match(self.text))

    @property
    def is_error(self) -> bool:
        """Whether Apache, mod_wsgi or a library (which bypasses Apache's log) reports an error."""
        if self.in_traceback or not self.text.strip() or self.from_application:
            return False
        return self.level in _ERRORS or (not self.module and not self.text.startswith(" "))


def parse(lines: Iterable[LogLine]) -> Iterator[Line]:
    """Parse all lines, and mark those of a traceback, the line that ends it included."""
    within = False
    for line in lines:
        prefix = _PREFIX.match(line.text)
        text = line.text[prefix.end() :] if prefix else line.text
        begins = TRACEBACK in text
        yield Line(
            phase=line.phase,
            text=text,
            module=(prefix["module"] or "") if prefix else "",
            level=prefix["level"] if prefix else "",
            pid=(prefix["pid"] or "") if prefix else "",
            tid=(prefix["tid"] or "") if prefix else "",
            url=(prefix["url"] or "").partition("?")[0] if prefix else "",
            in_traceback=begins or within,
        )
        within = begins or (within and text.startswith(" "))
