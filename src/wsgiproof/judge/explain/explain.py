"""Adds explanations from the catalog to findings, and collects the lines that nothing explains."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import msgspec

from wsgiproof.judge.explain.catalog import STACKS, SYMPTOMS, Catalog, Entry, Place
from wsgiproof.judge.explain.lines import TRACEBACK, Line, parse
from wsgiproof.judge.process_ends import is_end
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import Explanation, Finding, RestOfLog
from wsgiproof.records.observed import LogLine, Observed

_MOST_UNKNOWN = 10
"""Different lines that are kept of those that no entry matches."""
_LONGEST_TEXT = 300
_PID = re.compile(r"\s*pid ([0-9]{1,9})\b")


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """A text that an entry of the catalog matches, and where it was seen."""

    entry: Entry
    text: str
    where: str
    """In words, such as ``error log, phase stop``."""


def in_log(lines: Iterable[Line], cell: Cell, catalog: Catalog) -> tuple[Sighting, ...]:
    """Return the sightings in the error log of a cell, line by line."""

    @cache  # a log may have the same line thousands of times
    def known(text: str, phase: str) -> Entry | None:
        return catalog.find(text, Place.LOG, phase, cell=cell)

    return tuple(
        Sighting(entry=entry, text=line.text, where=f"error log, phase {line.phase}")
        for line in lines
        if (entry := known(line.text, line.phase))
    )


def explain(
    findings: Iterable[Finding], cell: Cell, observed: Observed, catalog: Catalog
) -> tuple[Finding, ...]:
    """Return the findings with their explanations, each of them once.

    An entry explains a finding if it matches the finding's evidence, or if it matches the log or an
    answer and explains the finding's check. Its conditions have to hold in the cell.
    """
    sightings = (
        *in_log(parse(observed.log), cell, catalog),
        *_in_answers(cell, observed, catalog),
    )
    died = [event for event in observed.events if event.kind == "died"]
    ended = {event.pid for event in died if is_end(observed, event)}  # a pid may come again
    deaths = {event.pid: (event.phase, event.pid in ended) for event in died}
    return tuple(
        msgspec.structs.replace(
            finding, explained=_explanations(finding, cell, catalog, sightings, deaths)
        )
        for finding in findings
    )


def rest_of_log(
    findings: Iterable[Finding], cell: Cell, log: Iterable[LogLine], catalog: Catalog
) -> RestOfLog:
    """Return what the error log holds beyond what the explained findings already report."""
    reported = {one.id for finding in findings for one in finding.explained}
    lines = tuple(parse(log))
    sightings = in_log(lines, cell, catalog)
    known = {sighting.text for sighting in sightings}
    unknown = [line.text for line in lines if line.is_error and line.text not in known]
    return RestOfLog(
        known=_by_entry([one for one in sightings if one.entry.id not in reported], sightings),
        unknown=tuple(text[:_LONGEST_TEXT] for text in dict.fromkeys(unknown))[:_MOST_UNKNOWN],
        unknown_lines=len(unknown),
        application_lines=sum(line.from_application and line.text not in known for line in lines),
    )


def _explanations(
    finding: Finding,
    cell: Cell,
    catalog: Catalog,
    sightings: tuple[Sighting, ...],
    deaths: dict[int, tuple[str, bool]],
) -> tuple[Explanation, ...]:
    own = [
        one
        for text in finding.evidence
        for one in _in_evidence(text, finding, cell, catalog, sightings, deaths)
    ]
    of_check = [one for one in sightings if finding.check in one.entry.explains]
    return _by_entry([*_without_symptoms(own), *of_check], sightings)


def _without_symptoms(own: Sequence[Sighting]) -> list[Sighting]:
    """Leave out that a process died if another of its stacks, such as that of its core file, says
    why."""

    def of_stack(one: Sighting) -> int | None:
        return _pid(one.text) if one.where.startswith(STACKS) else None

    known = {of_stack(one) for one in own if one.entry.id not in SYMPTOMS} - {None}
    return [one for one in own if one.entry.id not in SYMPTOMS or of_stack(one) not in known]


def _by_entry(
    sightings: Iterable[Sighting], all_sightings: tuple[Sighting, ...]
) -> tuple[Explanation, ...]:
    """Return one explanation for each entry, with how often it was seen in all."""
    firsts = {one.entry.id: one for one in reversed([*sightings])}
    all_ids = [one.entry.id for one in all_sightings]
    return tuple(
        Explanation(
            id=one.entry.id,
            text=one.text.strip()[:_LONGEST_TEXT],
            where=one.where,
            count=max(1, all_ids.count(one.entry.id)),
            meaning=one.entry.meaning,
            versions=one.entry.versions,
            action=one.entry.action,
            source=one.entry.source,
            whose=one.entry.whose,
        )
        for one in reversed(firsts.values())
    )


def _in_evidence(
    text: str,
    finding: Finding,
    cell: Cell,
    catalog: Catalog,
    sightings: tuple[Sighting, ...],
    deaths: dict[int, tuple[str, bool]],
) -> Iterator[Sighting]:
    """Evidence is a line of the log, with or without its prefix, a traceback, or a stack."""
    if TRACEBACK in text:
        text = text.rpartition("\n")[2]  # the exception
    if "\n" in text:
        yield from _in_stack(text, finding, cell, catalog, deaths)
        return
    (line,) = parse([LogLine(phase="", text=text)])
    in_log = [one for one in sightings if one.text == line.text]
    entry = None if in_log else catalog.find(line.text, Place.LOG, cell=cell)
    yield from in_log[:1]
    if entry:
        yield Sighting(entry=entry, text=line.text, where="error log")


def _in_stack(
    text: str, finding: Finding, cell: Cell, catalog: Catalog, deaths: dict[int, tuple[str, bool]]
) -> Iterator[Sighting]:
    """A stack begins with the pid, and the phase is that in which this process died."""
    pid = _pid(text)
    phase, at_end = ("", None) if pid is None else deaths.get(pid, ("", None))
    entry = catalog.find(
        text, Place.STACK, phase, at_end=at_end, cell=cell, beside=finding.evidence
    )
    if entry:
        where = f"{STACKS}, phase {phase}" if phase else STACKS
        first = next(filter(str.strip, text.splitlines()))
        yield Sighting(entry=entry, text=first, where=where)


def _pid(stack: str) -> int | None:
    """Return the process whose stack this is; None if it does not say."""
    found = _PID.match(stack)
    return int(found[1]) if found else None


def _in_answers(cell: Cell, observed: Observed, catalog: Catalog) -> Iterator[Sighting]:
    for failure in observed.failures:
        text = f"{failure.error}\n{failure.body}"
        entry = catalog.find(text, Place.BODY, failure.phase, cell=cell)
        if entry:
            yield Sighting(entry=entry, text=text, where=f"answer, phase {failure.phase}")
