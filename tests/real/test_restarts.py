"""Graceful restarts, reloads and idle times of a real Apache. Planted faults: test_selftest.py."""

from __future__ import annotations

from tests.real.command import CLEAN
from tests.real.conftest import Bench
from tests.real.test_cells import why
from wsgiproof.judge.hangs import UNREAD
from wsgiproof.records.cell import Mode, Mpm
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import Role
from wsgiproof.records.plan import ExtraPhase

RESTART = (ExtraPhase.RESTART,)
ALL_BUT_FAILOVER = (ExtraPhase.RESTART, ExtraPhase.RELOAD, ExtraPhase.IDLE)


def test_a_daemon_process_is_replaced_and_no_request_that_had_begun_is_lost(bench: Bench) -> None:
    record = bench.run(control=CLEAN, phases=ALL_BUT_FAILOVER)
    assert not record.findings, why(record)  # a busy machine may leave one undecided
    observed = record.observed
    assert observed is not None
    restart, reload = observed.restarts
    assert (restart.phase, restart.broken) == ("restart", 0)
    assert (reload.phase, reload.broken, reload.refused) == ("reload", 0, 0)
    # All fifteen worker threads, unless the machine is too busy for them to start in time.
    assert 0 < restart.begun <= 15 >= reload.begun > 0
    # Two dozen children hand requests to fifteen threads: the others wait, and are refused.
    assert restart.orphaned == reload.orphaned == 0
    workers = [one.pid for one in observed.events if one.kind == "born" and one.role is Role.WORKER]
    assert len(workers) == 3
    assert workers[0] in restart.replaced
    assert reload.replaced == (workers[1],)
    assert {one.pid for one in observed.identities} == {*workers}
    assert {"restart", "idle"} <= {one.check for one in record.checks}


def test_embedded_children_are_replaced_and_no_request_is_lost(bench: Bench) -> None:
    record = bench.run(control=CLEAN, phases=RESTART, mode=Mode.EMBEDDED, mpm=Mpm.EVENT)
    assert record.verdict is Verdict.PASS, why(record)
    assert record.observed is not None
    (restart,) = record.observed.restarts
    assert (restart.broken, restart.refused) == (0, 0)
    assert 0 < restart.begun <= 16  # all of them, unless the machine is too busy
    assert len(restart.replaced) == 2
    workers = {one.pid for one in record.observed.events if one.role is Role.WORKER}
    assert {one.pid for one in record.observed.identities} <= workers
    assert {*restart.replaced} < workers


def test_crashes_at_a_restart_and_at_the_stop_are_one_finding(bench: Bench) -> None:
    """No log tells that a daemon process dies."""
    record = bench.run(control="crash-at-exit", phases=RESTART)
    (seen,) = [finding.seen for finding in record.findings if finding.check == "crash"]
    assert seen.startswith(
        "2 of 2 process ends crashed, 100 % (95 %: 16 to 100 %): they died of SIGSEGV (signal 11) "
        "in the phases restart and stop"
    )
    assert "exit signal" not in bench.file(record, "error.log").read_text()


def test_a_process_that_does_not_go_at_a_restart_is_told_with_where_it_waits(bench: Bench) -> None:
    record = bench.run(control="hang-at-exit", phases=RESTART)
    seen = next(finding for finding in record.findings if finding.check == "restart")
    assert "1 process did not end when replaced; Apache killed them" in seen.seen
    if UNREAD in seen.evidence:
        return  # the machine was so busy that Apache killed it first, and it says so
    assert "blocked: 1 thread in" in seen.seen
    assert any("_hang" in line and "faults_lifecycle.py" in line for line in seen.evidence), seen
