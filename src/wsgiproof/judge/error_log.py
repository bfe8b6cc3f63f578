"""The check of the error log: tracebacks, warnings of the subject, known failure lines."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from wsgiproof.judge.explain.catalog import Entry
from wsgiproof.judge.explain.explain import in_log
from wsgiproof.judge.explain.lines import TRACEBACK, Line, parse
from wsgiproof.judge.finding import Outcome, count, evidence
from wsgiproof.judge.first_use import logged_by_interpreter
from wsgiproof.judge.tracebacks import CHAINED, Traceback, different, tracebacks
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import Observed
from wsgiproof.records.plan import PhaseName

_SERVER_ERROR = "pymongo.errors."
"""The start of a traceback's last line, if PyMongo raised the exception."""
_SUBJECT_WARNING = re.compile(r"(pymongo|bson|gridfs)/\S*\.py:\d+: \w*Warning: ")
"""The form in which the warnings module prints a warning: file, line, category, text."""


def error_log(cell: Cell, observed: Observed) -> Outcome:
    """The error log holds no traceback, no warning of PyMongo and no known failure line."""
    if not observed.log:
        return Outcome(missing="the error log is empty, though Apache writes to it when it starts")
    lines = tuple(parse(observed.log))
    exceptions = tracebacks(lines)
    findings = [
        *_tracebacks(_unexcused(exceptions, lines), observed),
        *_warnings([line.text for line in lines]),
        *_known(lines, cell, {one.at for one in exceptions}),
    ]
    if findings:
        return Outcome(findings=tuple(findings))
    if observed.log_lines_dropped:
        dropped = count(observed.log_lines_dropped, "line")
        return Outcome(missing=f"{dropped} of the error log were not kept")
    return Outcome(
        passed=f"{count(len(observed.log), 'line')}, without a traceback, a warning of PyMongo or "
        "a known failure"
    )


def _tracebacks(found: Sequence[Traceback], observed: Observed) -> list[Finding]:
    if not found:
        return []
    kinds = different(found)
    several = f", of {len(kinds)} kinds" if len(kinds) > 1 else ""
    whose = logged_by_interpreter(observed, (one.url for one in found))
    finding = Finding(
        check="error-log",
        seen=(
            f"{count(len(found), 'traceback')} in the error log{several}, the first in phase "
            f"{found[0].phase}: {found[0].summary}{f'; {whose}' if whose else ''}"
        ),
        meaning="an exception escaped from the application, or from an exit handler or a thread",
        action="read the traceback: its last frames are where the exception was raised",
        evidence=evidence(alike[0].text for alike in kinds),
    )
    return [finding]


def _unexcused(found: Sequence[Traceback], lines: Sequence[Line]) -> list[Traceback]:
    """Return the exceptions without those of requests without a server."""
    excused = _excused_tracebacks(lines)
    return [
        one
        for one in found
        if not excused & {*one.begins} and not (one.phase == PhaseName.FAILOVER and _alone(one))
    ]


def _alone(one: Traceback) -> bool:
    """Whether mod_wsgi has logged an error of PyMongo without its traceback."""
    return not one.begins and one.exception.startswith(_SERVER_ERROR)


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
        elif line.text in CHAINED or line.text.startswith(_SERVER_ERROR):
            accounted[line.pid] += 1
    return {
        number
        for pid, numbers in begun.items()
        if len(numbers) <= accounted[pid]
        for number in numbers
    }


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


def _known(lines: Sequence[Line], cell: Cell, reported: set[int]) -> list[Finding]:
    """Return a finding for each catalog entry that means a failure and matches lines of the log.

    A line that announces an exception (``reported``) is part of that.
    """
    by_entry: dict[Entry, list[str]] = defaultdict(list)
    rest = [line for number, line in enumerate(lines) if number not in reported]
    for sighting in in_log(rest, cell):
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
