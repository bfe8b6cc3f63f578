"""Each workload of PyMongo with a real replica set: without Apache, and some with it.

The planted fault of each, in Apache, is in tests/selftest.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cells import CELL
from tests.real.conftest import Bench
from tests.unit.test_inside import App
from tests.unit.test_pymongo_agent import SETTINGS
from wsgiproof.records.cell import InterpreterKind
from wsgiproof.records.judgement import Verdict
from wsgiproof.server.scratch import scratch_directory
from wsgiproof.subjects.pymongo import COLLECTIONS
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.deployment import Deployment, start_deployment
from wsgiproof.subjects.pymongo.mongod_binary import find_mongod
from wsgiproof.subjects.pymongo.resources import CLOSED, CURSORS, OBJECTS
from wsgiproof.subjects.pymongo.subject import PYMONGO
from wsgiproof.subjects.pymongo.workloads import WORKLOADS

NAME = "wsgiproof_workloads"
HERE = [name for name, one in WORKLOADS.items() if not one.extras]
"""Those that need no package which these tests do not have."""

WORK = """
from concurrent.futures import ThreadPoolExecutor
from wsgiproof_agent import settings
from wsgiproof_agent.subject import workload
one = workload.Workload(settings.load()["subject"])
def work(times=1):
    with ThreadPoolExecutor(4) as threads:
        done = [threads.submit(one.work) for _ in range(times)]
        return [problem for each in done for problem in each.result()]
"""

WRONG = {
    "crud": "one.store.expected.pop(0)",
    "gridfs": "one.store.stored[1] = (one.store.stored[1][0], b'other')",
    "transactions": "one.store.client.start_session = Unending",
    "change-streams": "one.store.collection = Twice(one.store.collection)",
    "bulk": "one.store.collection = Twice(one.store.collection)",
    "async": "one.store.expected.pop(0)",
    "raw-bson": "one.store._expected.popitem()",
}
"""What makes the driver, or what is expected of it, wrong."""

LIARS = """
class Unending(object):
    "A session that runs a transaction's operations outside of it."
    def __enter__(self): return self
    def __exit__(self, *exc_info): pass
    def with_transaction(self, callback): callback(None)
class Twice(object):
    "A collection that does every other update with other values."
    def __init__(self, real): self._real = real
    def update_one(self, key, change): return self._real.update_one(key, {"$set": {"int32": 8}})
    def bulk_write(self, writes, ordered): return self._real.bulk_write(writes[:1], ordered)
    def __getattr__(self, name): return getattr(self._real, name)
"""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with (
        scratch_directory() as scratch,
        start_deployment(
            Topology.REPLICA_SET, find_mongod(None), scratch, tmp_path_factory.mktemp("logs")
        ) as started,
    ):
        started.prepare(NAME)
        yield started


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(tmp_path, PYMONGO.agent)


def configure(app: App, deployment: Deployment, workload: str) -> None:
    told = deployment.connection(CELL, NAME)
    app.configure(
        subject={
            **SETTINGS, **told, "workload": workload, "documents": 5, "prefix": COLLECTIONS,
            "close": True,
        }
    )  # fmt: skip


@pytest.mark.parametrize("workload", HERE)
def test_a_workload_is_right_while_it_serves_and_leaves_nothing(
    app: App, deployment: Deployment, workload: str
) -> None:
    configure(app, deployment, workload)
    code = (
        WORK + "import sys, threading\nprint(work(8), flush=True)\nsys.stdin.read()\n"
        "one.close()\nprint(threading.active_count())"
    )
    command = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=app.directory, stdin=pipe, stdout=pipe, text=True
    ) as running:
        assert running.stdout is not None
        problems = running.stdout.readline()
        counts = deployment.counts(NAME, ())
        threads, _ = running.communicate(timeout=120)
    assert (problems, threads) == ("[]\n", "1\n")
    assert counts["connections"]
    idle = {name: counts[name] for name in (CURSORS, CLOSED, *OBJECTS)}
    assert idle == dict.fromkeys(idle, 0)
    with deployment.admin_client() as client:
        assert client[NAME].list_collection_names() == []


@pytest.mark.parametrize("workload", HERE)
def test_a_workload_sees_what_is_wrong(app: App, deployment: Deployment, workload: str) -> None:
    configure(app, deployment, workload)
    assert app.run(WORK + LIARS + WRONG[workload] + "\nresult = work()\none.close()")


def test_workloads_pass_in_apache_where_there_is_one_interpreter(bench: Bench) -> None:
    axes = {"workload": "encryption"}
    record = bench.run(axes=axes, interpreter=InterpreterKind.MAIN, requests=120)
    assert record.verdict is Verdict.PASS, record.reason
    assert "-standalone-encryption-daemon-" in record.cell.id
    assert "--workload encryption" in record.rerun
    assert record.observed is not None
    assert {one.subject["extras"] for one in record.observed.identities} == {"encryption"}


def test_a_planted_fault_of_a_workload_is_found_in_apache(bench: Bench) -> None:
    record = bench.run(axes={"workload": "gridfs"}, control="leave-file-open", requests=300)
    failing = {check.check for check in record.checks if check.verdict is Verdict.FAIL}
    # An open cursor keeps its session, too.
    assert {"cursors"} <= failing <= {"cursors", "sessions"}
