"""Whether the first use of one interpreter is what spoiled another one of the same process.

A C extension that keeps its types in static variables is right until a second interpreter uses it
for the first time (PYTHON-569). The order is in the record: how many answers the cell had given
before each interpreter's first one, and before each problem's first one.
"""

from __future__ import annotations

import msgspec

from wsgiproof.judge.finding import count
from wsgiproof.records import Identity, Observed


class _Course(msgspec.Struct, frozen=True):
    """An interpreter that was wrong: when it first was, in answers before that one."""

    identity: Identity
    wrong: int
    right: int
    """Answers of its own before it was first wrong."""

    def told(self) -> str:
        one = self.identity
        return (
            f"pid {one.pid}: {one.application_group} answered first in answer {one.first + 1} of "
            f"the cell, and was first wrong in answer {self.wrong + 1}, after "
            f"{count(self.right, 'answer')} without a problem"
        )


def first_use(observed: Observed) -> tuple[str, tuple[str, ...]]:
    """Who was right until which other interpreter was first used, in a sentence, and its evidence.

    Empty where no interpreter of the record was right at first, or where no other one of its
    process gave its first answer in between.
    """
    for course in _courses(observed):
        mine = course.identity
        for other in observed.identities:
            if other.pid == mine.pid and mine.first < other.first <= course.wrong and course.right:
                sentence = (
                    f"{mine.application_group} was right in its first "
                    f"{count(course.right, 'answer')}, and wrong only after "
                    f"{other.application_group} had answered for the first time"
                )
                return sentence, _evidence(observed, mine.pid)
    return "", ()


def _evidence(observed: Observed, pid: int) -> tuple[str, ...]:
    courses = [course for course in _courses(observed) if course.identity.pid == pid]
    return tuple(course.told() for course in courses)


def _courses(observed: Observed) -> list[_Course]:
    """Of every interpreter with problems, in the order in which they first answered."""
    found = []
    for one in sorted(observed.identities, key=lambda one: one.first):
        problems = [
            problem
            for problem in observed.problems
            if problem.pid == one.pid and problem.application_group == (one.application_group or "")
        ]
        if problems:
            first = min(problems, key=lambda problem: problem.first)
            found.append(_Course(one, first.first, first.own_first))
    return found
