"""What a deployment tells of the subject: its connections, its cursors, and sessions."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient

from tests.unit.test_inside import agent_of
from wsgiproof.server.ports import free_port
from wsgiproof.server.scratch import scratch_directory
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.deployment import Deployment, connect_deployment, start_deployment
from wsgiproof.subjects.pymongo.mongod_binary import find_mongod
from wsgiproof.subjects.pymongo.subject import PYMONGO

APP = "wsgiproof_counted"
OTHER = "wsgiproof_other"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    logs = tmp_path_factory.mktemp("mongod")
    mongod = find_mongod(None)
    with (
        scratch_directory() as scratch,
        start_deployment(Topology.STANDALONE, mongod, scratch, logs, free_port) as started,
    ):
        yield started


@pytest.fixture(autouse=True)
def users(deployment: Deployment) -> Iterator[None]:
    """One for each subject."""
    for database in (APP, OTHER):
        deployment.prepare(database, for_app=True)
    yield
    for database in (APP, OTHER):
        deployment.drop(database)


def settled(deployment: Deployment, expected: int) -> int | None:
    """The count of connections, which mongod takes a moment to close."""
    limit = time.monotonic() + 60
    while (told := deployment.counts(APP, ())["connections"]) != expected:
        if time.monotonic() > limit:
            break
        time.sleep(0.05)
    return told


def test_connections_are_those_of_the_subject_alone(deployment: Deployment) -> None:
    assert settled(deployment, 0) == 0
    with (
        MongoClient[dict[str, int]](deployment.uri(APP), minPoolSize=5) as mine,
        MongoClient[dict[str, int]](deployment.uri(OTHER)) as other,
    ):
        other.admin.command("ping")
        mine.admin.command("ping")
        # Five of the pool and two that monitor; the other's are not ours.
        assert settled(deployment, 7) == 7
    assert settled(deployment, 0) == 0


def test_a_socket_that_never_said_who_it_is_counts_by_its_ports(deployment: Deployment) -> None:
    (port,) = deployment.ports
    with socket.create_connection(("127.0.0.1", port)) as leaked:
        ends = (leaked.getsockname()[1], port)
        limit = time.monotonic() + 60
        while not deployment.counts(APP, {ends})["connections"] and time.monotonic() < limit:
            time.sleep(0.05)
        assert deployment.counts(APP, {ends})["connections"] == 1
        assert deployment.counts(APP, {(ends[0], port + 1)})["connections"] == 0
        assert deployment.counts(APP, ())["connections"] == 0


def test_cursors_are_those_on_the_subjects_own_database(deployment: Deployment) -> None:
    with MongoClient[dict[str, int]](deployment.uri(APP)) as client:
        kept = []
        for database in (APP, APP, OTHER, f"{APP}_not"):
            documents = client[database]["documents"]
            documents.insert_many([{"n": number} for number in range(20)])
            cursor = documents.find(batch_size=5)
            next(cursor)
            kept.append(cursor)
        assert deployment.counts(APP, ())["cursors"] == 2
        for cursor in kept:
            cursor.close()
        assert deployment.counts(APP, ())["cursors"] == 0
    for database in (APP, OTHER, f"{APP}_not"):
        deployment.drop(database)


def objects(deployment: Deployment) -> dict[str, int | None]:
    counts = deployment.counts(APP, ())
    return {name: counts[name] for name in ("collections", "views", "indexes")}


def test_collections_of_the_workload_itself_do_not_count(deployment: Deployment) -> None:
    with MongoClient[dict[str, int]](deployment.uri(APP)) as client:
        before = objects(deployment)
        for database, name in (
            (APP, "wsgiproof_store_7_1"),
            (APP, "wsgiproof_store"),
            (OTHER, "wsgiproof_store_7_1"),
        ):
            client[database][name].create_index("n")
        after = objects(deployment)
    grown = {name: (number or 0) - (before[name] or 0) for name, number in after.items()}
    # Its own index goes with a collection; another one that the subject made does not.
    assert grown == {"collections": 2, "views": 0, "indexes": 5}
    for database in (APP, OTHER):
        deployment.drop(database)


def test_sessions_are_counted_on_a_deployment_of_our_own_only(deployment: Deployment) -> None:
    before = deployment.counts(APP, ())["sessions"]
    assert before is not None
    with MongoClient[dict[str, int]](deployment.uri(APP)) as client:
        kept = [client.start_session() for _ in range(10)]
        for session in kept:
            client[APP]["documents"].find_one(session=session)
        assert deployment.counts(APP, ())["sessions"] == before + 10
        assert deployment._home is not None
        existing = connect_deployment(deployment._home.admin_uri(deployment._uri))
        assert "sessions" not in existing.counts(APP, ())
        assert existing.counts(APP, ())["connections"] is not None
        existing.close()
        for session in kept:
            session.end_session()
    assert (
        deployment.counts(APP, ())["sessions"] == before
    )  # the server itself counts them for minutes


def test_sessions_that_a_client_ends_are_not_counted_after_a_crash_of_the_member_either(
    deployment: Deployment,
) -> None:
    (member,) = deployment.members
    member.kill()
    member.start_again()
    before = deployment.counts(APP, ())["sessions"]
    with MongoClient[dict[str, int]](deployment.uri(APP)) as client:
        client[APP]["documents"].find_one({})
        assert before is not None
        assert deployment.counts(APP, ())["sessions"] == before + 1
    assert deployment.counts(APP, ())["sessions"] == before


FILL = """
import sys, threading, time
import pymongo
from wsgiproof_agent import barrier, probe
import wsgiproof_agent.subject.workload as workload
probe.LONGEST_HOLD = 60.0
client = pymongo.MongoClient(sys.argv[1])
client.admin.command("ping")
gate = barrier.Barrier()
def fill():
    workload.fill_pools(0.1, barrier.Burst(gate, 15).together)
threads = [threading.Thread(target=fill) for _ in range(15)]
started = time.time()
for thread in threads: thread.start()
for thread in threads: thread.join()
print(time.time() - started, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize(("options", "most"), [("", 15), ("&maxPoolSize=4", 4)])
def test_occupying_from_all_threads_fills_a_pool(
    deployment: Deployment, tmp_path: Path, options: str, most: int
) -> None:
    """Fifteen connections for as many threads, and the two that monitor, at the first attempt. A
    pool that can't have so many makes no thread wait for another one's turn."""
    agent_of(PYMONGO.agent, tmp_path)
    filling = subprocess.Popen(
        [sys.executable, "-c", FILL, deployment.uri(APP) + options],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert filling.stdout is not None
    assert 0.08 < float(filling.stdout.readline()) < 10
    assert settled(deployment, most + 2) == most + 2
    filling.communicate(timeout=300)
    assert filling.returncode == 0
    assert settled(deployment, 0) == 0
