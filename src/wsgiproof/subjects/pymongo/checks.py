"""The check that only PyMongo has."""

from __future__ import annotations

from wsgiproof.judge.finding import Outcome, count, evidence
from wsgiproof.judge.first_use import first_use
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import Observed


def roundtrip(cell: Cell, observed: Observed) -> Outcome:
    """Every BSON value comes back with the same value and the same type."""
    if cell.app:
        return Outcome(skipped="your own application (--app) makes no round trips")
    answers = sum(one.answers for one in observed.identities)
    if observed.problems:
        number = sum(problem.count for problem in observed.problems)
        order, interpreters = first_use(observed)
        groups = sorted({problem.application_group for problem in observed.problems})
        finding = Finding(
            check="roundtrip",
            seen=(
                f"{count(number, 'value')} changed while they were encoded and decoded or sent "
                f"through the server, in {', '.join(groups)}{f'; {order}' if order else ''}"
            ),
            meaning=(
                "PyMongo returned another value or another type than it was given; a type of the "
                "same name, but not the same class, comes from another interpreter's modules"
            ),
            action="rerun this cell with one sub interpreter to see whether it takes a second one",
            evidence=interpreters
            + evidence(
                f"[{problem.phase}] pid {problem.pid} {problem.application_group}: "
                f"{problem.text} ({problem.count} x)"
                for problem in observed.problems
            ),
        )
        return Outcome(findings=(finding,))
    if not answers:
        return Outcome(missing="no answer reported a round trip")
    return Outcome(passed=f"every BSON type came back unchanged in {count(answers, 'answer')}")
