"""A run as JUnit XML; ``docs/results.md`` describes the mapping.

XML 1.0 allows few control characters, so all text from outside goes through
:mod:`wsgiproof.report.text`, which also limits the size of the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import TypeVar

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from junitparser.junitparser import FinalResult

from wsgiproof.records.judgement import Finding, Verdict
from wsgiproof.records.known import KnownState
from wsgiproof.records.run import CellRecord, Excluded, RunRecord
from wsgiproof.report.explained import also, control, error_log, explained, unknown
from wsgiproof.report.known import accepted, name_of, unseen
from wsgiproof.report.text import block, one_line
from wsgiproof.report.undecided import undecided

_Kind = TypeVar("_Kind", bound=FinalResult)
_NAME = "wsgiproof"
_LONGEST_MESSAGE = 500


def to_junit(record: RunRecord) -> bytes:
    """Return the run, with a test case for each planned cell and each excluded combination."""
    return written([*_cases(record)], record.started, _properties(record))


def written(cases: list[TestCase], started: str, properties: Iterable[tuple[str, str]]) -> bytes:
    """Return test cases as one suite of XML, with the names and values of its properties."""
    suite = TestSuite(_NAME)
    suite.timestamp = one_line(started)
    for name, value in properties:
        suite.add_property(one_line(name), one_line(value))
    suite.add_testcases(cases)
    _count(suite, cases)
    whole = JUnitXml(_NAME)
    whole.add_testsuite(suite)
    # The usual schema has 'skipped' for a suite only.
    whole.tests, whole.failures = suite.tests, suite.failures
    whole.errors, whole.time = suite.errors, suite.time
    buffer = BytesIO()
    whole.write(buffer)
    return buffer.getvalue()


def _cases(record: RunRecord) -> Iterator[TestCase]:
    for cell in record.cells:
        yield _cell(cell)
    for one, line in unseen(record.cells):
        gone = one.state is KnownState.GONE
        yield case_of(
            name_of(one.table), [result_of(Failure if gone else Skipped, one.state, line)]
        )
    for name in record.missing:
        why = "it was planned and never ran: the run was interrupted, or a shard is missing"
        yield case_of(name, [result_of(Error, "missing", why)])
    for excluded in record.excluded:
        yield _excluded(excluded)


def _cell(cell: CellRecord) -> TestCase:
    case = case_of(cell.cell.id, [*_results(cell)], cell.timings.get("total", 0.0))
    output = block("\n".join(_output(cell)))
    if output:
        case.system_out = output
    return case


def _results(cell: CellRecord) -> Iterator[FinalResult]:
    if cell.verdict is Verdict.SKIPPED:
        yield result_of(Skipped, "skipped", cell.reason)
    elif cell.verdict is Verdict.KNOWN:
        yield _known(cell)
    elif cell.verdict is Verdict.FAIL:
        yield from _failures(cell)
    elif cell.verdict is not Verdict.PASS:
        yield _undecided(cell)


def _failures(cell: CellRecord) -> Iterator[Failure]:
    named: set[str] = set()
    failing = [finding for finding in cell.findings if finding.known is None]
    for finding in failing:
        message = f"{finding.check}: {finding.seen}"
        yield result_of(Failure, finding.check, message, _text(finding, cell, named))
    if not failing:  # our judge never leaves them out, but a file may
        yield result_of(Failure, cell.verdict, cell.reason)


def _known(cell: CellRecord) -> Skipped:
    """One result for all findings of a cell that has only known ones, with their reasons."""
    reasons = dict.fromkeys(f"{one.check}: {accepted(one)}" for one in cell.findings)
    named: set[str] = set()
    text = "\n\n".join(_text(one, cell, named) for one in cell.findings)
    return result_of(Skipped, cell.verdict, "; ".join(reasons), text)


def _text(finding: Finding, cell: CellRecord, named: set[str]) -> str:
    lines = [
        one_line(finding.seen),
        *([f"accepted: {one_line(accepted(finding))}"] if finding.known else []),
        f"means: {one_line(finding.meaning)}",
        f"do: {one_line(finding.action)}",
        *(f"| {line}" for line in block("\n".join(finding.evidence)).split("\n") if line),
        *(f"{label}: {one_line(text)}" for label, text in explained(finding, named)),
        f"error log: {one_line(error_log(cell))}",
        f"rerun: {one_line(cell.rerun)}",
    ]
    return "\n".join(lines)


def _undecided(cell: CellRecord) -> Error:
    """The evidence that each check lacks, or the whole reason, such as a compiler's output."""
    lacks = "\n".join(_lacking(cell)) or block(cell.reason)
    text = f"{lacks}\nrerun: {one_line(cell.rerun)}"
    return result_of(Error, cell.verdict, lacks, text)


def _output(cell: CellRecord) -> Iterator[str]:
    """Lines for which the result itself has no place."""
    if planted := control(cell):
        yield one_line(f"control: {planted}")
    for number, reason in enumerate(cell.tries, 1):
        yield f"try {number} ended in an error: {one_line(reason)}"
    if cell.verdict is not Verdict.KNOWN:
        for finding in cell.findings:
            if finding.known:
                yield one_line(f"known {finding.check}: {finding.seen}: {accepted(finding)}")
    if cell.verdict is Verdict.FAIL:
        yield from _checks(cell, Verdict.FAIL)
        yield from _lacking(cell)
    yield from _checks(cell, Verdict.SKIPPED)
    yield from map(one_line, filter(None, [*unknown(cell), also(cell)]))


def _lacking(cell: CellRecord) -> Iterator[str]:
    """The undecided checks with the evidence that they lack."""
    for names, reason in undecided(cell):
        yield one_line(f"{Verdict.INCONCLUSIVE} {', '.join(names)}: {reason}")


def _checks(cell: CellRecord, verdict: Verdict) -> Iterator[str]:
    for check in cell.checks:
        if check.verdict is verdict:
            yield one_line(f"{verdict} {check.check}: {check.reason}")


def _excluded(excluded: Excluded) -> TestCase:
    name = " ".join(f"{axis}={value}" for axis, value in excluded.axes.items())
    return case_of(name, [result_of(Skipped, "excluded", excluded.reason)])


def case_of(name: str, results: list[FinalResult], seconds: float = 0.0) -> TestCase:
    """Return a test case; one without a result has passed."""
    case = TestCase(one_line(name), _NAME, round(seconds, 3))
    case.result = results
    return case


def result_of(kind: type[_Kind], sort: str, message: str, text: str = "") -> _Kind:
    """Return a failure, an error or a skip, with what is shown of it first and its whole text."""
    result = kind(one_line(message, _LONGEST_MESSAGE), one_line(sort))
    if text:
        result.text = text
    return result


def _properties(record: RunRecord) -> Iterator[tuple[str, str]]:
    yield "wsgiproof", record.wsgiproof
    yield "command", record.command
    yield "complete", "yes" if record.complete and not record.missing else "no"
    yield from record.host.items()


def _count(suite: TestSuite, cases: list[TestCase]) -> None:
    """Count each case once, however many findings it has; junitparser would count the findings."""
    kinds = Counter(type(case.result[0]) for case in cases if case.result)
    suite.tests = len(cases)
    suite.failures = kinds[Failure]
    suite.errors = kinds[Error]
    suite.skipped = kinds[Skipped]
    suite.time = round(sum(case.time or 0.0 for case in cases), 3)
