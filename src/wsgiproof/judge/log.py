"""The check of the error log: tracebacks, warnings of the subject, known failure lines."""

from __future__ import annotations

import re
from collections.abc import Sequence

from wsgiproof.cell import Cell
from wsgiproof.judge.finding import Outcome, count, evidence
from wsgiproof.judge.signatures import SIGNATURES
from wsgiproof.records import Finding, LogLine, Observed, PhaseName

_TRACEBACK = "Traceback (most recent call last)"
_AFTER_TRACEBACK = 30
"""Lines to look at for the end of a traceback."""
_PREFIX = re.compile(r"^\[[^]]*\] \[[^]]*\] \[pid \d+\] (\[[^]]*\] )*")
"""What our ErrorLogFormat and mod_wsgi put before the text."""
SERVER_ERROR = "pymongo.errors."
"""How the last line of a traceback begins that PyMongo has raised."""
_SUBJECT_WARNING = re.compile(r"(pymongo|bson|gridfs)/\S*\.py:\d+: \w*Warning: ")
"""As the warnings module prints it: file, line, category, text."""


def log(cell: Cell, observed: Observed) -> Outcome:
    """The error log holds no traceback, no warning of the subject and no known failure line."""
    if not observed.log:
        return Outcome(missing="the error log is empty, which a started Apache's never is")
    texts = [_PREFIX.sub("", line.text) for line in observed.log]
    findings = [*_tracebacks(observed.log, texts), *_warnings(texts), *_signatures(texts)]
    if findings:
        return Outcome(findings=tuple(findings))
    if observed.log_lines_dropped:
        return Outcome(missing=f"lines that were not kept: {observed.log_lines_dropped:,}")
    return Outcome(passed=f"{count(len(observed.log), 'line')}, nothing of note")


def _tracebacks(lines: Sequence[LogLine], texts: Sequence[str]) -> list[Finding]:
    starts = [
        number
        for number, text in enumerate(texts)
        if _TRACEBACK in text and not _is_of_outage(lines[number], _exception_after(texts, number))
    ]
    if not starts:
        return []
    ends = [_exception_after(texts, start) for start in starts]
    finding = Finding(
        check="log",
        seen=(
            f"{count(len(starts), 'traceback')} in the error log, the first in phase "
            f"{lines[starts[0]].phase}: {ends[0]}"
        ),
        meaning="an exception escaped from the application, or from an exit handler or a thread",
        action="read the traceback in the error log",
        evidence=evidence(ends),
    )
    return [finding]


def _is_of_outage(line: LogLine, end: str) -> bool:
    """Whether it tells of a request that had no server: the check ``recovery`` judges when those
    may fail."""
    return line.phase == PhaseName.FAILOVER and end.startswith(SERVER_ERROR)


def _exception_after(texts: Sequence[str], start: int) -> str:
    """The line that ends a traceback: the first that is not indented, after its frames."""
    for text in texts[start + 1 : start + _AFTER_TRACEBACK]:
        if text and not text.startswith(" "):
            return text
    return texts[start]


def _warnings(texts: Sequence[str]) -> list[Finding]:
    found = [text for text in texts if _SUBJECT_WARNING.search(text)]
    if not found:
        return []
    finding = Finding(
        check="log",
        seen=f"{count(len(found), 'warning')} of PyMongo: {found[0]}",
        meaning="PyMongo noticed a use that it warns of",
        action="read the warning; it is about how this environment runs PyMongo",
        evidence=evidence(found),
    )
    return [finding]


def _signatures(texts: Sequence[str]) -> list[Finding]:
    findings = []
    for known in SIGNATURES:
        found = [text for text in texts if known.pattern.search(text)]
        if found:
            findings.append(
                Finding(
                    check="log",
                    seen=f"{count(len(found), 'line')} in the error log: {found[0]}",
                    meaning=known.meaning,
                    action=f"{known.action} ({known.source})",
                    evidence=evidence(found),
                )
            )
    return findings
