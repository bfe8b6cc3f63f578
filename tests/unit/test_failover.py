"""What a failover is compared with."""

from __future__ import annotations

import pytest

from wsgiproof.experiment.failover import fullest

Counts = tuple[int, ...]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((32, 2, 2), (2, 32, 2), (32, 32, 2)),
        ((32, 32, 32), (25, 2, 32), (32, 32, 32)),
        ((), (2, 32, 2), (2, 32, 2)),
        ((2, 32, 2), (), (2, 32, 2)),
        ((), (), ()),
    ],
)
def test_of_each_member_the_fullest_pools_count(
    one: Counts, other: Counts, expected: Counts
) -> None:
    assert fullest(one, other) == expected
