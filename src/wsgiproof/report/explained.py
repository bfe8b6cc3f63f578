"""What the catalog knows about a finding, and the log lines it does not know, for every report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from wsgiproof.judge.finding import count
from wsgiproof.records.judgement import Explanation, Finding, Verdict
from wsgiproof.records.run import CellRecord


def explained(finding: Finding, named: set[str]) -> Iterator[tuple[str, str]]:
    """Yield the explanations of a finding as lines, each with its label.

    An entry that is in ``named`` gets one short line; any other one is added to ``named``. What a
    finding of the check ``error-log`` says itself is not repeated.
    """
    for one in finding.explained:
        if one.id in named:
            yield "known", f"{one.id}, as above"
            continue
        named.add(one.id)
        yield "known", f"{one.id} ({one.where}): {one.text}"
        if one.meaning != finding.meaning:
            yield "means", one.meaning
            yield "do", one.action
        yield "versions", one.versions
        if one.whose:
            yield "whose bug", one.whose
        yield "see", one.source


def control(cell: CellRecord) -> str:
    """Return that the application was changed on purpose; empty if it was not."""
    name = cell.cell.control
    if not name:
        return ""
    return (
        f"'{name}' changes the application on purpose, so what is found may be planted; "
        f"'wsgiproof explain {name}' says what it does"
    )


def error_log(cell: CellRecord, output: str = "") -> str:
    """Return the path of a cell's error log.

    ``output`` is the directory of its run, its own directory, or its record.
    """
    where = PurePath(output)
    if where.name == "cell.json":
        return str(where.with_name("error.log"))
    if where.name == PurePath(cell.directory).name:
        return str(where / "error.log")
    return str(where / cell.directory / "error.log")


def unknown(cell: CellRecord) -> Iterator[str]:
    """Yield the lines of the error log that report an error and that are in no entry."""
    rest = cell.rest_of_log
    if rest is None or not rest.unknown:
        return
    for line in rest.unknown:
        yield f"not known to wsgiproof: {line}"
    if rest.unknown_lines > len(rest.unknown):
        yield f"not known to wsgiproof: {count(rest.unknown_lines, 'line')} in all, see error.log"


def also(cell: CellRecord) -> str:
    """Return what else is in the error log of a failed cell; empty if nothing is."""
    rest = cell.rest_of_log
    if rest is None or cell.verdict is not Verdict.FAIL:
        return ""
    parts = [f"{one.id} ({_times(one)})" for one in rest.known]
    if rest.application_lines:
        parts.append(f"{count(rest.application_lines, 'line')} of the application")
    return f"also in the error log: {', '.join(parts)}" if parts else ""


def _times(one: Explanation) -> str:
    return f"{one.count:,} x"
