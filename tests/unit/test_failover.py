"""What a failover is compared with."""

from __future__ import annotations

import pytest

from wsgiproof.experiment.failover import fullest
from wsgiproof.records.observed import on_member

Counts = dict[str, int | None]


def counts(*members: int | None) -> Counts:
    return {on_member(number): count for number, count in enumerate(members, 1)}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (counts(32, 2, 2), counts(2, 32, 2), counts(32, 32, 2)),
        (counts(32, 32, 32), counts(25, 2, 32), counts(32, 32, 32)),
        (counts(), counts(2, 32, 2), counts(2, 32, 2)),
        (counts(2, None, 2), counts(None, 32, 2), counts(2, 32, 2)),
        (counts(None), counts(), counts(None)),
    ],
)
def test_of_each_member_the_fullest_pools_count(
    one: Counts, other: Counts, expected: Counts
) -> None:
    assert fullest(one, other) == expected
