"""A run as JUnit XML, for what shows test results. ``docs/results.md`` says what becomes what.

XML 1.0 has no place for most control characters, so all text of others goes through
:mod:`wsgiproof.report.text`, which also bounds the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from typing import TypeVar

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from junitparser.junitparser import FinalResult

from wsgiproof.records import CellRecord, Excluded, Finding, RunRecord, Verdict
from wsgiproof.report.explained import also, explained, unknown
from wsgiproof.report.text import block, one_line

_Kind = TypeVar("_Kind", bound=FinalResult)
_NAME = "wsgiproof"
_LONGEST_MESSAGE = 500


def to_junit(record: RunRecord) -> bytes:
    """The whole run: a test case for each planned cell, and for each excluded combination."""
    suite = TestSuite(_NAME)
    suite.timestamp = one_line(record.started)
    for name, value in _properties(record):
        suite.add_property(one_line(name), one_line(value))
    cases = [*_cases(record)]
    suite.add_testcases(cases)
    _count(suite, cases)
    return _written(suite)


def _cases(record: RunRecord) -> Iterator[TestCase]:
    for cell in record.cells:
        yield _cell(cell)
    for name in record.missing:
        why = "it was planned, and it never came: the run was interrupted, or a shard is not here"
        yield _case(name, [_result(Error, "missing", why)])
    for excluded in record.excluded:
        yield _excluded(excluded)


def _cell(cell: CellRecord) -> TestCase:
    case = _case(cell.cell.id, [*_results(cell)], cell.timings.get("total", 0.0))
    beside = block("\n".join(_beside(cell)))
    if beside:
        case.system_out = beside
    return case


def _results(cell: CellRecord) -> Iterator[FinalResult]:
    if cell.verdict is Verdict.SKIPPED:
        yield _result(Skipped, "skipped", cell.reason)
    elif cell.verdict is Verdict.FAIL:
        yield from _failures(cell)
    elif cell.verdict is not Verdict.PASS:
        yield _undecided(cell)


def _failures(cell: CellRecord) -> Iterator[Failure]:
    told: set[str] = set()
    for finding in cell.findings:
        says = f"{finding.check}: {finding.seen}"
        yield _result(Failure, finding.check, says, _told(finding, cell.rerun, told))
    if not cell.findings:  # which no judge of ours leaves out, but a file may
        yield _result(Failure, cell.verdict, cell.reason)


def _told(finding: Finding, rerun: str, told: set[str]) -> str:
    lines = [
        one_line(finding.seen),
        f"means: {one_line(finding.meaning)}",
        f"do: {one_line(finding.action)}",
        *(f"| {line}" for line in block("\n".join(finding.evidence)).split("\n") if line),
        *(f"{label}: {one_line(text)}" for label, text in explained(finding, told)),
        f"rerun: {one_line(rerun)}",
    ]
    return "\n".join(lines)


def _undecided(cell: CellRecord) -> Error:
    """What evidence each check lacks, or the whole reason: it may be a compiler's last words."""
    lacks = "\n".join(_checks(cell, Verdict.INCONCLUSIVE)) or block(cell.reason)
    text = f"{lacks}\nrerun: {one_line(cell.rerun)}"
    return _result(Error, cell.verdict, lacks, text)


def _beside(cell: CellRecord) -> Iterator[str]:
    """What the result itself has no place for."""
    for number, reason in enumerate(cell.tries, 1):
        yield f"try {number} ended in an error: {one_line(reason)}"
    if cell.verdict is Verdict.FAIL:
        yield from _checks(cell, Verdict.FAIL)
        yield from _checks(cell, Verdict.INCONCLUSIVE)
    yield from _checks(cell, Verdict.SKIPPED)
    yield from map(one_line, filter(None, [*unknown(cell), also(cell)]))


def _checks(cell: CellRecord, verdict: Verdict) -> Iterator[str]:
    for check in cell.checks:
        if check.verdict is verdict:
            yield one_line(f"{verdict} {check.check}: {check.reason}")


def _excluded(excluded: Excluded) -> TestCase:
    name = " ".join(f"{axis}={value}" for axis, value in excluded.axes.items())
    return _case(name, [_result(Skipped, "excluded", excluded.reason)])


def _case(name: str, results: list[FinalResult], seconds: float = 0.0) -> TestCase:
    case = TestCase(one_line(name), _NAME, round(seconds, 3))
    case.result = results
    return case


def _result(kind: type[_Kind], sort: str, says: str, text: str = "") -> _Kind:
    result = kind(one_line(says, _LONGEST_MESSAGE), one_line(sort))
    if text:
        result.text = text
    return result


def _properties(record: RunRecord) -> Iterator[tuple[str, str]]:
    yield "wsgiproof", record.wsgiproof
    yield "command", record.command
    yield "complete", "yes" if record.complete and not record.missing else "no"
    yield from record.host.items()


def _count(suite: TestSuite, cases: list[TestCase]) -> None:
    """Each case counts once, however many findings it has; junitparser would count findings."""
    kinds = Counter(type(case.result[0]) for case in cases if case.result)
    suite.tests = len(cases)
    suite.failures = kinds[Failure]
    suite.errors = kinds[Error]
    suite.skipped = kinds[Skipped]
    suite.time = round(sum(case.time or 0.0 for case in cases), 3)


def _written(suite: TestSuite) -> bytes:
    whole = JUnitXml(_NAME)
    whole.add_testsuite(suite)
    # No 'skipped' here: the usual schema has it for a suite only.
    whole.tests, whole.failures = suite.tests, suite.failures
    whole.errors, whole.time = suite.errors, suite.time
    buffer = BytesIO()
    whole.write(buffer)
    return buffer.getvalue()
