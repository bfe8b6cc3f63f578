"""A bisection, without servers: what is tried next, what is found, and what is refused."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from rich.console import Console

from tests.cells import CELL, cell_with, configured
from tests.unit.factories import record
from wsgiproof.analysis.bisection import Bisection, Says, bisection, choose, says, watched
from wsgiproof.errors import CannotRun, UsageError
from wsgiproof.records.judgement import CheckResult, Verdict
from wsgiproof.records.run import CellRecord
from wsgiproof.report.bisected import show_bisection
from wsgiproof.run.bisect import range_of
from wsgiproof.subjects.registry import rules_of

VERSIONS = tuple(f"4.{minor}.0" for minor in range(20))


def tried(version: str, verdict: Verdict = Verdict.PASS, **checks: Verdict) -> CellRecord:
    results = tuple(
        CheckResult(check=name, verdict=one, reason=f"it is {one}")
        for name, one in {"crash": verdict, "memory": Verdict.PASS, **checks}.items()
    )
    cell = cell_with(CELL, pymongo=version)
    return record(cell=cell, verdict=verdict, reason="as told", checks=results, findings=())


def search(
    verdict_of: Callable[[str], Verdict], most: int = 1, versions: Sequence[str] = VERSIONS
) -> tuple[Bisection, int]:
    """Bisect as the runner does, with a verdict for each version; return the number of rounds."""
    records = {one: tried(one, verdict_of(one)) for one in (versions[0], versions[-1])}
    checks = watched(records[versions[0]], records[versions[-1]])
    rounds = 0
    while (result := bisection("pymongo", versions, records, checks)).untried:
        chosen = choose(result.untried, most)
        assert 1 <= len(chosen) <= most
        records |= {one: tried(one, verdict_of(one)) for one in chosen}
        rounds += 1
    return result, rounds


def fails_from(place: int) -> Callable[[str], Verdict]:
    return lambda one: Verdict.FAIL if VERSIONS.index(one) >= place else Verdict.PASS


@pytest.mark.parametrize("place", range(1, 20))
def test_the_first_version_that_fails_is_found_in_few_rounds(place: int) -> None:
    result, rounds = search(fails_from(place))
    assert (result.before, result.after) == (VERSIONS[place - 1], VERSIONS[place])
    assert result.located
    assert result.says is Says.FAIL
    assert result.checks == ("crash",)
    assert rounds <= 5  # 18 versions are between the ends
    assert len(result.tried) == 2 + rounds


def test_several_versions_at_a_time_need_fewer_rounds() -> None:
    assert [search(fails_from(19), most)[1] for most in (1, 3, 18)] == [4, 2, 1]


def test_the_first_version_that_passes_again_is_found() -> None:
    fails = fails_from(13)
    turned = {Verdict.FAIL: Verdict.PASS, Verdict.PASS: Verdict.FAIL}
    result, _ = search(lambda one: turned[fails(one)])
    assert (result.before, result.after, result.says) == ("4.12.0", "4.13.0", Says.PASS)


@pytest.mark.parametrize("undecided", [Verdict.INCONCLUSIVE, Verdict.ERROR])
def test_versions_that_can_not_be_judged_are_no_answer(undecided: Verdict) -> None:
    strange = VERSIONS[8:12]
    result, _ = search(lambda one: undecided if one in strange else fails_from(10)(one))
    assert not result.located
    assert (result.before, result.after) == (VERSIONS[7], VERSIONS[12])
    assert result.undecided == strange


def test_undecided_versions_away_from_the_change_do_no_harm() -> None:
    strange = VERSIONS[8:12]
    result, _ = search(lambda one: Verdict.ERROR if one in strange else fails_from(4)(one))
    assert result.located
    assert result.after == VERSIONS[4]


def test_a_second_change_is_reported() -> None:
    result, _ = search(lambda one: Verdict.FAIL if one in (VERSIONS[6], VERSIONS[19])
                       else Verdict.PASS, most=18)  # fmt: skip
    assert result.after == VERSIONS[6]
    assert result.back_again == VERSIONS[7:19]
    assert "It changes more than once" in shown(result)


def test_the_checks_by_which_the_ends_differ_are_watched() -> None:
    old, new = tried("4.9.0", memory=Verdict.FAIL), tried("4.20.0", memory=Verdict.PASS)
    assert watched(old, new) == ("memory",)
    assert watched(new, old) == ("memory",)
    other_fault = tried("4.12.0", Verdict.FAIL)
    assert says(other_fault, ["memory"]) is Says.PASS
    assert says(other_fault, ["crash"]) is Says.FAIL
    unsure = tried("4.12.0", memory=Verdict.INCONCLUSIVE)
    assert says(unsure, ["memory"]) is Says.NOTHING
    assert says(unsure, ["memory", "crash"]) is Says.NOTHING


def test_changes_in_both_directions_need_a_choice() -> None:
    old = tried("4.9.0", Verdict.FAIL)
    new = tried("4.20.0", Verdict.PASS, memory=Verdict.FAIL)
    with pytest.raises(UsageError, match=r"fails memory, and the old one crash: name .* --check"):
        watched(old, new)
    assert watched(old, new, "crash") == ("crash",)
    assert watched(old, new, "memory") == ("memory",)
    with pytest.raises(UsageError, match="no such check; did you mean 'memory'"):
        watched(old, new, "memroy")


def test_ends_that_are_alike_or_undecided_are_no_change() -> None:
    with pytest.raises(CannotRun, match=r"the ends do not differ.* is pass \(as told\)"):
        watched(tried("4.9.0"), tried("4.20.0"))
    with pytest.raises(CannotRun, match="do not differ by crash"):
        watched(tried("4.9.0"), tried("4.20.0", Verdict.INCONCLUSIVE), "crash")


@pytest.mark.parametrize("number", range(1, 40))
@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_what_is_tried_divides_what_is_left(number: int, most: int) -> None:
    left = [str(place) for place in range(number)]
    chosen = [int(one) for one in choose(left, most)]
    assert len({*chosen}) == min(most, number)
    bounds = [-1, *sorted(chosen), number]
    parts = [after - before - 1 for before, after in pairwise(bounds)]
    assert max(parts) - min(parts) <= 1


def shown(result: Bisection) -> str:
    out = Console(file=io.StringIO(), highlight=False, width=80)
    failing = tried(result.after, Verdict.FAIL)
    show_bisection(out, result, failing, rules_of, "/results")
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_the_terminal_names_the_version_and_the_command() -> None:
    text = shown(search(fails_from(13))[0])
    assert "pymongo 4.13.0 is the first that fails crash; 4.12.0 passes." in text
    assert "Run the one that fails again: wsgiproof run " in text
    assert all(len(line.rstrip()) <= 80 or "wsgiproof run" in line for line in text.splitlines())


def test_an_axis_has_one_range() -> None:
    axis, old, new = range_of(configured(mod_wsgi=("5.0.2..latest",)))
    assert (axis.name, old, new) == ("mod_wsgi", "5.0.2", "latest")
    for options in (
        {},
        {"mod_wsgi": ("4..5",), "pymongo": ("4..5",)},
        {"mod_wsgi": ("4..5", "5..6")},
    ):
        with pytest.raises(UsageError, match="give one range of versions"):
            range_of(configured(**options))


@pytest.mark.parametrize(
    "value", ["..6", "5..", "/checkout/4..5", "git+https://code.example/one@4..5"]
)
def test_a_range_is_of_versions_of_the_index(value: str) -> None:
    with pytest.raises(UsageError, match="a range is two versions of the package index"):
        range_of(configured(pymongo=(value,)))
