"""Judging the recorded cells of a run again. Reads records, and changes none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from wsgiproof.judge.verdict import judge_record
from wsgiproof.records import CellRecord
from wsgiproof.results import read_cells


class Rejudged(msgspec.Struct, frozen=True, kw_only=True):
    """A cell as it was recorded, and as it is judged now."""

    recorded: CellRecord
    now: CellRecord


def rejudge(where: Path) -> list[Rejudged]:
    """Judge all cells in ``where``: a run's directory, a cell's, or the record of a cell.

    Raises :class:`UsageError` if there is none, or one that can't be read.
    """
    return [Rejudged(recorded=one, now=judge_record(one)) for one in read_cells(where)]


def differences(again: Rejudged) -> Iterator[str]:
    """What comes out otherwise than it was recorded, one line for each check."""
    before = {check.check: check.verdict for check in again.recorded.checks}
    after = {check.check: check.verdict for check in again.now.checks}
    for check in dict.fromkeys([*before, *after]):
        was, now = before.get(check, "not there"), after.get(check, "not there")
        if was != now:
            yield f"{check}: {was} in the record, {now} now"
