"""Finds out whether an interpreter went wrong when another one of its process was first used.

A C extension that keeps its types in static variables works until a second interpreter uses it
(PYTHON-569). The record holds the order: how many answers the cell had given before the first
answer of each interpreter, and before the first occurrence of each problem.
"""

from __future__ import annotations

import msgspec

from wsgiproof.judge.finding import count
from wsgiproof.records import Identity, Observed


class _FirstProblem(msgspec.Struct, frozen=True):
    """The first problem of an interpreter that reported any."""

    identity: Identity
    answers_before: int
    """Answers that the whole cell had given before."""
    own_answers_before: int
    """Answers that this interpreter had given before."""

    def describe(self) -> str:
        one = self.identity
        return (
            f"pid {one.pid}: {one.application_group} first answered in answer {one.first + 1} of "
            f"the cell, and was first wrong in answer {self.answers_before + 1}, after "
            f"{count(self.own_answers_before, 'answer')} without a problem"
        )


def first_use(observed: Observed) -> tuple[str, tuple[str, ...]]:
    """Return which interpreter went wrong when which other one was first used, and the evidence.

    Both are empty if no interpreter answered correctly at first, or if no other one of its process
    gave its first answer in between.
    """
    for problem in _first_problems(observed):
        wrong = problem.identity
        for other in observed.identities:
            if (
                other.pid == wrong.pid
                and wrong.first < other.first <= problem.answers_before
                and problem.own_answers_before
            ):
                sentence = (
                    f"{wrong.application_group} was right in its first "
                    f"{count(problem.own_answers_before, 'answer')}, and wrong only after "
                    f"{other.application_group} had answered for the first time"
                )
                return sentence, _evidence(observed, wrong.pid)
    return "", ()


def _evidence(observed: Observed, pid: int) -> tuple[str, ...]:
    problems = [one for one in _first_problems(observed) if one.identity.pid == pid]
    return tuple(problem.describe() for problem in problems)


def _first_problems(observed: Observed) -> list[_FirstProblem]:
    """Return the first problem of each interpreter, in the order in which they first answered."""
    found = []
    for one in sorted(observed.identities, key=lambda one: one.first):
        problems = [
            problem
            for problem in observed.problems
            if problem.pid == one.pid and problem.application_group == (one.application_group or "")
        ]
        if problems:
            first = min(problems, key=lambda problem: problem.first)
            found.append(_FirstProblem(one, first.first, first.own_first))
    return found
