"""Registers the subjects: the one line that a new subject adds outside its folder."""

from __future__ import annotations

from functools import cache

from wsgiproof.judge.rules import Rules, together
from wsgiproof.records.cell import Cell
from wsgiproof.subjects.base import Subject
from wsgiproof.subjects.controls import Control
from wsgiproof.subjects.pymongo.subject import PYMONGO

_REGISTERED: tuple[Subject, ...] = (PYMONGO,)

SUBJECTS: dict[str, Subject] = {subject.name: subject for subject in _REGISTERED}
"""Every subject by its name; the first is the default."""
DEFAULT = _REGISTERED[0]


def subject_of(cell: Cell) -> Subject:
    """Return the subject of a cell."""
    return SUBJECTS[cell.subject]


def known_controls() -> dict[str, Control]:
    """Return every control of every subject, by name."""
    return {
        name: control
        for subject in reversed(_REGISTERED)
        for name, control in subject.every_control().items()
    }


def rules_of(cell: Cell) -> Rules:
    """Return how the subject of a cell is judged."""
    return subject_of(cell).rules


@cache
def all_rules() -> Rules:
    """Return the rules of all subjects together, to look something up."""
    return together([subject.rules for subject in _REGISTERED])
