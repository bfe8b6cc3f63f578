"""What the plots of a cell show: readings as they are recorded, and the lines that were judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from wsgiproof.judge.fit import Fit, fits
from wsgiproof.judge.leaks import RESOURCES, Resource
from wsgiproof.records import Observed, Role, Sample

_MOST_SERIES = 40
"""Of one plot; a server that replaces its processes has new ones for ever."""
_MEMORY = {
    "blocks": ("Memory: allocated blocks", "blocks", "allocated blocks"),
    "malloc": ("Memory: malloc in use", "bytes", "malloc in use"),
    "uss": ("Memory: unique set size", "bytes", "unique set size"),
}
"""Each metric with its title, its unit, and what the judge calls it."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """The readings of one process, or of the deployment."""

    name: str
    x: tuple[int, ...]
    y: tuple[int, ...]
    beside: bool = False
    """Whether it is shown only if it is asked for."""


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a plot that belongs to a phase."""

    name: str
    start: float
    end: float


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """One plot over requests."""

    name: str
    title: str
    x: str
    y: str
    lines: tuple[Line, ...]
    bands: tuple[Band, ...] = ()
    fits: tuple[Fit, ...] = ()
    left_out: int = 0
    """Processes for which there was no room."""


def charts(seen: Observed) -> list[Chart]:
    """A plot for each resource of which there is a reading."""
    fitted = fits(seen)
    every = [*(_counted(one, seen, fitted) for one in RESOURCES.values())]
    every += [_memory(field, seen, fitted) for field in _MEMORY]
    return [chart for chart in every if chart.lines]


def phases_in_time(seen: Observed, begin: float) -> list[Band]:
    """The phases, in seconds after ``begin``."""
    return [
        Band(name=one.name, start=one.started - begin, end=one.started - begin + one.seconds)
        for one in seen.phases
    ]


def _counted(resource: Resource, seen: Observed, fitted: Sequence[Fit]) -> Chart:
    lines = [*_by_server(resource, seen.samples), *_by_process(resource, seen.samples)]
    return Chart(
        name=resource.check,
        title=resource.check.capitalize(),
        x="requests served",
        y=resource.check,
        lines=tuple(lines[:_MOST_SERIES]),
        bands=_bands((one.phase, one.requests) for one in seen.samples),
        fits=tuple(one for one in fitted if one.check == resource.check),
        left_out=max(0, len(lines) - _MOST_SERIES),
    )


def _by_server(resource: Resource, samples: Sequence[Sample]) -> Iterator[Line]:
    if not resource.by_server:
        return
    points = [(one.requests, getattr(one, resource.by_server)) for one in samples]
    line = _line("the deployment's count", points)
    if line is not None:
        yield line


def _by_process(resource: Resource, samples: Sequence[Sample]) -> list[Line]:
    """Those that run the application first; others, such as frontends, are not shown at once."""
    if not resource.by_process:
        return []
    points: dict[tuple[bool, str, int], list[tuple[int, int | None]]] = {}
    for sample in samples:
        for reading in sample.processes:
            key = (reading.role is not Role.WORKER, reading.role.value, reading.pid)
            value = getattr(reading, resource.by_process)
            points.setdefault(key, []).append((sample.requests, value))
    lines = (
        _line(f"{role} {pid}", taken, beside=beside)
        for (beside, role, pid), taken in sorted(points.items(), key=lambda item: item[0][0])
    )
    # An idle parent or frontend has no connection: a flat line at 0 tells nothing.
    return [one for one in lines if one is not None and not (one.beside and not any(one.y))]


def _line(name: str, points: Iterable[tuple[int, int | None]], beside: bool = False) -> Line | None:
    read = [(at, value) for at, value in points if value is not None]
    if not read:
        return None
    x, y = zip(*read, strict=True)
    return Line(name=name, x=x, y=y, beside=beside)


def _memory(field: str, seen: Observed, fitted: Sequence[Fit]) -> Chart:
    title, unit, metric = _MEMORY[field]
    points: dict[int, list[tuple[int, int | None]]] = {}
    moments: list[tuple[str, int]] = []
    for sample in seen.samples:
        for reading in sample.memory:
            points.setdefault(reading.pid, []).append((reading.requests, getattr(reading, field)))
            moments.append((sample.phase, reading.requests))
    lines = [one for pid, taken in points.items() if (one := _line(f"worker {pid}", taken))]
    return Chart(
        name=field,
        title=title,
        x="requests that this process has answered",
        y=unit,
        lines=tuple(lines[:_MOST_SERIES]),
        # Several processes are not at the same number of requests when a phase begins.
        bands=_bands(moments) if len(points) == 1 else (),
        fits=tuple(one for one in fitted if one.check == "memory" and one.what.startswith(metric)),
        left_out=max(0, len(lines) - _MOST_SERIES),
    )


def _bands(moments: Iterable[tuple[str, int]]) -> tuple[Band, ...]:
    """From the last reading of the phase before to its own last one."""
    bands: list[Band] = []
    for name, taken in groupby(moments, key=lambda moment: moment[0]):
        requests = [at for _, at in taken]
        start = bands[-1].end if bands else requests[0]
        bands.append(Band(name=name, start=start, end=requests[-1]))
    return tuple(bands)


def pace(seen: Observed, begin: float) -> dict[str, Any] | None:
    """Latency and throughput over time, in milliseconds and requests each second."""
    told = seen.load_timeline
    if told is None:
        return None
    middles = [told.started - begin + (n + 0.5) * told.width for n in range(len(told.requests))]
    return {
        "width": told.width,
        "x": [round(one, 3) for one in middles],
        "requests": [one / told.width for one in told.requests],
        "failed": [one / told.width for one in told.failed],
        **{
            name: [one / 1e3 if one else None for one in getattr(told, name)]
            for name in ("p50", "p99", "longest")
        },
        "bands": phases_in_time(seen, begin),
    }
