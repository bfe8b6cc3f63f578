"""The check of an idle server: no count and no memory grows, and no process dies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from wsgiproof.judge.finding import Check, Outcome, count, evidence
from wsgiproof.judge.resources import Resources
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import Observed, Role, Sample
from wsgiproof.records.plan import PhaseName

_STEPS = 3
"""Rises without a fall that can't be coincidence; a monitor that reconnects makes one."""
_COUNTED = ("descriptors", "threads", "connections")
_MEMORY = {"resident": "resident memory", "mapped": "address space"}
_LEAST_MEMORY = 256 * 1024
"""Bytes by which memory has to rise: a thread that wakes up touches a few pages at first."""


def idle(resources: Resources) -> Check:
    """Return the check of an idle server, of which these resources are counted."""

    def check(cell: Cell, observed: Observed) -> Outcome:
        """No count and no memory of a worker process keeps rising while there are no requests."""
        return _check(resources, observed)

    return check


def _check(resources: Resources, observed: Observed) -> Outcome:
    samples = observed.idle_samples
    died = [
        event.pid
        for event in observed.events
        if event.kind == "died" and event.role is Role.WORKER and event.phase == PhaseName.IDLE
    ]
    findings = tuple(_growing(resources, samples))
    if findings:
        return Outcome(findings=findings)
    if len(samples) <= _STEPS:
        return Outcome(
            missing=f"{count(len(samples), 'sample')} of the idle server; at least {_STEPS + 1} "
            "are needed"
        )
    if died:
        return Outcome(
            missing=f"{count(len(died), 'worker process', 'worker processes')} died while the "
            "server was idle: see the check crash"
        )
    seconds = samples[-1].time - samples[0].time
    return Outcome(passed=f"nothing grew in {seconds:.0f} seconds without a request")


def _growing(resources: Resources, samples: Sequence[Sample]) -> Iterator[Finding]:
    series: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for sample in samples:
        for name, whose, value in _values(resources, sample):
            if value is not None:
                series[name, whose].append(value)
    for (name, whose), values in series.items():
        of_memory = name in _MEMORY.values()
        rises = _rises_but_for_one(values) if of_memory else _rises(values)
        if rises and values[-1] - values[0] > (_LEAST_MEMORY if of_memory else 0):
            yield _finding(name, whose, values, samples[-1].time - samples[0].time)


def _values(resources: Resources, sample: Sample) -> Iterator[tuple[str, str, int | None]]:
    """Yield every value of a sample that has to stay constant: its name, whose it is, and it."""
    yield "connections on the deployment", "", sample.connections
    for process in sample.processes:
        if process.role is Role.WORKER:
            for name in _COUNTED:
                yield name, f" of pid {process.pid}", getattr(process, name)
    for resource in resources.values():
        for name in resource.by_name:
            yield name, "", sample.counts.get(name)
    for one in sample.memory:
        for field, name in _MEMORY.items():
            yield name, f" of pid {one.pid}", getattr(one, field)


def _rises(values: Sequence[int]) -> bool:
    steps = [after - before for before, after in pairwise(values)]
    return sum(step > 0 for step in steps) >= _STEPS and all(step >= 0 for step in steps)


def _rises_but_for_one(values: Sequence[int]) -> bool:
    """Return whether memory rises, if need be without one sample. In the records of earlier
    versions one may have five million bytes more than those before and after it: they have the
    unique set size, which depends on other processes."""
    without_one = ([*values[:one], *values[one + 1 :]] for one in range(len(values)))
    return any(map(_rises, (values, *without_one)))


def _finding(name: str, whose: str, values: Sequence[int], seconds: float) -> Finding:
    return Finding(
        check="idle",
        seen=f"{name}{whose} grew from {values[0]:,} to {values[-1]:,} in {seconds:.0f} seconds "
        "without a request",
        meaning="something in the background, such as a monitor or a timer, leaks whether the "
        "application is used or not",
        action="look at the background threads of the subject and their intervals",
        evidence=evidence(
            [f"{count(len(values), 'sample')}: {', '.join(map(str, values))}"],
        ),
    )
