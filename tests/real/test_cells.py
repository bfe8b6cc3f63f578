"""Verdicts on real combinations, each known by hand."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tests.real.command import CLEAN
from tests.real.conftest import Bench
from tests.unit.factories import RULES
from wsgiproof.judge.verdict import judge
from wsgiproof.records.cell import InterpreterKind, Mode
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import Role
from wsgiproof.records.plan import PhaseName
from wsgiproof.records.run import CellRecord
from wsgiproof.subjects.pymongo.axes import Topology


def why(record: CellRecord) -> str:
    return f"{record.verdict}: {record.reason}\n" + "\n".join(
        f"{finding.check}: {finding.seen} {finding.evidence}" for finding in record.findings
    )


FILLS = """
import os
number = 0
kept = []
def application(environ, start_response):
    global number
    number += 1
    if number % 50 == 0 and len(kept) < 24:
        kept.append(os.open("/dev/null", os.O_RDONLY))
    start_response("200 OK", [])
    return [b""]
"""


def test_what_the_load_does_not_decide_more_of_it_does(bench: Bench, tmp_path: Path) -> None:
    # What fills up to the last eighth of the load might as well be a leak.
    app = tmp_path / "fills.py"
    app.write_text(FILLS)
    one = InterpreterKind.MAIN  # so that each request counts
    record = bench.run(app=app, topology=Topology.NONE, interpreter=one, requests=1200)
    assert record.verdict is Verdict.PASS, why(record)
    observed = record.observed
    assert observed is not None
    (extra_requests,) = (phase for phase in observed.phases if phase.name == PhaseName.EXTRA_LOAD)
    assert 0 < extra_requests.requests <= observed.plan.extra_requests
    planned = tuple(one for one in observed.samples if one.time < extra_requests.started)
    without_more = msgspec.structs.replace(
        observed, samples=planned, drained=(), cache_trials=(), full_pools=(), confirmations=()
    )
    assert judge(record.cell, without_more, RULES).verdict is Verdict.INCONCLUSIVE


def test_a_pool_that_fills_slowly_is_told_from_a_leak_once_it_is_full(bench: Bench) -> None:
    record = bench.run(control="fill-session-pool", requests=600)
    assert record.verdict is Verdict.PASS, why(record)
    observed = record.observed
    assert observed is not None
    sessions = [one.counts["sessions"] or 0 for one in observed.samples]
    assert sessions[-1] > sessions[0], "the pool was full before the load"
    assert len(observed.full_pools) >= 2, "what it may have lost was not looked for"


def test_what_lives_for_seconds_is_no_leak(bench: Bench) -> None:
    record = bench.run(control="end-thread-later", requests=600)
    assert record.verdict is Verdict.PASS, why(record)
    assert record.observed is not None
    assert not record.observed.decided_early


def test_without_a_deployment_nothing_connects_and_the_main_interpreter_serves_alone(
    bench: Bench,
) -> None:
    record = bench.run(topology=Topology.NONE, interpreter=InterpreterKind.MAIN)
    assert record.verdict is Verdict.PASS, why(record)
    skipped = [check.check for check in record.checks if check.verdict is Verdict.SKIPPED]
    assert skipped == ["closed-client", "connections", "cursors", "sessions", "database"]
    assert record.observed is not None
    readings = [one for point in record.observed.samples for one in point.processes]
    workers = [one for one in readings if one.role is Role.WORKER]
    assert {one.connections for one in workers} == {0}
    assert [one.application_group for one in record.observed.identities] == [""]
    assert "WSGIScriptAlias /interpreter1" in bench.file(record, "httpd.conf").read_text()
    (crash,) = (check.reason for check in record.checks if check.check == "crash")
    assert crash.endswith("none of 1 process end crashed: under 95 % each (95 %)")


def test_a_steady_combination_passes_in_embedded_mode(bench: Bench) -> None:
    """In prefork. In event, and in daemon mode: test_restarts.py, test_failover.py."""
    record = bench.run(mode=Mode.EMBEDDED, control=CLEAN)
    assert record.verdict is Verdict.PASS, why(record)
    observed = record.observed
    assert observed is not None
    workers = {event.pid for event in observed.events if event.role is Role.WORKER}
    served = {one.pid for one in observed.identities}
    assert served == workers, "a process was started or ended, or one never served"


def test_a_cell_that_reaches_max_seconds_is_no_pass(bench: Bench) -> None:
    record = bench.run(topology=Topology.NONE, requests=100_000, max_seconds=3.0)
    assert record.verdict is Verdict.INCONCLUSIVE, why(record)
    (told,) = (check.reason for check in record.checks if check.check == "responses")
    assert told.startswith("the limit of 3 s was reached with ")
    assert record.observed is not None
    assert 0 < record.observed.requests < 50_000


def test_if_no_worker_has_the_requests_the_frontends_tell_where_they_wait(bench: Bench) -> None:
    observed = bench.run(control="hang-at-import", start_deadline=8.0).observed
    assert observed is not None
    read = [one for one in observed.stacks if one.why == "hang"]
    assert {one.role for one in read} >= {Role.WORKER, Role.FRONTEND}
    functions = {
        frame.function
        for one in read
        if one.role is Role.FRONTEND
        for thread in one.threads
        for frame in thread.frames
    }
    assert functions or all(one.note for one in read), "neither frames nor a reason"
