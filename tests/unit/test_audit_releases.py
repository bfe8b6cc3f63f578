"""The search for a release that works: the nearest first, bounded, each tried."""

from __future__ import annotations

import pytest

from wsgiproof.audit.releases import search
from wsgiproof.judge.audited import advise_release
from wsgiproof.records.audit import Outcome, Release, Result, Search
from wsgiproof.records.cell import InterpreterKind

SHARED, OWN = InterpreterKind.SHARED_GIL, InterpreterKind.OWN_GIL
RELEASES = ["1.0", "1.1", "2.0", "2.1", "3.0"]
BROKEN = Outcome.REFUSES


def result(version: str, kind: InterpreterKind, outcome: Outcome = BROKEN) -> Result:
    return Result(name="fast", version=version, kind=kind, outcome=outcome, reason="why")


class Index:
    """Some releases, of which some work."""

    def __init__(self, works: dict[InterpreterKind, set[str]]) -> None:
        self._works = works
        self.tried: list[str] = []

    def next(self, version: str, newer: bool) -> str:
        at = RELEASES.index(version) + (1 if newer else -1)
        return RELEASES[at] if 0 <= at < len(RELEASES) else ""

    def attempt(self, version: str) -> dict[InterpreterKind, Result]:
        self.tried.append(version)
        return {
            kind: result(version, kind, Outcome.WORKS if version in good else BROKEN)
            for kind, good in self._works.items()
        }

    def search(self, most: int = 10, installed: str = "2.0") -> tuple[Search, ...]:
        failing = [result(installed, kind) for kind in self._works]
        return search(failing, most, self.next, self.attempt)


def test_newer_and_older_ones_are_tried_in_turn_until_one_works() -> None:
    index = Index({SHARED: {"1.0"}})
    (found,) = index.search()
    assert index.tried == ["2.1", "1.1", "3.0", "1.0"]
    assert (found.works, found.version) == ("1.0", "2.0")
    assert [one.outcome for one in found.tried] == [BROKEN, BROKEN, BROKEN, Outcome.WORKS]
    index = Index({SHARED: {"2.1"}})
    assert index.search()[0].works == "2.1" and index.tried == ["2.1"]


def test_no_more_than_asked_for_are_tried() -> None:
    index = Index({SHARED: {"1.0"}})
    (found,) = index.search(most=2)
    assert (found.works, index.tried) == ("", ["2.1", "1.1"])


def test_at_the_end_of_the_index_the_other_direction_goes_on() -> None:
    index = Index({SHARED: set()})
    (found,) = index.search(installed="3.0")
    assert found.works == "" and index.tried == ["2.1", "2.0", "1.1", "1.0"]


def test_each_kind_has_a_release_of_its_own() -> None:
    index = Index({SHARED: {"2.1"}, OWN: {"1.1"}})
    shared, own = index.search()
    assert (shared.works, own.works) == ("2.1", "1.1")
    assert [one.version for one in shared.tried] == ["2.1"]
    assert index.tried == ["2.1", "1.1"]


def found(works: str, *tried: str, conflict: str = "") -> Search:
    return Search(
        name="fast",
        version="2.0",
        kind=SHARED,
        works=works,
        conflict=conflict,
        tried=tuple(Release(version=one, outcome=BROKEN) for one in tried),
    )


@pytest.mark.parametrize(
    ("search", "told"),
    [
        (found("2.1", "2.1"), "and 2.1 does: it was tried."),
        (found("1.1", "2.1", "1.1"), "and 1.1 does: it was tried, after 1 other release that did"),
        (found("", "2.1", "1.1"), "and none of 2 other releases that were tried: 2.1 and 1.1."),
        (found("", "2.1"), "and neither does the other release that was tried: 2.1."),
        (found(""), "and the index has no other release for this Python."),
        (found("2.1", "2.1", conflict="a needs fast<2"), "with the other requirements: a needs"),
    ],
)
def test_the_advice_says_what_was_tried(search: Search, told: str) -> None:
    advice = advise_release(search)
    assert advice.startswith("fast 2.0 does not work under shared-gil, ")
    assert told in advice
