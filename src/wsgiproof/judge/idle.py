"""The check of a server that nobody asks anything: nothing grows, nothing dies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from wsgiproof.cell import Cell
from wsgiproof.judge.finding import Outcome, count, evidence
from wsgiproof.records import Finding, Observed, PhaseName, Role, Sample

_STEPS = 3
"""Rises, without a fall, that are no chance: a monitor that connects anew makes one."""
_COUNTED = ("descriptors", "threads", "connections")


def idle(cell: Cell, observed: Observed) -> Outcome:
    """No count of any worker process goes on rising while there are no requests."""
    readings = observed.idle_samples
    died = [
        event.pid
        for event in observed.events
        if event.kind == "died" and event.role is Role.WORKER and event.phase == PhaseName.IDLE
    ]
    findings = tuple(_growing(readings))
    if findings:
        return Outcome(findings=findings)
    if len(readings) <= _STEPS:
        return Outcome(missing="the server was not watched without requests")
    if died:
        return Outcome(missing="processes died meanwhile: see crash")
    seconds = readings[-1].time - readings[0].time
    return Outcome(passed=f"nothing grew in {seconds:.0f} seconds without a request")


def _growing(readings: Sequence[Sample]) -> Iterator[Finding]:
    series: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for reading in readings:
        if reading.server_connections is not None:
            series["connections on the deployment", ""].append(reading.server_connections)
        for process in reading.processes:
            if process.role is not Role.WORKER:
                continue
            for name in _COUNTED:
                value = getattr(process, name)
                if value is not None:
                    series[name, f" of pid {process.pid}"].append(value)
    for (name, whose), values in series.items():
        if _rises(values):
            yield _finding(name, whose, values, readings[-1].time - readings[0].time)


def _rises(values: Sequence[int]) -> bool:
    steps = [after - before for before, after in pairwise(values)]
    return sum(step > 0 for step in steps) >= _STEPS and all(step >= 0 for step in steps)


def _finding(name: str, whose: str, values: Sequence[int], seconds: float) -> Finding:
    return Finding(
        check="idle",
        seen=f"{name}{whose} grew from {values[0]:,} to {values[-1]:,} in {seconds:.0f} seconds "
        "without a request",
        meaning="something that runs by itself, such as a monitor or a timer, leaks: it does so "
        "whether the application is used or not",
        action="look for background threads of the subject, and at their intervals",
        evidence=evidence(
            [f"readings: {', '.join(map(str, values))} ({count(len(values), 'one')})"]
        ),
    )
