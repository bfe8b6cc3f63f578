"""Sharded clusters and load balancers, by what a mongos answers: there is none in the tests."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import bson
import msgspec
import pytest

from tests.cells import CELL, cell_with, configured
from tests.unit.factories import counting, observed
from tests.unit.test_inside import App
from tests.unit.test_matrix import resolved
from tests.unit.test_pymongo_agent import SETTINGS
from wsgiproof.config.matrix import expand
from wsgiproof.errors import UsageError
from wsgiproof.judge.verdict import judge
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import CONNECTIONS, on_member
from wsgiproof.server.ports import LOOPBACK
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.backends import MongoDBs, Server
from wsgiproof.subjects.pymongo.deployment import connect_deployment
from wsgiproof.subjects.pymongo.resources import CLOSED, CURSORS
from wsgiproof.subjects.pymongo.subject import PYMONGO
from wsgiproof.subjects.registry import rules_of

APP = "wsgiproof_0123456789ab"
HELLO = {
    "isWritablePrimary": True,
    "ismaster": True,
    "msg": "isdbgrid",
    "topologyVersion": {"processId": bson.ObjectId("639a3a6b1d0e0d5a8e9b1c2d"), "counter": 0},
    "maxBsonObjectSize": 16777216,
    "maxMessageSizeBytes": 48000000,
    "maxWriteBatchSize": 100000,
    "logicalSessionTimeoutMinutes": 30,
    "connectionId": 7,
    "maxWireVersion": 17,
    "minWireVersion": 0,
    "helloOk": True,
    "ok": 1.0,
}
"""What a mongos of MongoDB 6.0 answers to ``hello`` (MongoDB manual, and the tests of the spec
"Server Discovery and Monitoring")."""
REFUSED = {
    "ok": 0.0,
    "errmsg": "not authorized on admin to execute command { aggregate: 1 }",
    "code": 13,
    "codeName": "Unauthorized",
}


class Mongos(socketserver.ThreadingTCPServer):
    """Answers as a mongos does with these open connections and idle cursors."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, rows: list[dict[str, Any]], hello: dict[str, Any], refuses: bool) -> None:
        super().__init__((LOOPBACK, 0), _Connection)
        self.rows = rows
        self.hello = hello
        self.refuses = refuses
        self.operations: list[dict[str, Any]] = []
        """What it was asked for with ``$currentOp``."""

    @property
    def host(self) -> str:
        return f"{LOOPBACK}:{self.server_address[1]}"

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        name = next(iter(command)).lower()
        if name in ("hello", "ismaster"):
            return self.hello
        if name == "buildinfo":
            return {"version": "6.0.5", "versionArray": [6, 0, 5, 0], "ok": 1.0}
        if name == "listcollections":
            cursor = {"id": 0, "ns": "x.$cmd.listCollections", "firstBatch": []}
            return {"cursor": cursor, "ok": 1.0}
        if name != "aggregate":
            return {"ok": 1.0}
        self.operations.append(command["pipeline"][0]["$currentOp"])
        if self.refuses:
            return REFUSED
        cursor = {"id": 0, "ns": "admin.$cmd.aggregate", "firstBatch": self.rows}
        return {"cursor": cursor, "ok": 1.0}


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Mongos)
        while head := self.request.recv(16, 0x100):  # MSG_WAITALL
            size, request, _, opcode = struct.unpack("<iiii", head)
            body = self.request.recv(size - 16, 0x100)
            message = opcode == 2013  # OP_MSG; the first hello is an OP_QUERY
            start = 5 if message else body.index(b"\0", 4) + 9
            length = struct.unpack_from("<i", body, start)[0]
            answer = bson.encode(self.server.answer(bson.decode(body[start : start + length])))
            payload = (
                struct.pack("<ib", 0, 0) if message else struct.pack("<iqii", 8, 0, 0, 1)
            ) + answer
            kind = 2013 if message else 1
            self.request.sendall(
                struct.pack("<iiii", 16 + len(payload), 1, request, kind) + payload
            )


@contextmanager
def mongos(
    rows: list[dict[str, Any]], hello: dict[str, Any] = HELLO, *, refuses: bool = False
) -> Iterator[Mongos]:
    with Mongos(rows, hello, refuses) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def connection(number: int, app_name: str = APP) -> dict[str, Any]:
    return {"type": "idleSession", "client": f"{LOOPBACK}:{number}", "appName": app_name}


@pytest.fixture
def cluster() -> Iterator[tuple[Mongos, Mongos]]:
    """Two mongos: three connections and a cursor of the subject, and some of others."""
    left = connection(4, f"{APP}-closed")
    cursor = {"type": "idleCursor", "ns": f"{APP}.store_1"}
    with ExitStack() as stack:
        yield (
            stack.enter_context(
                mongos([connection(1), connection(2), connection(3, "another"), left])
            ),
            stack.enter_context(mongos([connection(1), cursor])),
        )


def test_every_mongos_of_the_uri_is_counted(cluster: tuple[Mongos, Mongos]) -> None:
    uri = f"mongodb://{cluster[0].host},{cluster[1].host}/"
    with closing(connect_deployment(uri)) as deployment:
        assert deployment.topology is Topology.SHARDED
        assert deployment.title == "MongoDB 6.0.5, sharded"
        counts = deployment.counts(APP, ())
    assert counts[CONNECTIONS] == 3
    assert (counts[on_member(1)], counts[on_member(2)]) == (2, 1)
    assert (counts[CLOSED], counts[CURSORS]) == (1, 1)
    # Without localOps, a mongos tells of the shards, where its own connections are the clients.
    for one in cluster:
        assert [asked["localOps"] for asked in one.operations] == [True]


def test_the_workload_starts_and_ends_with_several_mongos(
    cluster: tuple[Mongos, Mongos], tmp_path: Path
) -> None:
    """A client that uses them in turn has no address of its own."""
    uri = f"mongodb://{cluster[0].host},{cluster[1].host}/"
    settings = {**SETTINGS, "uri": uri, "documents": 2, "close": True}
    address = App(tmp_path, PYMONGO.agent).run(
        "from wsgiproof_agent.subject import work_crud\n"
        f"one = work_crud.Work({settings!r})\n"
        "result = '%s:%d' % one.address\n"
        "one.close()"
    )
    assert address in {one.host for one in cluster}


def test_one_mongos_that_refuses_leaves_the_count_unknown(cluster: tuple[Mongos, Mongos]) -> None:
    with mongos([connection(9)], refuses=True) as refusing:
        uri = f"mongodb://{cluster[0].host},{refusing.host}/"
        with closing(connect_deployment(uri)) as deployment:
            counts = deployment.counts(APP, ())
    assert counts[CONNECTIONS] is counts[on_member(1)] is counts[on_member(2)] is None
    assert counts[CURSORS] is None


def test_a_mongod_is_still_a_standalone() -> None:
    hello = {name: value for name, value in HELLO.items() if name != "msg"}
    with (
        mongos([connection(1)], hello) as mongod,
        closing(connect_deployment(f"mongodb://{mongod.host}/")) as deployment,
    ):
        assert deployment.topology is Topology.STANDALONE
        assert deployment.counts(APP, ())[CONNECTIONS] == 1
    assert "localOps" not in mongod.operations[0]


def test_behind_a_load_balancer_nothing_is_counted() -> None:
    hello = HELLO | {"serviceId": bson.ObjectId("639a3a6b1d0e0d5a8e9b1c2e")}
    with (
        mongos([connection(1)], hello) as balancer,
        closing(connect_deployment(f"mongodb://{balancer.host}/?loadBalanced=true")) as deployment,
    ):
        assert deployment.topology is Topology.LOAD_BALANCED
        counts = deployment.counts(APP, ())
        assert {counts[name] for name in (CONNECTIONS, CURSORS)} == {None}
        assert set(counts.values()) == {None}, "never 0 for what nobody could count"
        assert not balancer.operations
        assert deployment.ports == {balancer.server_address[1]}


def test_what_can_not_be_counted_behind_a_load_balancer_is_no_pass() -> None:
    cell = cell_with(CELL, topology=Topology.LOAD_BALANCED)
    unknown = {CONNECTIONS: None, CURSORS: None, "collections": None}
    seen = observed()
    seen = msgspec.structs.replace(
        seen, owned=False, samples=tuple(counting(one, **unknown) for one in seen.samples)
    )
    checks = {one.check: one for one in judge(cell, seen, rules_of(cell)).checks}
    for check in ("connections", "cursors"):
        assert checks[check].verdict is Verdict.INCONCLUSIVE
        assert checks[check].reason.startswith("a load balancer is between wsgiproof and each")


def there(topology: Topology) -> MongoDBs:
    server = Server(name="uri", asked="mongodb://h/", target="mongodb://h/")
    return MongoDBs({"": server}, existing={"": (topology, "6.0.5")})


def test_a_sharded_cluster_is_no_cell_of_another_topology() -> None:
    axes = msgspec.structs.replace(resolved(), backends=there(Topology.SHARDED))
    with pytest.raises(UsageError, match="a sharded cluster, which '--topology sharded' tests"):
        expand(configured(), axes)
    matrix = expand(configured(topology=("sharded",)), axes)
    assert all("-sharded-uri-" in cell.id for cell in matrix.cells)
    both = expand(configured(topology=("sharded", "none")), axes)
    assert len(both.cells) == 2 * len(matrix.cells)


def test_wsgiproof_starts_no_sharded_cluster() -> None:
    with pytest.raises(UsageError, match="wsgiproof starts no sharded deployment: name one"):
        expand(configured(topology=("sharded",)), resolved())
