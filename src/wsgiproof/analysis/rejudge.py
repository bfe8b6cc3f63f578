"""Judges the recorded cells of a run again. It only reads the records."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from wsgiproof.errors import UsageError
from wsgiproof.judge.rules import RulesOf
from wsgiproof.judge.verdict import judge_record
from wsgiproof.records.reading import read_cells
from wsgiproof.records.run import CellRecord


class RejudgedCell(msgspec.Struct, frozen=True, kw_only=True):
    """A cell with its recorded judgement and with the present one."""

    recorded: CellRecord
    now: CellRecord


def rejudge(where: Path, rules_of: RulesOf, pattern: str | None = None) -> list[RejudgedCell]:
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
    return [RejudgedCell(recorded=one, now=judge_record(one, rules_of(one.cell))) for one in cells]


def differences(cell: RejudgedCell) -> Iterator[str]:
    """Yield a line for each check whose verdict differs from the recorded one."""
    before = {check.check: check.verdict for check in cell.recorded.checks}
    after = {check.check: check.verdict for check in cell.now.checks}
    for check in dict.fromkeys([*before, *after]):
        was, now = before.get(check, "missing"), after.get(check, "missing")
        if was != now:
            yield f"{check}: {was} in the record, {now} now"
