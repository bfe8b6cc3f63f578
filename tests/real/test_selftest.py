"""The part of the self test that is in ``make test``: for each check the fault that takes
the fewest requests, together with its negative control. All of them: tests/selftest."""

from __future__ import annotations

import pytest

from tests.selftest.trials import Selftest, Trials
from wsgiproof.judge.verdict import ALL_CHECKS
from wsgiproof.subjects.controls import CONTROLS


def requests(name: str) -> int:
    """How many the fault takes together with its negative control."""
    return CONTROLS[name].requests + CONTROLS[CONTROLS[name].counterpart].requests


FAULTS = [
    min((one.name for one in CONTROLS.values() if one.trips == check), key=requests)
    for check in ALL_CHECKS
]
COVERING = list(dict.fromkeys([*FAULTS, *(CONTROLS[name].counterpart for name in FAULTS)]))


@pytest.fixture(scope="module")
def selftest(tmp_path_factory: pytest.TempPathFactory) -> Selftest:
    return Selftest(tmp_path_factory.mktemp("selftest") / "out", COVERING)


class TestCoveringControls(Trials):
    def test_each_check_has_a_fault_and_a_negative_control(self) -> None:
        chosen = [CONTROLS[name] for name in COVERING]
        assert {one.trips for one in chosen if one.trips} == set(ALL_CHECKS)
        assert all(one.counterpart in COVERING for one in chosen if one.trips)
        assert not any(one.trips for one in chosen[len(ALL_CHECKS) :])
