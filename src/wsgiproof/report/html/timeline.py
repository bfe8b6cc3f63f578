"""The lives of the server's processes: when each was born, and how it ended."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from wsgiproof.judge.finding import count, signal_name
from wsgiproof.judge.lifecycle import is_crash
from wsgiproof.records.cell import Cell
from wsgiproof.records.observed import Event, Observed, Role
from wsgiproof.records.plan import PhaseName
from wsgiproof.report.html.charts import phases_in_time

_MOST = 80
"""Processes that have a line of their own."""
_ORDER = [Role.PARENT, Role.WORKER, Role.HELPER, Role.FRONTEND]


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """One process. Times are seconds after the beginning; None where nobody saw it."""

    pid: int
    role: str
    born: float | None
    died: float | None
    phase: str = ""
    """The phase in which it ended."""
    how: str = ""
    """``died of SIGSEGV (signal 11)``, ``exited with 0``; empty while it lives."""
    outcome: str = ""
    """``crash``, ``replaced`` (before the stop, and meant to be) or ``ended``."""


def beginning(seen: Observed) -> float:
    """Return the moment from which a page counts its seconds (CLOCK_MONOTONIC)."""
    moments = [one.started for one in seen.phases] + [one.time for one in seen.events]
    return min(moments, default=0.0)


def timeline(cell: Cell, seen: Observed) -> dict[str, Any]:
    """Return a line for each process, and a sentence for frontends in which nothing happened."""
    begin = beginning(seen)
    lives = sorted(_lives(cell, seen, begin), key=_place)
    quiet = [one for one in lives if one.role == Role.FRONTEND and one.outcome != "crash"]
    shown = [one for one in lives if one not in quiet][:_MOST]
    return {
        "lives": shown,
        "others": _in_words(quiet),
        "left_out": len(lives) - len(quiet) - len(shown),
        "bands": phases_in_time(seen, begin),
        "stop": _stop(seen),
    }


def _place(life: Life) -> tuple[int, float, int]:
    return _ORDER.index(Role(life.role)), life.born or 0.0, life.pid


def _lives(cell: Cell, seen: Observed, begin: float) -> list[Life]:
    """The kernel may use a pid again, so a birth after a death is another process."""
    lives: list[Life] = []
    living: dict[int, int] = {}
    for event in seen.events:
        if event.kind == "born":
            living[event.pid] = len(lives)
            born = event.time - begin
            lives.append(Life(pid=event.pid, role=event.role.value, born=born, died=None))
            continue
        number = living.pop(event.pid, None)
        if number is None:
            number = len(lives)
            lives.append(Life(pid=event.pid, role=event.role.value, born=None, died=None))
        lives[number] = _ended(cell, seen, lives[number], event, begin)
    return lives


def _ended(cell: Cell, seen: Observed, life: Life, event: Event, begin: float) -> Life:
    if is_crash(cell, seen, event) and event.role is not Role.HELPER:
        outcome = "crash"
    else:
        outcome = "ended" if event.phase == PhaseName.STOP else "replaced"
    return msgspec.structs.replace(
        life, died=event.time - begin, phase=event.phase, how=_how(event), outcome=outcome
    )


def _how(event: Event) -> str:
    if event.signal is not None:
        return f"died of {signal_name(event.signal)}"
    return "ended, it is not known how" if event.exit is None else f"exited with {event.exit}"


def _in_words(quiet: list[Life]) -> str:
    """One sentence for processes that have no line of their own."""
    if not quiet:
        return ""
    ends = Counter(one.how or "not seen to end" for one in quiet)
    how_many = ", ".join(f"{number:,} {how}" for how, number in ends.most_common())
    return f"{count(len(quiet), 'frontend process', 'frontend processes')}: {how_many}"


def _stop(seen: Observed) -> str:
    if seen.stop is None:
        return ""
    left = seen.stop.leftover
    killed = f"; {count(len(left), 'process', 'processes')} had to be killed" if left else ""
    return f"The server was gone {seen.stop.seconds:.1f} seconds after the stop{killed}."
