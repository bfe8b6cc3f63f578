"""An audit as JUnit XML; ``docs/results.md`` describes the mapping."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from junitparser import Error, Failure, TestCase

from wsgiproof.judge.audited import ended_badly
from wsgiproof.records.audit import FAILURES, Audit, Environment, Outcome, Result
from wsgiproof.report.audited import cautions, lines_of, title_of
from wsgiproof.report.junit import case_of, result_of, written
from wsgiproof.report.text import block, one_line


def audit_to_junit(audit: Audit) -> bytes:
    """Return an audit, with a test case for each package, Python and kind of interpreter."""
    cases = [
        _case(environment, one)
        for environment in audit.environments
        for one in (*environment.results, *environment.deep)
    ]
    started = datetime.fromtimestamp(audit.started, UTC).isoformat(timespec="seconds")
    return written(cases, started, _properties(audit))


def _case(environment: Environment, one: Result) -> TestCase:
    name = " ".join(
        filter(None, [environment.python, one.name, one.version, title_of(one.kind, one.tier)])
    )
    seconds = sum(attempt.seconds for attempt in one.attempts)
    if one.outcome is Outcome.WORKS:
        case = case_of(name, [], seconds)
    else:
        kind = Failure if one.outcome in FAILURES else Error
        cause = f" (because of {one.cause})" if one.cause else ""
        message = f"{one.outcome}{cause}: {one.reason}"
        case = case_of(name, [result_of(kind, one.outcome, message, _text(one))], seconds)
    used = "its exercise was done" if one.exercised else "import alone"
    if one.outcome is not Outcome.NOT_INSTALLABLE:
        case.system_out = one_line("; ".join(filter(None, [used, one.ends])))
    return case


def _text(one: Result) -> str:
    lines = [*map(one_line, lines_of(one))]
    bad = next((attempt for attempt in one.attempts if ended_badly(attempt)), None)
    if bad is not None and bad.output:
        lines += [f"| {line}" for line in block(bad.output).split("\n") if line]
    return "\n".join(lines)


def _properties(audit: Audit) -> Iterator[tuple[str, str]]:
    yield "wsgiproof", audit.wsgiproof
    yield "command", audit.command
    yield from (("note", note) for note in audit.notes)
    for environment in audit.environments:
        for line in (*environment.advice, *cautions(environment)):
            yield environment.python, line
