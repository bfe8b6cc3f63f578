"""What the findings of planted faults say. More of them: test_selftest.py."""

from __future__ import annotations

from tests.real.conftest import CRASHING, Bench
from tests.real.test_cells import why
from wsgiproof.observe.cores import why_no_core
from wsgiproof.records.cell import Mode
from wsgiproof.records.run import CellRecord


def test_a_crash_at_exit_tells_signal_number_and_phase(bench: Bench) -> None:
    record = bench.run(control="crash-at-exit", mode=Mode.EMBEDDED, requests=60)
    seen = [finding.seen for finding in record.findings if finding.check == "crash"]
    (told,) = seen
    assert told.startswith(
        "4 of 4 process ends crashed, 100 % (95 %: 40 to 100 %): they died of SIGSEGV (signal 11) "
        "while Apache was stopping"
    )
    if not why_no_core():
        assert "called from crash_here (faults_lifecycle.py:" in told


def test_an_exception_of_which_mod_wsgi_loses_the_traceback_fails_the_log(bench: Bench) -> None:
    """The bench has Python 3.11: docs/findings.md, 13."""
    record = bench.run(control="fail-to-import", mode=Mode.DAEMON, mod_wsgi=CRASHING)
    assert known(record, "responses") >= {"exception-logged", "script-failed"}, why(record)


def known(record: CellRecord, check: str) -> set[str]:
    """The ids of all that is known of the findings of a check."""
    return {
        one.id for finding in record.findings if finding.check == check for one in finding.explained
    }
