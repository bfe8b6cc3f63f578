"""The check of the error log: tracebacks, warnings of the subject, known failure lines."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from wsgiproof.judge.explain.catalog import Catalog, Entry
from wsgiproof.judge.explain.explain import in_log
from wsgiproof.judge.explain.lines import TRACEBACK, Line, parse
from wsgiproof.judge.finding import Check, Outcome, count, evidence
from wsgiproof.judge.first_use import logged_by_interpreter
from wsgiproof.judge.hangs import was_starved
from wsgiproof.judge.rules import Rules
from wsgiproof.judge.tracebacks import CHAINED, Traceback, different, tracebacks
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import Observed
from wsgiproof.records.plan import PhaseName

_WARNING = r"({})/\S*\.py:\d+: \w*Warning: "
"""The form in which the warnings module prints a warning: file, line, category, text."""
_CLIENT_GONE = re.compile(
    r"(?:OS|IO)Error: Apache/mod_wsgi (?:client connection closed|failed to write response data)"
)
"""The load client has closed a connection, which it does at the deadline of a request alone. The
check ``hang`` judges that request."""


def error_log(rules: Rules) -> Check:
    """Return the check that the error log holds nothing that went wrong."""

    def check(cell: Cell, observed: Observed) -> Outcome:
        return _check(cell, observed, rules)

    check.__doc__ = (
        f"The error log holds no traceback, no warning of {rules.title} and no known failure line."
    )
    return check


def _check(cell: Cell, observed: Observed, rules: Rules) -> Outcome:
    if not observed.log:
        return Outcome(missing="the error log is empty, though Apache writes to it when it starts")
    lines = tuple(parse(observed.log))
    exceptions = [one for one in tracebacks(lines) if not _CLIENT_GONE.match(one.exception)]
    known = _known(lines, cell, rules.catalog, {one.at for one in exceptions})
    starved = was_starved(observed)
    late = [text for one, found in known if one.time_limit and starved for text in found]
    findings = [
        *_tracebacks(_unexcused(exceptions, lines, rules.unserved), observed),
        *_warnings([line.text for line in lines], rules),
        *(_finding(one, found) for one, found in known if not (one.time_limit and starved)),
    ]
    if findings:
        return Outcome(findings=tuple(findings))
    if late:
        return Outcome(
            missing=f"{count(len(late), 'line')} of an exceeded time limit, for which the machine "
            f"was too busy: {late[0]}"
        )
    if observed.log_lines_dropped:
        dropped = count(observed.log_lines_dropped, "line")
        return Outcome(missing=f"{dropped} of the error log were not kept")
    return Outcome(
        passed=f"{count(len(observed.log), 'line')}, without a traceback, a warning of "
        f"{rules.title} or a known failure"
    )


def _tracebacks(found: Sequence[Traceback], observed: Observed) -> list[Finding]:
    if not found:
        return []
    kinds = different(found)
    several = f", of {len(kinds)} kinds" if len(kinds) > 1 else ""
    whose = logged_by_interpreter(observed, (one.url for one in found))
    framed = any(one.begins for one in found)
    what = count(len(found), "traceback" if framed else "exception")
    finding = Finding(
        check="error-log",
        seen=(
            f"{what} in the error log{several}, the first in phase {found[0].phase}: "
            f"{found[0].summary}{f'; {whose}' if whose else ''}"
        ),
        meaning="an exception escaped from the application, or from an exit handler or a thread",
        action=(
            "read the traceback: its last frames are where the exception was raised"
            if framed
            else "read the exception: mod_wsgi has logged it without a traceback"
        ),
        evidence=evidence(alike[0].text for alike in kinds),
    )
    return [finding]


def _unexcused(found: Sequence[Traceback], lines: Sequence[Line], unserved: str) -> list[Traceback]:
    """Return the exceptions without those of requests without a server."""
    if not unserved:
        return [*found]
    excused = _excused_tracebacks(lines, unserved)
    return [
        one
        for one in found
        if not excused & {*one.begins}
        and not (one.phase == PhaseName.FAILOVER and _alone(one, unserved))
    ]


def _alone(one: Traceback, unserved: str) -> bool:
    """Whether mod_wsgi has logged an error of the subject without its traceback."""
    return not one.begins and one.exception.startswith(unserved)


def _excused_tracebacks(lines: Sequence[Line], unserved: str) -> set[int]:
    """Return the lines at which tracebacks of requests without a server begin, causes included.

    The check ``recovery`` judges when such requests may fail. Threads of one process interleave
    their lines, so tracebacks are counted instead of followed: if each traceback of a process is a
    cause, or ends with an error of the subject, then no other traceback is among them.
    """
    begun: defaultdict[str, list[int]] = defaultdict(list)
    accounted: Counter[str] = Counter()
    for number, line in enumerate(lines):
        if line.phase != PhaseName.FAILOVER:
            continue
        if TRACEBACK in line.text:
            begun[line.pid].append(number)
        elif line.text in CHAINED or line.text.startswith(unserved):
            accounted[line.pid] += 1
    return {
        number
        for pid, numbers in begun.items()
        if len(numbers) <= accounted[pid]
        for number in numbers
    }


def _warnings(texts: Sequence[str], rules: Rules) -> list[Finding]:
    pattern = re.compile(_WARNING.format("|".join(map(re.escape, rules.packages))))
    found = [text for text in texts if rules.packages and pattern.search(text)]
    if not found:
        return []
    finding = Finding(
        check="error-log",
        seen=f"{count(len(found), 'warning')} of {rules.title} in the error log: {found[0]}",
        meaning=f"{rules.title} warns of the way in which it is used here",
        action=f"read the warning; it is about how this environment runs {rules.title}",
        evidence=evidence(found),
    )
    return [finding]


def _known(
    lines: Sequence[Line], cell: Cell, catalog: Catalog, reported: set[int]
) -> list[tuple[Entry, list[str]]]:
    """Return each catalog entry that means a failure and matches lines of the log, with these.

    A line that announces an exception (``reported``) is part of that.
    """
    found: dict[str, tuple[Entry, list[str]]] = {}
    rest = [line for number, line in enumerate(lines) if number not in reported]
    for sighting in in_log(rest, cell, catalog):
        if sighting.entry.fails:
            _, texts = found.setdefault(sighting.entry.id, (sighting.entry, []))
            texts.append(sighting.text)
    return [*found.values()]


def _finding(entry: Entry, found: Sequence[str]) -> Finding:
    return Finding(
        check="error-log",
        seen=f"{count(len(found), 'line')} in the error log: {found[0]}",
        meaning=entry.meaning,
        action=f"{entry.action} ({entry.source})",
        evidence=evidence(found),
    )
