"""The phase ``trials``: processes end until a crash that comes only sometimes would have shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real.conftest import Bench
from tests.real.test_cells import why
from wsgiproof.judge.process_ends import ends_needed, process_ends
from wsgiproof.records.cell import Mode
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import Observed, Role
from wsgiproof.records.plan import ExtraPhase, PhaseName
from wsgiproof.records.run import CellRecord
from wsgiproof.server.configuration import DAEMON_THREADS, HTTPD_CONF
from wsgiproof.subjects.pymongo.axes import Topology

TRIALS = (ExtraPhase.TRIALS,)

NOT_OF_THE_CELL = "the configuration that is kept is not the cell's"

ALONE = """
import fcntl, mod_wsgi, tempfile

lock = open("%s/lock-%s" % (tempfile.gettempdir(), mod_wsgi.application_group), "w")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
"""Two processes can't import it at the same time."""


def reason(record: CellRecord, check: str) -> str:
    return next(one.reason for one in record.checks if one.check == check)


def seen(record: CellRecord) -> Observed:
    assert record.observed is not None, record.reason
    return record.observed


@pytest.fixture(scope="module")
def clean(bench: Bench) -> CellRecord:
    record = bench.run(topology=Topology.NONE, phases=TRIALS)
    conf = bench.file(record, HTTPD_CONF).read_text()
    assert "subject2" not in conf, NOT_OF_THE_CELL
    return record


@pytest.fixture(scope="module")
def embedded(bench: Bench) -> CellRecord:
    record = bench.run(mode=Mode.EMBEDDED, phases=TRIALS)
    conf = bench.file(record, HTTPD_CONF).read_text()
    assert "StartServers 4\n" in conf, NOT_OF_THE_CELL
    return record


@pytest.mark.parametrize("name", ["clean", "embedded"])
def test_a_pass_rests_on_as_many_ends_as_its_bound_needs(
    name: str, request: pytest.FixtureRequest
) -> None:
    record: CellRecord = request.getfixturevalue(name)
    assert record.verdict is Verdict.PASS, why(record)
    observed = seen(record)
    ends = process_ends(observed)
    assert ends.total >= ends_needed(observed.plan.crash_bound) == 14
    assert "under 19.3 % each (95 %)" in reason(record, "crash") or ends.total > 14
    assert f"none of {ends.total} process ends hung" in reason(record, "shutdown")


@pytest.mark.parametrize(("name", "threads"), [("clean", DAEMON_THREADS), ("embedded", 1)])
def test_each_new_process_is_used_by_every_thread_in_every_interpreter(
    name: str, threads: int, request: pytest.FixtureRequest
) -> None:
    observed = seen(request.getfixturevalue(name))
    first = {one.pid for one in observed.identities if one.first == 0}
    used = [one for one in observed.identities if one.pid not in first]
    assert {one.threads for one in used} == {threads}
    pids = {one.pid for one in used}
    served = {(one.pid, one.url) for one in used}
    assert served == {(pid, url) for pid in pids for url in observed.urls}
    workers = [event for event in observed.events if event.role is Role.WORKER]
    assert pids == {one.pid for one in workers if one.kind == "born"} - first, "one was not used"
    assert pids | first == {one.pid for one in workers if one.kind == "died"}


@pytest.mark.parametrize("mode", list(Mode))
def test_a_crash_at_half_of_all_ends_is_a_rate(bench: Bench, mode: Mode) -> None:
    record = bench.run(mode=mode, control="crash-at-some-exits", phases=TRIALS)
    assert reason(record, "crash").startswith(tuple("123456789")), why(record)
    assert "process ends crashed, " in reason(record, "crash")
    assert "(95 %: " in reason(record, "crash")
    assert process_ends(seen(record)).crashed


def test_an_end_that_hangs_half_of_the_time_is_found(bench: Bench) -> None:
    record = bench.run(control="hang-at-some-exits", phases=TRIALS)
    assert "process ends hung, " in reason(record, "shutdown"), why(record)


def test_an_application_of_ones_own_is_alone(bench: Bench, tmp_path: Path) -> None:
    app = tmp_path / "alone.py"
    app.write_text(ALONE)
    # One process after the other: three are enough to be two at a time, if they could be.
    record = bench.run(app=app, topology=Topology.NONE, phases=TRIALS, crash_bound=0.6)
    observed = seen(record)
    assert not [one for one in observed.failures if one.phase == PhaseName.TRIALS], why(record)
    assert len(observed.trials) >= 3
