"""Judges the recorded cells of a run again. It only reads the records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from wsgiproof.judge.verdict import judge_record
from wsgiproof.records import CellRecord
from wsgiproof.results import read_cells


class RejudgedCell(msgspec.Struct, frozen=True, kw_only=True):
    """A cell with its recorded judgement and with the present one."""

    recorded: CellRecord
    now: CellRecord


def rejudge(where: Path) -> list[RejudgedCell]:
    """Judge all cells in ``where``: a run's directory, a cell's, or the record of a cell.

    Raises :class:`UsageError` if there is no cell, or one that can't be read.
    """
    return [RejudgedCell(recorded=one, now=judge_record(one)) for one in read_cells(where)]


def differences(cell: RejudgedCell) -> Iterator[str]:
    """Yield a line for each check whose verdict differs from the recorded one."""
    before = {check.check: check.verdict for check in cell.recorded.checks}
    after = {check.check: check.verdict for check in cell.now.checks}
    for check in dict.fromkeys([*before, *after]):
        was, now = before.get(check, "missing"), after.get(check, "missing")
        if was != now:
            yield f"{check}: {was} in the record, {now} now"
