"""The plots of a cell as data: the recorded readings, and the rates that were judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec

from wsgiproof.judge.fit import Fit, fits
from wsgiproof.judge.resources import Resource, Resources
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import Observed, Role, Sample

_MOST_SERIES = 40
"""Of one plot; a server that replaces its processes never stops starting new ones."""
_MEMORY = {
    "blocks": ("Memory: allocated blocks", "blocks", "allocated blocks"),
    "malloc": ("Memory: malloc in use", "bytes", "malloc in use"),
    "resident": ("Memory: resident", "bytes", "resident memory"),
    "mapped": ("Memory: address space", "bytes", "address space"),
}
"""The title of each metric, its unit, and the judge's name for it."""
_ORDER = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.KNOWN)
"""Checks with these verdicts have their plots first."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """The readings of one process, or of the backend."""

    name: str
    x: tuple[int, ...]
    y: tuple[int, ...]
    hidden: bool = False
    """Whether it is drawn only once a reader switches it on."""


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a plot that belongs to a phase."""

    name: str
    start: float
    end: float


class FittedRate(msgspec.Struct, frozen=True, kw_only=True):
    """The rate of a leak as a line, with the lines at both ends of its interval."""

    requests: tuple[int, int]
    line: tuple[float, float]
    least: tuple[float, float]
    most: tuple[float, float]


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """One plot over requests."""

    name: str
    check: str
    """The check that judges it."""
    title: str
    x: str
    y: str
    lines: tuple[Line, ...]
    bands: tuple[Band, ...] = ()
    fits: tuple[FittedRate, ...] = ()
    rate: str = ""
    """The rates of all fitted lines, in one sentence."""
    left_out: int = 0
    """Processes for which there was no room."""


def charts(resources: Resources, seen: Observed, verdicts: Mapping[str, Verdict]) -> list[Chart]:
    """Return a plot for each resource that was read; those that failed come first.

    ``verdicts`` has the verdict of each check.
    """
    fitted = fits(resources, seen)
    every = [*(_counted(one, seen, fitted) for one in resources.values())]
    every += [_memory(field, seen, fitted) for field in _MEMORY]
    return sorted((chart for chart in every if chart.lines), key=lambda one: _place(one, verdicts))


def _place(chart: Chart, verdicts: Mapping[str, Verdict]) -> tuple[bool, int]:
    verdict = verdicts.get(chart.check)
    return not chart.fits, _ORDER.index(verdict) if verdict in _ORDER else len(_ORDER)


def phases_in_time(seen: Observed, begin: float) -> list[Band]:
    """Return the phases, in seconds after ``begin``."""
    return [
        Band(name=one.name, start=one.started - begin, end=one.started - begin + one.seconds)
        for one in seen.phases
    ]


def _counted(resource: Resource, seen: Observed, fitted: Sequence[Fit]) -> Chart:
    lines = [
        *_by_backend(resource, seen.samples),
        *_by_process(resource, seen.samples),
        *_by_name(resource, seen.samples),
    ]
    called = [one for one in fitted if one.check == resource.check]
    return Chart(
        name=resource.check,
        check=resource.check,
        title=resource.check.capitalize(),
        x="requests served",
        y=resource.check,
        lines=tuple(lines[:_MOST_SERIES]),
        bands=_bands((one.phase, one.requests) for one in seen.samples),
        fits=_lines_of(called),
        rate=_in_words(called),
        left_out=max(0, len(lines) - _MOST_SERIES),
    )


def _by_backend(resource: Resource, samples: Sequence[Sample]) -> Iterator[Line]:
    if not resource.by_backend:
        return
    points = [(one.requests, one.counts.get(resource.by_backend)) for one in samples]
    line = _line("the deployment's count", points)
    if line is not None:
        yield line


def _by_name(resource: Resource, samples: Sequence[Sample]) -> Iterator[Line]:
    """Yield a line for each named count, except for those that are always 0."""
    for name in resource.by_name:
        points = [(one.requests, one.counts.get(name)) for one in samples]
        line = _line(name, points)
        if line is not None and any(line.y):
            yield line


def _by_process(resource: Resource, samples: Sequence[Sample]) -> list[Line]:
    """Processes that run the application first; others, such as frontends, are hidden at first."""
    if not resource.by_process:
        return []
    points: dict[tuple[bool, str, int], list[tuple[int, int | None]]] = {}
    for sample in samples:
        for reading in sample.processes:
            key = (reading.role is not Role.WORKER, reading.role.value, reading.pid)
            value = getattr(reading, resource.by_process)
            points.setdefault(key, []).append((sample.requests, value))
    lines = (
        _line(f"{role} {pid}", taken, hidden=hidden)
        for (hidden, role, pid), taken in sorted(points.items(), key=lambda item: item[0][0])
    )
    # An idle parent or frontend has no connection, and a flat line at 0 helps nobody.
    return [one for one in lines if one is not None and not (one.hidden and not any(one.y))]


def _line(name: str, points: Iterable[tuple[int, int | None]], hidden: bool = False) -> Line | None:
    read = [(at, value) for at, value in points if value is not None]
    if not read:
        return None
    x, y = zip(*read, strict=True)
    return Line(name=name, x=x, y=y, hidden=hidden)


def _memory(field: str, seen: Observed, fitted: Sequence[Fit]) -> Chart:
    title, unit, metric = _MEMORY[field]
    points: dict[int, list[tuple[int, int | None]]] = {}
    moments: list[tuple[str, int]] = []
    for sample in seen.samples:
        for reading in sample.memory:
            points.setdefault(reading.pid, []).append((reading.requests, getattr(reading, field)))
            moments.append((sample.phase, reading.requests))
    lines = [one for pid, taken in points.items() if (one := _line(f"worker {pid}", taken))]
    called = [one for one in fitted if one.check == "memory" and one.what.startswith(metric)]
    return Chart(
        name=field,
        check="memory",
        title=title,
        x="requests that this process has answered",
        y=unit,
        lines=tuple(lines[:_MOST_SERIES]),
        # Several processes are not at the same number of requests when a phase begins.
        bands=_bands(moments) if len(points) == 1 else (),
        fits=_lines_of(called),
        rate=_in_words(called),
        left_out=max(0, len(lines) - _MOST_SERIES),
    )


def _lines_of(fitted: Iterable[Fit]) -> tuple[FittedRate, ...]:
    return tuple(
        FittedRate(requests=one.requests, line=one.line, least=one.least, most=one.most)
        for one in fitted
    )


def _in_words(fitted: Sequence[Fit]) -> str:
    """One sentence for all processes in which a resource leaks."""
    if len(fitted) < 2:
        return "".join(f"{one.what}: {one.text}" for one in fitted)
    rates = sorted(one.rate for one in fitted)
    ends = " to ".join(dict.fromkeys(f"{rate:,.3g}" for rate in (rates[0], rates[-1])))
    unit = fitted[0].unit.removesuffix("s") + "s"
    return f"{ends} {unit} per request in each of {len(fitted)} processes"


def _bands(moments: Iterable[tuple[str, int]]) -> tuple[Band, ...]:
    """Each phase, from the last reading of the phase before to its own last one."""
    bands: list[Band] = []
    for name, taken in groupby(moments, key=lambda moment: moment[0]):
        requests = [at for _, at in taken]
        start = bands[-1].end if bands else requests[0]
        bands.append(Band(name=name, start=start, end=requests[-1]))
    return tuple(bands)


def load_over_time(seen: Observed, begin: float) -> dict[str, Any] | None:
    """Return latency and throughput over time, in milliseconds and requests per second.

    Times are in seconds after ``begin``; None if no request ended.
    """
    load = seen.load_timeline
    if load is None:
        return None
    middles = [load.started - begin + (n + 0.5) * load.width for n in range(len(load.requests))]
    return {
        "width": load.width,
        "x": [round(one, 3) for one in middles],
        "requests": [one / load.width for one in load.requests],
        "failed": [one / load.width for one in load.failed],
        **{
            name: [one / 1e3 if one else None for one in getattr(load, name)]
            for name in ("p50", "p99", "longest")
        },
        "bands": phases_in_time(seen, begin),
    }
