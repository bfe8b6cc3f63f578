"""The part of the self test that is in ``make test``: for each check the fault that takes the
fewest requests, and one application with all negative controls. Faults that do not trip each
other's checks share an application. All of them, each alone: tests/selftest."""

from __future__ import annotations

import pytest

from tests.selftest.trials import Selftest, Trials
from tests.unit.factories import ALL_CHECKS
from wsgiproof.subjects.controls import COMBINED, Control
from wsgiproof.subjects.registry import DEFAULT

CONTROLS = DEFAULT.every_control()


def cost(fault: Control) -> tuple[bool, int]:
    """Return whether it needs a deployment or an environment of its own, and how many requests it
    takes together with its negative control."""
    return bool(fault.axes), fault.requests + CONTROLS[fault.counterpart].requests


FAULTS = [
    min((one for one in CONTROLS.values() if one.trips == check), key=cost) for check in ALL_CHECKS
]
ALONE = ["slow-exit", "end-process"]
"""The negative controls that are not combined: Apache's own deadlines for an end are short."""


@pytest.fixture(scope="module")
def selftest(tmp_path_factory: pytest.TempPathFactory) -> Selftest:
    names = dict.fromkeys([*(one.combined_in or one.name for one in FAULTS), COMBINED, *ALONE])
    return Selftest(tmp_path_factory.mktemp("selftest") / "out", names)


class TestCoveringControls(Trials):
    def test_each_check_has_a_fault_and_a_negative_control(self) -> None:
        assert [one.trips for one in FAULTS] == [*ALL_CHECKS]
        assert {one.counterpart for one in FAULTS} <= {*CONTROLS[COMBINED].parts, *ALONE}
