"""What is known of a finding, and what nobody knows: the same words in each report."""

from __future__ import annotations

from collections.abc import Iterator

from wsgiproof.judge.finding import count
from wsgiproof.records import CellRecord, Explanation, Finding, Verdict


def explained(finding: Finding, told: set[str]) -> Iterator[tuple[str, str]]:
    """Lines, each with its label. What was ``told`` already is named only; what is told is added.

    What a finding of the check ``error-log`` says itself is not said twice.
    """
    for one in finding.explained:
        if one.id in told:
            yield "known", f"{one.id}, as above"
            continue
        told.add(one.id)
        yield "known", f"{one.id} ({one.where}): {one.text}"
        if one.meaning != finding.meaning:
            yield "means", one.meaning
            yield "do", one.action
        yield "versions", one.versions
        yield "see", one.source


def unknown(cell: CellRecord) -> Iterator[str]:
    """The lines of the error log that tell of an error and that nobody knows."""
    rest = cell.rest_of_log
    if rest is None or not rest.unknown:
        return
    for line in rest.unknown:
        yield f"not known to wsgiproof: {line}"
    if rest.unknown_lines > len(rest.unknown):
        yield f"not known to wsgiproof: {count(rest.unknown_lines, 'line')} in all, see error.log"


def also(cell: CellRecord) -> str:
    """What else is in the error log of a cell that failed; empty if nothing is."""
    rest = cell.rest_of_log
    if rest is None or cell.verdict is not Verdict.FAIL:
        return ""
    parts = [f"{one.id} ({_times(one)})" for one in rest.known]
    if rest.application_lines:
        parts.append(f"{count(rest.application_lines, 'line')} of the application")
    return f"also in the error log: {', '.join(parts)}" if parts else ""


def _times(one: Explanation) -> str:
    return f"{one.count:,} x"
