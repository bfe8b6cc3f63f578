"""Judging the recorded cells of a run again. Reads records, and changes none."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from wsgiproof.errors import UsageError
from wsgiproof.judge.verdict import judge_record
from wsgiproof.records import CellRecord
from wsgiproof.results import read_cells


class Rejudged(msgspec.Struct, frozen=True, kw_only=True):
    """A cell as it was recorded, and as it is judged now."""

    recorded: CellRecord
    now: CellRecord


def rejudge(where: Path, pattern: str | None = None) -> list[Rejudged]:
    """Judge the cells in ``where`` again: a run's directory, a cell's, or the record of a cell.

    ``pattern`` selects cells by their id, or by a glob. Raises :class:`UsageError` if there is no
    cell, or one that can't be read.
    """
    every = read_cells(where)
    cells = [one for one in every if pattern is None or fnmatchcase(one.cell.id, pattern)]
    if not cells:
        raise UsageError(
            f"no recorded cell in {where} matches '{pattern}'; there is {every[0].cell.id}"
        )
    return [Rejudged(recorded=one, now=judge_record(one)) for one in cells]


def differences(again: Rejudged) -> Iterator[str]:
    """What comes out otherwise than it was recorded, one line for each check."""
    before = {check.check: check.verdict for check in again.recorded.checks}
    after = {check.check: check.verdict for check in again.now.checks}
    for check in dict.fromkeys([*before, *after]):
        was, now = before.get(check, "not there"), after.get(check, "not there")
        if was != now:
            yield f"{check}: {was} in the record, {now} now"
