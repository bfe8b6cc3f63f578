"""The judge as a whole: what a clean record comes to, the order of verdicts, and its purity."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.cells import CELL
from tests.unit.factories import CHECKS, PARENT_ENDED, RULES, failure, observed, outcome, record
from wsgiproof.errors import UsageError
from wsgiproof.judge.resources import Resource
from wsgiproof.judge.rules import Rules, together
from wsgiproof.judge.verdict import every_check, judge
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import Observed, Stop
from wsgiproof.records.plan import LoadPlan
from wsgiproof.records.reading import read_cell
from wsgiproof.records.run import CellRecord
from wsgiproof.records.writing import save


def unclean() -> Observed:
    """Something wrong in several checks, and something missing in others."""
    return observed(
        failures=(failure(), failure(kind="timeout", status=None, error="no answer")),
        samples=(),
        stop=Stop(seconds=15.0, leftover=(200,), connections_left=4),
    )


def test_a_clean_record_passes_every_check() -> None:
    judgement = judge(CELL, observed(), RULES)
    assert judgement.verdict is Verdict.PASS
    assert [result.check for result in judgement.checks] == list(CHECKS)
    assert {result.verdict for result in judgement.checks} == {Verdict.PASS}
    assert all(result.reason for result in judgement.checks)
    assert judgement.findings == ()


def test_the_checks_of_a_subject_stand_between_the_common_ones() -> None:
    common = {
        "first": ["responses", "environment", "interpreters"],
        "counted": ["descriptors", "threads", "memory", "children", "files"],
        "others": ["latency", "hang", "crash", "shutdown", "error-log"],
        "of phases": ["recovery", "restart", "idle"],
    }
    first, *rest = common.values()
    assert [*every_check(Rules())] == sum(rest, first)
    own = ["roundtrip", "closed-client", "connections", "cursors", "sessions", "database"]
    assert [*every_check(RULES)] == sum(rest, first + own)


def test_a_subject_without_rules_of_its_own_is_judged_by_the_common_checks() -> None:
    judgement = judge(CELL, observed(backend=""), Rules())
    assert judgement.verdict is Verdict.PASS
    assert {one.check for one in judgement.checks} < {*CHECKS}
    told = {one.check: one.reason for one in judgement.checks}
    assert "a warning of the subject" in told["error-log"]


def test_the_rules_of_several_subjects_are_looked_up_together() -> None:
    queue = Resource(check="queues", about="Queues.", unit="queue", meaning="m", action="a")
    both = together([RULES, Rules(title="Other", resources=(queue,))])
    counted = ["connections", "cursors", "sessions", "database", "queues"]
    assert [*every_check(both)][5:10] == counted
    assert both.catalog == RULES.catalog


def test_an_empty_record_passes_no_check() -> None:
    """A run that measured nothing must not look like one that found nothing."""
    plan = LoadPlan(parallel=1, serial=1, connections=1, round=1)
    empty = Observed(plan=plan, urls=("/a", "/b"), backend="MongoDB")
    assert outcome(empty) == dict.fromkeys(CHECKS, Verdict.INCONCLUSIVE)


def test_missing_evidence_outweighs_passes() -> None:
    judgement = judge(CELL, observed(stop=None), RULES)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.reason == "shutdown"
    assert judgement.findings == ()


def test_a_finding_outweighs_missing_evidence() -> None:
    judgement = judge(CELL, observed(stop=None, samples=(), failures=(failure(),)), RULES)
    assert judgement.verdict is Verdict.FAIL
    assert judgement.reason == "responses"
    assert {finding.check for finding in judgement.findings} == {"responses"}
    verdicts = {result.check: result.verdict for result in judgement.checks}
    assert verdicts["shutdown"] is Verdict.INCONCLUSIVE
    assert verdicts["environment"] is Verdict.PASS


def test_all_failing_checks_are_named() -> None:
    judgement = judge(CELL, unclean(), RULES)
    assert judgement.reason == "responses, hang, shutdown"
    assert [finding.check for finding in judgement.findings] == [
        *["responses", "hang"],
        *["shutdown"] * 2,
    ]


def test_every_finding_says_what_it_means_and_what_to_do() -> None:
    for finding in judge(CELL, unclean(), RULES).findings:
        assert finding.seen
        assert finding.meaning
        assert finding.action


@pytest.mark.parametrize("seen", [observed(), unclean(), observed(events=(PARENT_ENDED,))])
def test_the_judge_is_pure(seen: Observed, tmp_path: Path) -> None:
    before = msgspec.json.encode(seen)
    first = judge(CELL, seen, RULES)
    assert judge(CELL, seen, RULES) == first
    assert msgspec.json.encode(seen) == before


@pytest.mark.parametrize("seen", [observed(), unclean()])
def test_a_saved_record_is_judged_the_same(seen: Observed, tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    written = record(seen)
    save(written, path)
    read = read_cell(path)
    assert read == written
    assert read.observed is not None
    again = judge(read.cell, read.observed, RULES)
    assert (again.verdict, again.reason) == (written.verdict, written.reason)
    assert (again.checks, again.findings) == (written.checks, written.findings)
    assert [path.name for path in tmp_path.iterdir()] == ["cell.json"]


def test_a_record_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    path.write_bytes(msgspec.json.encode(record()).replace(b'"prefork"', b'"spoon"'))
    with pytest.raises(UsageError, match="Invalid enum value 'spoon'"):
        read_cell(path)


def test_an_interrupted_write_leaves_the_old_record(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    save(record(), path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save({"not JSON": object()}, path)
    assert path.read_bytes() == before
    assert isinstance(read_cell(path), CellRecord)
