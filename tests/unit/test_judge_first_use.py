"""Whether the record shows that an interpreter's first use spoiled another one."""

from __future__ import annotations

import pytest

from tests.cells import CELL
from tests.unit.factories import RULES, WORKER, identity, observed
from wsgiproof.judge.first_use import first_use
from wsgiproof.judge.verdict import judge
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import Problem


def wrong(url: int, first: int, own_first: int, pid: int = WORKER, text: str = "code") -> Problem:
    """A problem of the interpreter behind URL number ``url``, and when it was first told."""
    return Problem(
        phase="warm-up",
        text=text,
        count=3,
        pid=pid,
        application_group=f"interpreter{url}",
        first=first,
        own_first=own_first,
    )


TWO = (identity(1, first=0), identity(2, first=15))
SPOILED = observed(identities=TWO, problems=(wrong(2, 15, 0), wrong(1, 30, 15)))


def test_the_first_was_right_until_the_second_was_used() -> None:
    sentence, evidence = first_use(SPOILED)
    assert sentence == (
        "interpreter1 was right in its first 15 answers, "
        "and wrong only after interpreter2 had answered for the first time"
    )
    assert evidence == (
        f"pid {WORKER}: interpreter1 first answered in answer 1 of the cell, and was first wrong "
        "in answer 31, after 15 answers without a problem",
        f"pid {WORKER}: interpreter2 first answered in answer 16 of the cell, and was first wrong "
        "in answer 16, after 0 answers without a problem",
    )


def test_the_finding_tells_it() -> None:
    (finding,) = judge(CELL, SPOILED, RULES).findings
    sentence, evidence = first_use(SPOILED)
    assert finding.check == "roundtrip"
    assert finding.seen.endswith(f"in interpreter1, interpreter2; {sentence}")
    assert finding.evidence[:2] == evidence
    assert judge(CELL, SPOILED, RULES).verdict is Verdict.FAIL


def test_the_earliest_problem_counts() -> None:
    problems = (wrong(1, 99, 60), wrong(1, 30, 15, text="binary"), wrong(1, 45, 20, text="uuid"))
    sentence, _ = first_use(observed(identities=TWO, problems=problems))
    assert "in its first 15 answers" in sentence


@pytest.mark.parametrize(
    "problems",
    [
        pytest.param((), id="nothing is wrong"),
        pytest.param((wrong(2, 15, 0),), id="the second alone is wrong"),
        pytest.param((wrong(1, 0, 0),), id="wrong from the start"),
        pytest.param((wrong(1, 7, 7), wrong(2, 15, 0)), id="wrong before the second was used"),
        pytest.param((wrong(2, 40, 9),), id="the second went wrong late"),
    ],
)
def test_nothing_is_said_where_the_record_does_not_show_it(problems: tuple[Problem, ...]) -> None:
    assert first_use(observed(identities=TWO, problems=problems)) == ("", ())


def test_an_interpreter_of_another_process_spoils_nothing() -> None:
    apart = (identity(1, first=0), identity(2, 201, first=15))
    assert first_use(observed(identities=apart, problems=(wrong(1, 30, 15),))) == ("", ())


def test_each_process_is_looked_at_for_itself() -> None:
    told = (
        identity(1, 201, first=0),
        identity(2, 201, first=1),
        identity(1, 202, first=2),
        identity(2, 202, first=9),
    )
    problems = (wrong(1, 0, 0, 201), wrong(1, 12, 4, 202), wrong(2, 9, 0, 202))
    sentence, evidence = first_use(observed(identities=told, problems=problems))
    assert "in its first 4 answers" in sentence
    assert all(line.startswith("pid 202: ") for line in evidence)
    assert len(evidence) == 2
