"""A matrix before its run: for people, for scripts, and as the jobs of CI systems."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from wsgiproof.errors import UsageError
from wsgiproof.records.cell import Cell
from wsgiproof.records.listed import Environment, Listed, ListedCell, Resolved
from wsgiproof.records.plan import LoadPlan
from wsgiproof.records.run import Excluded

MOST_JOBS = {"github": 256, "gitlab": 200, "evergreen": 1000}
"""Jobs of one matrix of GitHub ("Running variations of jobs in a workflow"), and tasks that one
version of Evergreen may generate ("Project Commands"). 200 is a limit of our own: GitLab's depends
on the instance and its plan."""
_SET_UP = 1800
"""Seconds for a machine to be set up, and for builds."""


def show_matrix(console: Console, cells: Sequence[Cell], excluded: Sequence[Excluded]) -> None:
    """Print the cells in their order, then the excluded combinations by their reasons."""
    # In one piece: rich takes longer for each of its texts than it does for their lines.
    console.print(Text("\n".join(cell.id for cell in cells)), soft_wrap=True)
    by_reason: dict[str, list[Excluded]] = defaultdict(list)
    for one in excluded:
        by_reason[one.reason].append(one)
    for reason, left_out in by_reason.items():
        console.print(Text.assemble("\n", (f"{len(left_out)} left out: ", "bold"), reason))
        lines = (" ".join(filter(None, one.axes.values())) for one in left_out)
        console.print(Text("\n".join(f"  {one}" for one in lines), style="dim"), soft_wrap=True)
    total = len(cells) + len(excluded)
    line = f"\n{len(cells)} of {total} combinations are cells, {len(excluded)} are left out."
    console.print(Text(line), soft_wrap=True)


def as_listed(
    cells: Sequence[Cell],
    excluded: Sequence[Excluded],
    resolved: Sequence[Resolved],
    environments: Sequence[Environment] = (),
) -> Listed:
    """Return the list for scripts, and for ``--plan``."""
    return Listed(
        cells=tuple(ListedCell(id=cell.id, axes=cell.axes) for cell in cells),
        excluded=tuple(excluded),
        resolved=tuple(resolved),
        environments=tuple(environments),
    )


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """What one machine runs."""

    number: int
    """From 1."""
    cells: tuple[str, ...]
    """Their ids, in their order."""
    minutes: int
    """After how long the job has to be ended."""


def for_github(shards: Sequence[Shard]) -> dict[str, Any]:
    """Return the value of ``strategy.matrix``: each entry has a ``shard``, its ``cells``, and
    ``minutes`` for ``timeout-minutes``."""
    return {
        "include": [
            {"shard": one.number, "cells": " ".join(one.cells), "minutes": one.minutes}
            for one in shards
        ]
    }


def for_gitlab(shards: Sequence[Shard]) -> str:
    """Return the jobs of a child pipeline in YAML (of which JSON strings are a part).

    ``parallel:matrix`` would put the values into the name of each job, and GitLab makes no
    pipeline at all if a name has more than 255 characters (GitLab's issue 353024).
    """
    lines = []
    for one in shards:
        lines += [
            f"wsgiproof-{one.number}:",
            "  extends: .wsgiproof",
            f"  timeout: {one.minutes} minutes",
            "  variables:",
            f'    SHARD: "{one.number}"',
            f"    CELLS: {_quoted(' '.join(one.cells))}",
        ]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def deal(
    plans: Mapping[str, LoadPlan], system: str, shards: int | None, retries: int = 0
) -> list[Shard]:
    """Deal cells to so many machines of a CI system; without a number, to one each.

    ``plans`` has the load of each cell by its id, in the order in which they will run, and each may
    be tried again ``retries`` times. Raises
    :class:`UsageError` for a number of ``shards`` that the system does not take.
    """
    ids = [*plans]
    number = len(ids) if shards is None else shards
    if not 1 <= number <= MOST_JOBS[system]:
        raise UsageError(f"--shards {number}: there may be from 1 to {MOST_JOBS[system]} jobs")
    dealt = [ids[start::number] for start in range(min(number, len(ids)))]
    return [
        Shard(
            number=place,
            cells=tuple(its),
            minutes=_minutes([plans[id] for id in its] * (1 + retries)),
        )
        for place, its in enumerate(dealt, 1)
    ]


def _minutes(plans: Iterable[LoadPlan]) -> int:
    """Return how long a job may take that runs cells of these loads one after the other."""
    return math.ceil((_SET_UP + sum(plan.most_seconds for plan in plans)) / 60)
