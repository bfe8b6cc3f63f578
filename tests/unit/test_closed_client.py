"""What is left of a client that the built-in application has closed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from tests.cells import CELL, cell_with
from tests.unit.factories import observed
from wsgiproof.judge.finding import Outcome
from wsgiproof.records.cell import Cell
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.closed_client import closed_client


def judged(left: Sequence[int | None], cell: Cell = CELL) -> Outcome:
    """The outcome with these counts, one for each sample; the last one is that of all others."""
    seen = observed()
    numbers = [*left, *[left[-1]] * (len(seen.samples) - len(left))]
    samples = tuple(
        msgspec.structs.replace(sample, counts={**sample.counts, "closed clients": number})
        for sample, number in zip(seen.samples, numbers, strict=True)
    )
    return closed_client(cell, msgspec.structs.replace(seen, samples=samples))


def test_what_is_always_left_is_a_finding() -> None:
    (finding,) = judged([4, 2]).findings
    assert finding.seen == "2 connections of clients that were closed stayed open"
    assert "2 left, of 28 connections" in finding.evidence[1]


@pytest.mark.parametrize("left", [[0], [2, 0], [None, 0], [0, 3, 0, 3]])
def test_what_is_gone_at_any_time_was_closed(left: Sequence[int | None]) -> None:
    assert judged(left).passed.startswith("none was left in ")


def test_a_reading_without_any_connection_says_nothing() -> None:
    seen = observed()
    samples = [
        msgspec.structs.replace(
            sample,
            counts={**sample.counts, "closed clients": min(number, 1), "connections": number},
        )
        for number, sample in enumerate(seen.samples)
    ]
    outcome = closed_client(CELL, msgspec.structs.replace(seen, samples=tuple(samples)))
    assert outcome.findings[0].seen == "1 connection of clients that were closed stayed open"


def test_a_count_that_nobody_could_take_is_no_pass() -> None:
    assert judged([None]).missing == "no member said whose connections it has"


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (cell_with(CELL, pymongo="3.3.1"), "PyMongo 3.3.1 has no appName to tell clients by"),
        (msgspec.structs.replace(CELL, app="/app.py"), "your own application (--app)"),
    ],
)
def test_where_no_client_can_be_told_from_another_nothing_passes(cell: Cell, reason: str) -> None:
    assert judged([0], cell).skipped.startswith(reason)


def test_behind_a_load_balancer_nothing_is_known() -> None:
    balanced = cell_with(CELL, topology=Topology.LOAD_BALANCED)
    assert "a load balancer is between" in judged([None], balanced).missing


def test_a_record_from_before_it_was_counted_is_not_judged() -> None:
    seen = observed()
    samples = tuple(
        msgspec.structs.replace(
            sample, counts={k: v for k, v in sample.counts.items() if k != "closed clients"}
        )
        for sample in seen.samples
    )
    outcome = closed_client(CELL, msgspec.structs.replace(seen, samples=samples))
    assert outcome.skipped == "connections of closed clients were not counted"
