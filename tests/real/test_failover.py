"""Members of a real deployment die, pause and step down. Planted faults: test_selftest.py."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.real.command import CLEAN, at_work, nobody_is_left, soon, started
from tests.real.conftest import Bench
from tests.real.test_cells import why
from wsgiproof.errors import ServiceFailed
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import of_members
from wsgiproof.records.plan import ExtraPhase
from wsgiproof.records.reading import read_cell
from wsgiproof.server.ports import LOOPBACK
from wsgiproof.server.scratch import scratch_directory
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.deployment import start_deployment
from wsgiproof.subjects.pymongo.mongod_binary import find_mongod

FAILOVER = (ExtraPhase.FAILOVER,)
PAUSE = """
import sys
from pathlib import Path
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.deployment import start_deployment
from wsgiproof.subjects.pymongo.mongod_binary import find_mongod
scratch = Path(sys.argv[1])
with start_deployment(Topology.STANDALONE, find_mongod(None), scratch, scratch) as deployment:
    deployment.members[0].pause()
    print("paused", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def scratch() -> Iterator[Path]:
    with scratch_directory() as directory:
        yield directory


def test_a_replica_set_fails_over_in_each_way_and_nothing_is_left(bench: Bench) -> None:
    """Three interpreters share the process. Two on a standalone: test_restarts.py."""
    record = bench.run(
        topology=Topology.REPLICA_SET, sub_interpreters=3, control=CLEAN, phases=FAILOVER
    )
    observed = record.observed
    assert observed is not None, record.reason
    assert sum(phase.requests for phase in observed.phases) == observed.requests > 120
    answers = sum(one.answers for one in observed.identities)
    assert answers + sum(one.count for one in observed.failures) == observed.requests
    assert {one.phase for one in observed.failures} <= {"failover"}
    assert sum(one.count for one in observed.latencies) == observed.requests
    assert len({one.token for one in observed.identities}) == 3
    assert len({one.pid for one in observed.identities}) == 1
    assert all(one.threads == 15 for one in observed.identities), "not every worker was warmed up"
    assert read_cell(bench.file(record, "cell.json")).verdict is record.verdict
    faults = [outage.fault.partition(" for ")[0] for outage in observed.outages]
    assert faults == [
        "secondary paused",
        "primary steps down",
        "primary killed and restarted",
        "all members gone",
    ]
    for outage in observed.outages:
        assert outage.recovered is not None, why(record)
        assert outage.requests > 0
        assert of_members(outage.before.counts), "nobody has counted"
        assert outage.after is not None
    paused, _, killed, gone = observed.outages
    assert paused.over >= 1.0
    assert killed.primary_lost is not None
    # Those that have waited may be refused: docs/failover.md.
    late = max((one.last for one in gone.failures), default=0.0)
    assert max(gone.slowest, late) >= 1.0, "no request has waited for a primary"
    verdicts = {one.check: one.verdict for one in record.checks}
    assert Verdict.FAIL not in verdicts.values(), why(record)
    assert verdicts["recovery"] is Verdict.PASS, why(record)


def test_a_member_has_its_port_and_its_data_again_or_says_why_not(
    scratch: Path, tmp_path: Path
) -> None:
    with start_deployment(Topology.STANDALONE, find_mongod(None), scratch, tmp_path) as standalone:
        (member,) = standalone.members
        port = member.port
        standalone.drop("other")
        member.kill()
        assert not member.alive()
        taken = pytest.raises(ServiceFailed, match=r"started again: port \d+ was taken")
        with socket.create_server((LOOPBACK, port)), taken:
            member.start_again()
        member.start_again()
        assert (member.port, member.alive()) == (port, True)
        standalone.restore()
        member.kill()
        for data in scratch.glob("mongod-*"):
            if data.is_dir():
                shutil.rmtree(data)
        with pytest.raises(ServiceFailed, match=r"could not be started again: .* not found"):
            standalone.restore()


def test_ctrl_c_while_a_member_is_paused_leaves_nothing(open_tmp: Path) -> None:
    options = ["--topology", "replica-set", "--mode", "daemon", "-n", "60"]
    with started(open_tmp, *options, "--phases", "failover", "--fault-seconds", "100") as command:
        command.wait_for("failover")
        _await_stopped(open_tmp)
        command.interrupt()
        assert command.finish() == 130, command.text
        assert not command.left_behind()
    assert "Traceback" not in command.text


def test_nothing_outlives_us_though_it_is_paused_when_we_are_killed(open_tmp: Path) -> None:
    scratch = open_tmp / "scratch"
    scratch.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", PAUSE, str(scratch)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"paused\n"
        _await_stopped(open_tmp)
        process.kill()
    assert nobody_is_left(open_tmp)
    assert soon(lambda: not scratch.exists()), "its data is still there"


def _await_stopped(directory: Path) -> None:
    """Wait until one of the processes there is stopped by a signal."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        for told in at_work(directory):
            try:
                if psutil.Process(int(told.split()[0])).status() == psutil.STATUS_STOPPED:
                    return
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.1)
    raise AssertionError("nobody was stopped")
