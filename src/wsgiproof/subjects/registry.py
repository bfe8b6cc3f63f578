"""Registers the subjects: the one line that a new subject adds outside its folder."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from wsgiproof.errors import UsageError
from wsgiproof.records.cell import Cell
from wsgiproof.subjects.base import Subject
from wsgiproof.subjects.controls import Control
from wsgiproof.subjects.package.subject import PACKAGE
from wsgiproof.subjects.pymongo.subject import PYMONGO

if TYPE_CHECKING:
    from wsgiproof.judge.rules import Rules

_REGISTERED: tuple[Subject, ...] = (PYMONGO, PACKAGE)

SUBJECTS: dict[str, Subject] = {subject.name: subject for subject in _REGISTERED}
"""Every subject by its name; the first is the default."""
DEFAULT = _REGISTERED[0]


def subject_of(cell: Cell) -> Subject:
    """Return the subject of a cell. Raises :class:`UsageError` if it is not registered here."""
    if cell.subject not in SUBJECTS:
        raise UsageError(
            f"the cell {cell.id} is of the subject '{cell.subject}', which this wsgiproof does not "
            f"have; there is {', '.join(SUBJECTS)}"
        )
    return SUBJECTS[cell.subject]


def known_controls() -> dict[str, Control]:
    """Return every control of every subject, by name."""
    return {
        name: control
        for subject in reversed(_REGISTERED)
        for name, control in subject.every_control().items()
    }


def rules_of(cell: Cell) -> Rules:
    """Return how the subject of a cell is judged. Raises :class:`UsageError` as subject_of."""
    return subject_of(cell).rules


def rules_to_show(cell: Cell) -> Rules:
    """Return the same to show a record, which may come from a wsgiproof with other subjects: of
    these, what holds for every subject."""
    from wsgiproof.judge.rules import Rules

    return SUBJECTS[cell.subject].rules if cell.subject in SUBJECTS else Rules()


@cache
def all_rules() -> Rules:
    """Return the rules of all subjects together, to look something up."""
    from wsgiproof.judge.rules import together

    return together([subject.rules for subject in _REGISTERED])
