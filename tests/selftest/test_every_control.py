"""The complete self test: every control there is. A part of it that covers each check:
tests/real/test_selftest.py."""

from __future__ import annotations

import pytest

from tests.selftest.trials import Selftest, Trials
from wsgiproof.run.selftest import select
from wsgiproof.subjects.registry import DEFAULT


@pytest.fixture(scope="module")
def selftest(tmp_path_factory: pytest.TempPathFactory) -> Selftest:
    names = [control.name for control in select(DEFAULT, [])]
    return Selftest(tmp_path_factory.mktemp("selftest") / "out", names)


class TestEveryControl(Trials):
    def test_the_diagnosing_pass_names_the_type_that_leaks(self, selftest: Selftest) -> None:
        (finding,) = selftest.findings("leak-object", "memory")
        assert any(line.endswith(" dict") for line in finding.evidence), finding.evidence

    def test_a_leak_in_one_interpreter_is_attributed_to_its_url(self, selftest: Selftest) -> None:
        (finding,) = selftest.findings("leak-connection-in-one-interpreter", "connections")
        assert "by requests to interpreter2 alone" in finding.seen

    def test_a_deadlock_names_the_call_that_waits(self, selftest: Selftest) -> None:
        (finding,) = selftest.findings("deadlock", "hang")
        if "permitted" not in finding.action:
            assert "flock" in finding.seen
