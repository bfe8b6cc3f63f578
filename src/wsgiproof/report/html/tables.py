"""Lists of a record as tables, including lists that this page does not know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from wsgiproof.records.observed import Identity, Observed
from wsgiproof.report.html.outline import outline
from wsgiproof.report.text import excerpt

_ELSEWHERE = {
    "plan",
    "urls",
    "phases",
    "identities",
    "samples",
    "full_pools",
    "settled",
    "events",
    "log",
    "fatal_traces",
    "stacks",
    "stop",
    "latencies",
    "load_timeline",
    "workers",
    "restarts",
    "outages",
    "idle_samples",
}
"""Fields that a page shows in another form."""
_TITLES = {
    "loaded": "Interpreters that ended before they answered",
    "leftover_threads": "Threads still running after the exit handlers of their interpreter",
    "failures": "Requests that failed",
    "problems": "Values changed by a round trip",
    "confirmations": "With all pools full",
    "socket_origins": "Where sockets were opened that stay open",
    "attributions": "By requests to one URL alone",
    "object_growth": "What grew inside",
}
_MOST_ROWS = 60
_LINES = (200, 50)
"""Lines of a text in a table that are shown, from its beginning and from its end."""
_MOMENTS = {"time", "started"}


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table of texts and numbers."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    left_out: int = 0


def tables(seen: Observed, begin: float) -> Iterator[Table]:
    """Yield a table for each list that is not empty and is not shown in another form.

    So the list of a new phase is shown without a change here. Moments are seconds after ``begin``.
    """
    for field in seen.__struct_fields__:
        items = getattr(seen, field)
        if field in _ELSEWHERE or not isinstance(items, tuple) or not items:
            continue
        title = _TITLES.get(field, field.replace("_", " ").capitalize())
        yield _table(title, items, begin)


def interpreters(seen: Observed) -> Table:
    """Return each interpreter as it described itself."""
    return Table(
        title="Interpreters",
        head=("process", "interpreter", "process group", "answers", "threads", "GIL", "Python",
              "mod_wsgi", "subject"),
        rows=[_interpreter(one) for one in seen.identities[:_MOST_ROWS]],
        left_out=max(0, len(seen.identities) - _MOST_ROWS),
    )  # fmt: skip


def answers(seen: Observed) -> dict[str, Any]:
    """Return the number of requests that each interpreter of each process answered."""
    groups = list(dict.fromkeys(map(_group, seen.identities)))
    pids = list(dict.fromkeys(one.pid for one in seen.identities))
    counts: dict[int, dict[str, int]] = {pid: {} for pid in pids}
    for one in seen.identities:
        row = counts[one.pid]
        row[_group(one)] = row.get(_group(one), 0) + one.answers
    return {
        "interpreters": groups,
        "processes": [
            {"pid": pid, "answers": [counts[pid].get(group, 0) for group in groups]}
            for pid in pids[:_MOST_ROWS]
        ],
        "left_out": max(0, len(pids) - _MOST_ROWS),
    }


def _group(one: Identity) -> str:
    return one.application_group or one.url.rpartition("/")[2]


def _interpreter(one: Identity) -> tuple[Any, ...]:
    return (
        one.pid,
        _group(one),
        one.process_group or "(embedded)",
        one.answers,
        one.threads,
        one.gil or ("yes" if one.gil_enabled else "none"),
        one.python,
        one.mod_wsgi or "?",
        ", ".join(f"{name} {_shown(value)}" for name, value in one.subject.items()),
    )


def _table(title: str, items: tuple[Any, ...], begin: float) -> Table:
    left_out = max(0, len(items) - _MOST_ROWS)
    if not isinstance(items[0], msgspec.Struct):
        rows: list[tuple[Any, ...]] = [(_shown(one),) for one in items[:_MOST_ROWS]]
        return Table(title=title, head=("",), rows=rows, left_out=left_out)
    head = items[0].__struct_fields__
    rows = [
        tuple(_shown(_since(begin, name, getattr(one, name, ""))) for name in head)
        for one in items[:_MOST_ROWS]
    ]
    names = tuple(name.replace("_", " ") for name in head)
    return Table(title=title, head=names, rows=rows, left_out=left_out)


def _since(begin: float, name: str, value: Any) -> Any:
    """A moment of CLOCK_MONOTONIC as seconds after the beginning; any other value unchanged."""
    return value - begin if name in _MOMENTS and isinstance(value, float) else value


def _shown(value: Any) -> Any:
    """A rounded number, or bounded text."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return excerpt(outline(value), *_LINES)
    return round(value, 3)
