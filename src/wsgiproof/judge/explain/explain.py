"""Findings and what is known of their evidence, brought together; and what nobody knows, kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache

import msgspec

from wsgiproof.judge.explain.catalog import Entry, Place, find
from wsgiproof.judge.explain.lines import Line, parse
from wsgiproof.records import Explanation, Finding, LogLine, Observed, RestOfLog

_MOST_UNKNOWN = 10
"""Different lines that are kept of those that nobody knows."""
_LONGEST_TEXT = 300
_PID = re.compile(r"\s*pid ([0-9]{1,9})\b")


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """A text that is known, and where it was seen."""

    entry: Entry
    text: str
    where: str
    """In words, such as ``error log, phase stop``."""


def in_log(lines: Iterable[Line]) -> tuple[Sighting, ...]:
    """What is known of the lines of an error log, line by line."""
    known = cache(find)  # the same line may be there thousands of times
    return tuple(
        Sighting(entry=entry, text=line.text, where=f"error log, phase {line.phase}")
        for line in lines
        if (entry := known(line.text, Place.LOG, line.phase))
    )


def explain(findings: Iterable[Finding], observed: Observed) -> tuple[Finding, ...]:
    """Each finding with what is known of it, each thing once.

    That is what matches its own evidence, and what was seen anywhere in the log and in the answers
    and belongs to its check.
    """
    seen = (*in_log(parse(observed.log)), *_in_answers(observed))
    deaths = {event.pid: event.phase for event in observed.events if event.kind == "died"}
    return tuple(
        msgspec.structs.replace(finding, explained=_explanations(finding, seen, deaths))
        for finding in findings
    )


def rest_of_log(findings: Iterable[Finding], log: Iterable[LogLine]) -> RestOfLog:
    """What the error log holds beside what the findings, which are explained, tell of."""
    told = {one.id for finding in findings for one in finding.explained}
    lines = tuple(parse(log))
    seen = in_log(lines)
    known = {sighting.text for sighting in seen}
    unknown = [line.text for line in lines if line.is_error and line.text not in known]
    return RestOfLog(
        known=_gathered([sighting for sighting in seen if sighting.entry.id not in told], seen),
        unknown=tuple(text[:_LONGEST_TEXT] for text in dict.fromkeys(unknown))[:_MOST_UNKNOWN],
        unknown_lines=len(unknown),
        application_lines=sum(line.from_application and line.text not in known for line in lines),
    )


def _explanations(
    finding: Finding, seen: tuple[Sighting, ...], deaths: dict[int, str]
) -> tuple[Explanation, ...]:
    own = [sighting for text in finding.evidence for sighting in _in_evidence(text, seen, deaths)]
    elsewhere = [one for one in seen if finding.check in one.entry.explains]
    return _gathered([*own, *elsewhere], seen)


def _gathered(
    sightings: Iterable[Sighting], all_seen: tuple[Sighting, ...]
) -> tuple[Explanation, ...]:
    """One explanation for each entry, with how often it was seen in the whole log."""
    firsts = {one.entry.id: one for one in reversed([*sightings])}
    in_all = [one.entry.id for one in all_seen]
    return tuple(
        Explanation(
            id=one.entry.id,
            text=one.text.strip()[:_LONGEST_TEXT],
            where=one.where,
            count=max(1, in_all.count(one.entry.id)),
            meaning=one.entry.meaning,
            versions=one.entry.versions,
            action=one.entry.action,
            source=one.entry.source,
        )
        for one in reversed(firsts.values())
    )


def _in_evidence(
    text: str, seen: tuple[Sighting, ...], deaths: dict[int, str]
) -> Iterator[Sighting]:
    """Evidence is a line of the log, as it is or without its prefix, or a stack of many lines."""
    if "\n" in text:
        yield from _in_stack(text, deaths)
        return
    (line,) = parse([LogLine(phase="", text=text)])
    there = [sighting for sighting in seen if sighting.text == line.text]
    entry = None if there else find(line.text, Place.LOG)
    yield from there[:1]
    if entry:
        yield Sighting(entry=entry, text=line.text, where="error log")


def _in_stack(text: str, deaths: dict[int, str]) -> Iterator[Sighting]:
    """Last words begin with the pid; its death tells the phase."""
    pid = _PID.match(text)
    phase = deaths.get(int(pid[1]), "") if pid else ""
    entry = find(text, Place.STACK, phase)
    if entry:
        where = f"stacks, phase {phase}" if phase else "stacks"
        first = next(filter(str.strip, text.splitlines()))
        yield Sighting(entry=entry, text=first, where=where)


def _in_answers(observed: Observed) -> Iterator[Sighting]:
    for failure in observed.failures:
        text = f"{failure.error}\n{failure.body}"
        entry = find(text, Place.BODY, failure.phase)
        if entry:
            yield Sighting(entry=entry, text=text, where=f"answer, phase {failure.phase}")
