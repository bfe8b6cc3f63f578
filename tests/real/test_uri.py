"""Deployments that are there: with users, with TLS, with databases of others, left as they were."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from pymongo import MongoClient

from tests.cells import configured
from tests.real.command import CLEAN, Command, started
from tests.unit.test_inside import agent_of
from wsgiproof.errors import ServiceFailed
from wsgiproof.process.commands import run
from wsgiproof.process.environ import child_environment
from wsgiproof.process.service import Service
from wsgiproof.provision.cache import Cache
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.reading import read_cell
from wsgiproof.records.run import CellRecord
from wsgiproof.run.preflight import Preflight
from wsgiproof.server.ports import LOOPBACK, free_port
from wsgiproof.server.scratch import scratch_directory
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.deployment import connect_deployment, start_deployment
from wsgiproof.subjects.pymongo.mongod_binary import find_mongod
from wsgiproof.subjects.pymongo.subject import PYMONGO

PASSWORD = "hunter/2"
QUOTED = "hunter%2F2"
Client = MongoClient[dict[str, Any]]


@contextmanager
def mongod(directory: Path, *options: str) -> Iterator[str]:
    """A mongod with these options, as anyone may have one: its host and port."""
    port = free_port()
    data = directory / "data"
    data.mkdir(mode=0o700)
    command = [str(find_mongod(None).path), "--dbpath", str(data), "--port", str(port)]
    command += ["--bind_ip", LOOPBACK, "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"]
    log = directory / "mongod.log"
    with Service(
        [*command, *options],
        name="mongod",
        log=log,
        events=directory / "events",
        env=child_environment(),
    ) as one:
        limit = time.monotonic() + 120
        while "Waiting for connections" not in log.read_text():
            assert one.alive(), log.read_text()
            assert time.monotonic() < limit, log.read_text()
            time.sleep(0.05)
        yield f"{LOOPBACK}:{port}"


def one_cell(tmp: Path, uri: str) -> tuple[Command, CellRecord]:
    """A short cell on the deployment at ``uri``, of a replica set and a standalone asked for."""
    file = tmp / "uri"
    file.touch(mode=0o600)
    file.write_text(uri)
    options = ["--mode", "daemon", "-n", "60", "--control", CLEAN]
    options += ["--mongodb", f"file:{file}"]
    with started(tmp, *options) as running:
        running.finish()
        (path,) = running.output.glob("cells/*/cell.json")
        return running, read_cell(path)


def passed(record: CellRecord) -> bool:
    """Whether it passed each check that it can pass on a deployment of somebody's."""
    skipped = [check.check for check in record.checks if check.verdict is Verdict.SKIPPED]
    return record.verdict is Verdict.PASS and skipped == ["sessions"]


def files_with(word: str, directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and word in path.read_text()]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A mongod that asks who is there: its host. ``root`` may do all, ``writer`` just write."""
    with mongod(tmp_path_factory.mktemp("guarded"), "--auth") as host:
        with Client(host) as first:  # the localhost exception: until there is a user
            first.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
        with Client(host, username="root", password=PASSWORD) as root:
            roles = ["readWriteAnyDatabase"]
            root.admin.command("createUser", "writer", pwd=PASSWORD, roles=roles)
            watching = [*roles, "clusterMonitor"]
            root.admin.command("createUser", "watcher", pwd=PASSWORD, roles=watching)
            root.admin.command("createUser", "reader", pwd=PASSWORD, roles=["readAnyDatabase"])
            root["shop"]["orders"].insert_one({"article": 7})
        yield host


@contextmanager
def as_root(host: str) -> Iterator[Client]:
    with Client(host, username="root", password=PASSWORD) as root:
        yield root


def test_a_user_is_let_in_and_its_password_is_written_nowhere(guarded: str, open_tmp: Path) -> None:
    uri = f"mongodb://root:{QUOTED}@{guarded}/shop?authSource=admin"
    running, record = one_cell(open_tmp, f"{uri}&readPreference=secondaryPreferred")
    assert passed(record), running.text
    assert record.cell.value("topology") == Topology.STANDALONE
    for secret in (PASSWORD, QUOTED):
        assert secret not in running.text
        assert not files_with(secret, running.output)
    assert f"--mongodb file:{open_tmp}/uri" in record.rerun
    assert (running.output / "results.json").stat().st_size
    with as_root(guarded) as root:
        assert set(root.list_database_names()) == {"admin", "config", "local", "shop"}
        assert root["shop"]["orders"].count_documents({"article": 7}) == 1
        assert root["shop"].list_collection_names() == ["orders"]


def test_a_user_that_may_not_look_leaves_the_counts_open_and_nothing_behind(
    guarded: str,
) -> None:
    given = connect_deployment(f"mongodb://writer:{QUOTED}@{guarded}/?authSource=admin")
    given.prepare("wsgiproof_written")
    counted = given.counts("wsgiproof_written", ())
    assert "sessions" not in counted
    with as_root(guarded) as root:
        assert "wsgiproof_written" in root.list_database_names()
        given.drop("wsgiproof_written")
        assert "wsgiproof_written" not in root.list_database_names()
    given.close()
    assert (counted["connections"], counted["cursors"]) == (None, None)


def test_a_user_that_monitors_may_count(guarded: str) -> None:
    given = connect_deployment(f"mongodb://watcher:{QUOTED}@{guarded}/")
    counted = given.counts("wsgiproof_written", ())
    assert "sessions" not in counted
    given.close()
    assert (counted["connections"], counted["cursors"]) == (0, 0)


def test_a_user_that_may_not_write_is_no_finding_about_the_subject(guarded: str) -> None:
    given = connect_deployment(f"mongodb://reader:{QUOTED}@{guarded}/")
    refused = (
        r"refuses a write to a new database: not authorized on wsgiproof_.*"
        r"give its user the role readWriteAnyDatabase$"
    )
    with pytest.raises(ServiceFailed, match=refused):
        given.prepare("wsgiproof_written")
    given.close()


def test_a_deployment_that_wants_to_know_who_is_there(guarded: str) -> None:
    given = connect_deployment(f"mongodb://{guarded}/")
    with pytest.raises(ServiceFailed, match=r"new database: .* requires authentication; give its"):
        given.prepare("wsgiproof_written")
    given.close()


def test_a_wrong_password_is_said(guarded: str) -> None:
    with pytest.raises(ServiceFailed, match=r"refuses access: Authentication failed\.$"):
        connect_deployment(f"mongodb://root:wrong@{guarded}/")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def encrypted(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A mongod that speaks TLS alone: its host."""
    directory = tmp_path_factory.mktemp("encrypted")
    key = directory / "mongod.pem"
    authority.issue_cert(LOOPBACK).private_key_and_cert_chain_pem.write_to_path(key)
    with mongod(directory, "--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(key)) as host:
        yield host


def test_a_deployment_with_tls(authority: trustme.CA, encrypted: str, open_tmp: Path) -> None:
    certificate = open_tmp / "ca.pem"
    authority.cert_pem.write_to_path(certificate)
    certificate.chmod(0o644)
    uri = f"mongodb://{encrypted}/?tls=true&tlsCAFile={certificate}"
    running, record = one_cell(open_tmp, uri)
    assert passed(record), running.text
    with Client(uri) as client:
        assert set(client.list_database_names()) == {"admin", "config", "local"}


def test_a_server_that_is_not_trusted_is_said(encrypted: str) -> None:
    with pytest.raises(ServiceFailed, match="certificate verify failed"):
        connect_deployment(f"mongodb://{encrypted}/?tls=true")


def problem_of(uri: str, tmp: Path) -> str:
    """What is said of ``uri`` before anything is started."""
    survey = Preflight(configured(mongodb=(uri,)), Cache(tmp / "cache"))
    (need,) = (need for need in survey.prerequisites if need.name == "mongod")
    return need.problem


def test_a_certificate_that_apaches_user_cannot_read(open_tmp: Path) -> None:
    path = open_tmp / "ca.pem"
    path.write_text("")
    uri = f"mongodb://localhost/?tls=true&tlsCAFile={quote(str(path))}"
    path.chmod(0o644)
    assert not problem_of(uri, open_tmp)
    path.chmod(0o600)
    problem = problem_of(uri, open_tmp)
    assert problem.startswith(f"Apache's user 'www-data' can't read {path} (tlsCAFile of --mongodb")


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("tlsCAFile=/nonexistent/ca.pem", "there is no such file"),
        ("TLSCertificateKeyFile=ca.pem", "is not an absolute path"),
    ],
)
def test_a_file_that_cannot_be_that_of_a_uri(open_tmp: Path, option: str, told: str) -> None:
    assert told in problem_of(f"mongodb://localhost/?tls=true&{option}", open_tmp)


LAGGING = """
import atexit, sys
import pymongo
from wsgiproof_agent.subject.work_crud import Work
store = Work({
    "uri": sys.argv[1], "database": "wsgiproof_lagging", "documents": 20, "batch_size": 10,
    "prefix": "store_", "close": True, "closed_app_name": "x-closed",
})
atexit.register(store.close)
print([problem for _ in range(20) for problem in store.work()])
"""


def test_what_is_read_from_secondaries_has_got_there(tmp_path: Path) -> None:
    """A secondary that lags behind is no fault of the driver's."""
    agent_of(PYMONGO.agent, tmp_path)
    with (
        scratch_directory() as scratch,
        start_deployment(Topology.REPLICA_SET, find_mongod(None), scratch, tmp_path) as ours,
        ours.admin_client() as client,
    ):
        ours.prepare("wsgiproof_lagging")
        config = client.admin.command("replSetGetConfig")["config"]
        config["version"] += 1
        primary = f"{LOOPBACK}:{client.admin.command('hello')['primary'].rpartition(':')[2]}"
        last = next(one for one in reversed(config["members"]) if one["host"] != primary)
        last.update(priority=0, secondaryDelaySecs=2)
        client.admin.command("replSetReconfig", config)
        uri = f"{ours.uri('wsgiproof_lagging')}&readPreference=secondaryPreferred"
        done = run([sys.executable, "-c", LAGGING, uri], deadline=60, env={}, cwd=tmp_path)
    assert done.output.strip() == "[]", done.output
