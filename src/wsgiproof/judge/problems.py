"""The check of what a subject's workload found to be wrong with its own work."""

from __future__ import annotations

from wsgiproof.judge.finding import Check, Outcome, count, evidence
from wsgiproof.judge.first_use import first_use
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import Observed


def no_problems(
    name: str, *, about: str, unit: str, seen: str, meaning: str, action: str, passed: str
) -> Check:
    """Return a check that fails for each problem that the workload reported.

    ``about`` says what holds in a healthy subject, ``seen`` what happened to so many of ``unit``,
    and ``passed`` what was right in so many answers.
    """

    def check(cell: Cell, observed: Observed) -> Outcome:
        if cell.own_app:
            return Outcome(
                skipped=f"your own application ({cell.own_app}) does not check its own work"
            )
        if observed.problems:
            number = sum(problem.count for problem in observed.problems)
            order, interpreters = first_use(observed)
            groups = ", ".join(sorted({problem.application_group for problem in observed.problems}))
            finding = Finding(
                check=name,
                seen=f"{count(number, unit)} {seen}, in {groups}{f'; {order}' if order else ''}",
                meaning=meaning,
                action=action,
                evidence=interpreters
                + evidence(
                    f"[{problem.phase}] pid {problem.pid} {problem.application_group}: "
                    f"{problem.text} ({problem.count} x)"
                    for problem in observed.problems
                ),
            )
            return Outcome(findings=(finding,))
        answers = sum(one.answers for one in observed.identities)
        if not answers:
            return Outcome(missing="no answer reported a problem, or none")
        return Outcome(passed=f"{passed} in {count(answers, 'answer')}")

    check.__doc__ = about
    return check
