"""A replica set with TLS: who can read its keys, who is let in, and what is still counted."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import ServerSelectionTimeoutError

from tests.cells import CELL, cell_with
from tests.real.conftest import Bench
from tests.unit.test_inside import agent_of
from wsgiproof.files import Directory
from wsgiproof.process.account import server_account
from wsgiproof.server.scratch import scratch_directory
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.deployment import Deployment, start_deployment
from wsgiproof.subjects.pymongo.faults import make_primary, primary
from wsgiproof.subjects.pymongo.mongod_binary import find_mongod
from wsgiproof.subjects.pymongo.subject import PYMONGO

APP = "wsgiproof_encrypted"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    account = server_account()
    with scratch_directory() as scratch, scratch_directory(account) as entered:
        user, group = account.ids
        with Directory(entered) as opened:
            opened.make("shared", 0o700, owner=user, group=group).close()
        with start_deployment(
            Topology.REPLICA_SET,
            find_mongod(None),
            scratch,
            tmp_path_factory.mktemp("logs"),
            shared=entered / "shared",
        ) as started:
            started.prepare(APP)
            yield started


def test_each_file_can_be_read_by_the_one_user_who_needs_it(deployment: Deployment) -> None:
    home = deployment._home
    assert home is not None
    made = home.certificates
    assert made is not None
    seen = {name: getattr(made, name).stat() for name in made.__struct_fields__}
    modes = {name: stat.S_IMODE(one.st_mode) for name, one in seen.items()}
    assert modes == {"authority": 0o440, "key": 0o400, "for_subject": 0o400, "stranger": 0o400}
    worker, mongod = server_account(), home.account
    owners = {name: one.st_uid for name, one in seen.items()}
    assert owners["for_subject"] == owners["stranger"] == worker.uid
    assert owners["key"] == mongod.uid
    if mongod.dropped:  # the files that wsgiproof itself reads are nobody else's
        assert owners["authority"] == 0
        assert worker.cannot_reach(made.key)
        assert worker.cannot_reach(made.authority)
        assert not mongod.cannot_reach(made.authority)
        assert mongod.cannot_reach(made.for_subject)
    assert b"PRIVATE" not in made.for_subject.read_bytes() + made.authority.read_bytes()


def test_the_deployment_is_counted_and_moved_as_without_tls(deployment: Deployment) -> None:
    told = deployment.connection(CELL, APP)
    client: MongoClient[dict[str, int]] = MongoClient(told["uri"])
    with client:
        client[APP]["documents"].insert_one({"one": 1})
        counts = deployment.counts(APP, ())
    assert counts["connections"]
    assert counts["sessions"]
    before = primary(deployment.members)
    other = next(one for one in deployment.members if one is not before)
    make_primary(other)
    assert primary(deployment.members) is other
    other.kill()
    deployment.healthy = False
    deployment.restore()
    assert deployment.healthy


def test_the_options_of_a_cell_are_in_its_uri_and_in_use(deployment: Deployment) -> None:
    def inflated() -> int:
        with deployment.admin_client() as observer:
            told = observer.admin.command("serverStatus")["network"]["compression"]["zlib"]
        return int(told["decompressor"]["bytesOut"])

    cell = cell_with(CELL, uri_options="compressors=zlib&w=3&maxPoolSize=2")
    before = inflated()
    client: MongoClient[dict[str, str]] = MongoClient(deployment.connection(cell, APP)["uri"])
    with client:
        assert client.write_concern.document == {"w": 3}
        assert client.options.pool_options.max_pool_size == 2
        client[APP]["documents"].insert_one({"text": "x" * 100_000})
    assert inflated() - before > 100_000


def test_without_tls_nobody_is_let_in(deployment: Deployment) -> None:
    uri = f"mongodb://127.0.0.1:{deployment.members[0].port}/"
    client: MongoClient[dict[str, int]] = MongoClient(uri, serverSelectionTimeoutMS=1000)
    with client, pytest.raises(ServerSelectionTimeoutError, match="connection closed"):
        client.admin.command("ping")


def test_whether_a_client_checks_certificates_is_tried(
    deployment: Deployment, tmp_path: Path
) -> None:
    told = deployment.connection(CELL, APP)
    agent_of(PYMONGO.agent, tmp_path)
    # A client that trusts the authority accepts the servers, as one would that checks nothing.
    code = (
        "from wsgiproof_agent.subject import tls\n"
        f"uri = {told['uri']!r}\n"
        f"print(tls.verifies(uri, {told['stranger']!r}), tls.verifies(uri, {told['authority']!r}),"
        f" tls.verifies(uri, None))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False", "None"]


def test_a_cell_with_all_of_it_says_which_interpreter_lacks_an_extra(bench: Bench) -> None:
    record = bench.run(
        axes={"transport": "tls", "extras": "zstd", "uri_options": "compressors=zstd,zlib"},
        control="lose-extra",
    )
    failing = {check.check: check.reason for check in record.checks if check.verdict == "fail"}
    assert failing.keys() == {"environment", "error-log"}
    lost = r"PyMongo's extra zstd is missing, not usable \(\d+ answers of interpreter2\)"
    assert re.fullmatch(lost, failing["environment"])
    # With the compressor in the URI, PyMongo says so itself.
    assert "compression with zstandard is not available" in failing["error-log"]
    assert record.observed is not None
    told = {one.application_group: one.subject for one in record.observed.identities}
    assert {group: one["extras"] for group, one in told.items()} == {
        "interpreter1": "zstd",
        "interpreter2": "",
    }
    assert all(one["verifies_tls"] is True for one in told.values())
    assert "-standalone-tls-compressors_zstd_zlib-zstd-daemon-" in record.cell.id
    assert "--transport tls --uri-options compressors=zstd,zlib --extras zstd" in record.rerun
