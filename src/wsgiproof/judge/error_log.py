"""The check of the error log: tracebacks, warnings of the subject, known failure lines."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from wsgiproof.cell import Cell
from wsgiproof.judge.explain.catalog import Entry
from wsgiproof.judge.explain.explain import in_log
from wsgiproof.judge.explain.lines import TRACEBACK, Line, parse
from wsgiproof.judge.finding import Outcome, count, evidence
from wsgiproof.records import Finding, Observed, PhaseName

_AFTER_TRACEBACK = 30
"""Lines to look at for the end of a traceback."""
_SERVER_ERROR = "pymongo.errors."
"""The start of a traceback's last line, if PyMongo raised the exception."""
_CHAINED = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
"""What Python writes between the traceback of a cause and that of the exception it led to."""
_SUBJECT_WARNING = re.compile(r"(pymongo|bson|gridfs)/\S*\.py:\d+: \w*Warning: ")
"""The form in which the warnings module prints a warning: file, line, category, text."""


def error_log(cell: Cell, observed: Observed) -> Outcome:
    """The error log holds no traceback, no warning of PyMongo and no known failure line."""
    if not observed.log:
        return Outcome(missing="the error log is empty, though Apache writes to it when it starts")
    lines = tuple(parse(observed.log))
    texts = [line.text for line in lines]
    findings = [*_tracebacks(lines, texts), *_warnings(texts), *_known(lines)]
    if findings:
        return Outcome(findings=tuple(findings))
    if observed.log_lines_dropped:
        dropped = count(observed.log_lines_dropped, "line")
        return Outcome(missing=f"{dropped} of the error log were not kept")
    return Outcome(
        passed=f"{count(len(observed.log), 'line')}, without a traceback, a warning of PyMongo or "
        "a known failure"
    )


def _tracebacks(lines: Sequence[Line], texts: Sequence[str]) -> list[Finding]:
    excused = _excused_tracebacks(lines)
    starts = [
        number for number, text in enumerate(texts) if TRACEBACK in text and number not in excused
    ]
    if not starts:
        return []
    ends = [_exception_after(texts, start) for start in starts]
    finding = Finding(
        check="error-log",
        seen=(
            f"{count(len(starts), 'traceback')} in the error log, the first in phase "
            f"{lines[starts[0]].phase}: {ends[0]}"
        ),
        meaning="an exception escaped from the application, or from an exit handler or a thread",
        action="read the traceback in the error log",
        evidence=evidence(ends),
    )
    return [finding]


def _excused_tracebacks(lines: Sequence[Line]) -> set[int]:
    """Return the lines at which tracebacks of requests without a server begin, causes included.

    The check ``recovery`` judges when such requests may fail. Threads of one process interleave
    their lines, so tracebacks are counted instead of followed: if each traceback of a process is a
    cause, or ends with an error of PyMongo, then no other traceback is among them.
    """
    begun: defaultdict[str, list[int]] = defaultdict(list)
    accounted: Counter[str] = Counter()
    for number, line in enumerate(lines):
        if line.phase != PhaseName.FAILOVER:
            continue
        if TRACEBACK in line.text:
            begun[line.pid].append(number)
        elif line.text in _CHAINED or line.text.startswith(_SERVER_ERROR):
            accounted[line.pid] += 1
    return {
        number
        for pid, numbers in begun.items()
        if len(numbers) <= accounted[pid]
        for number in numbers
    }


def _exception_after(texts: Sequence[str], start: int) -> str:
    """Return the line that ends a traceback: the first one after its frames without an indent."""
    for text in texts[start + 1 : start + _AFTER_TRACEBACK]:
        if text and not text.startswith(" "):
            return text
    return texts[start]


def _warnings(texts: Sequence[str]) -> list[Finding]:
    found = [text for text in texts if _SUBJECT_WARNING.search(text)]
    if not found:
        return []
    finding = Finding(
        check="error-log",
        seen=f"{count(len(found), 'warning')} of PyMongo in the error log: {found[0]}",
        meaning="PyMongo warns of the way in which it is used here",
        action="read the warning; it is about how this environment runs PyMongo",
        evidence=evidence(found),
    )
    return [finding]


def _known(lines: Sequence[Line]) -> list[Finding]:
    """Return a finding for each catalog entry that means a failure and matches lines of the log."""
    by_entry: dict[Entry, list[str]] = defaultdict(list)
    for sighting in in_log(lines):
        if sighting.entry.fails:
            by_entry[sighting.entry].append(sighting.text)
    return [
        Finding(
            check="error-log",
            seen=f"{count(len(found), 'line')} in the error log: {found[0]}",
            meaning=entry.meaning,
            action=f"{entry.action} ({entry.source})",
            evidence=evidence(found),
        )
        for entry, found in by_entry.items()
    ]
