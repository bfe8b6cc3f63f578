"""A matrix before its run: for people, for scripts, and as the jobs of CI systems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from wsgiproof.errors import UsageError
from wsgiproof.records.cell import Cell
from wsgiproof.records.listed import Listed, ListedCell, Resolved
from wsgiproof.records.run import Excluded

_MOST_OF_GITHUB = 256
"""Jobs of one matrix (GitHub's documentation, "Running variations of jobs in a workflow")."""
_MOST_OF_GITLAB = 200
"""A limit of our own: GitLab's depends on the instance and its plan."""


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
    cells: Sequence[Cell], excluded: Sequence[Excluded], resolved: Sequence[Resolved]
) -> Listed:
    """Return the list for scripts, and for ``--plan``."""
    return Listed(
        cells=tuple(ListedCell(id=cell.id, axes=cell.axes) for cell in cells),
        excluded=tuple(excluded),
        resolved=tuple(resolved),
    )


def for_github(cells: Sequence[Cell], shards: int | None) -> dict[str, Any]:
    """Return the value of ``strategy.matrix``: each entry has a ``shard`` and its ``cells``.

    Raises :class:`UsageError` for a number of ``shards`` that GitHub does not take.
    """
    dealt = _deal(cells, shards, _MOST_OF_GITHUB)
    return {
        "include": [
            {"shard": number, "cells": " ".join(ids)} for number, ids in enumerate(dealt, 1)
        ]
    }


def for_gitlab(cells: Sequence[Cell], shards: int | None) -> str:
    """Return the jobs of a child pipeline in YAML (of which JSON strings are a part).

    ``parallel:matrix`` would put the values into the name of each job, and GitLab makes no
    pipeline at all if a name has more than 255 characters (GitLab's issue 353024). Raises
    :class:`UsageError` for a number of ``shards`` that is too large.
    """
    lines = []
    for number, ids in enumerate(_deal(cells, shards, _MOST_OF_GITLAB), 1):
        lines += [
            f"wsgiproof-{number}:",
            "  extends: .wsgiproof",
            "  variables:",
            f'    SHARD: "{number}"',
            f"    CELLS: {_quoted(' '.join(ids))}",
        ]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _deal(cells: Sequence[Cell], shards: int | None, most: int) -> list[list[str]]:
    """The ids for each machine, in the order of the cells."""
    number = len(cells) if shards is None else shards
    if not 1 <= number <= most:
        raise UsageError(f"--shards {number}: there may be from 1 to {most} jobs")
    dealt = [[cell.id for cell in cells[start::number]] for start in range(number)]
    return [ids for ids in dealt if ids]
