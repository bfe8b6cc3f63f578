"""The one line that a new subject adds outside its folder."""

from __future__ import annotations

from wsgiproof.records.cell import Cell
from wsgiproof.subjects.base import Subject
from wsgiproof.subjects.pymongo.subject import PYMONGO

_REGISTERED: tuple[Subject, ...] = (PYMONGO,)

SUBJECTS: dict[str, Subject] = {subject.name: subject for subject in _REGISTERED}
"""Every subject by its name; the first is the default."""
DEFAULT = _REGISTERED[0]


def subject_of(cell: Cell) -> Subject:
    """Return the subject of a cell."""
    return SUBJECTS[cell.subject]
