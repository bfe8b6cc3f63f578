"""What PyMongo's own planted faults do once they are called, without a server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.test_controls import PLANT as COMMON_PLANT
from tests.unit.test_inside import REQUEST, App
from tests.unit.test_pymongo_agent import SETTINGS
from tests.unit.test_pymongo_agent import app as app

# `workload` has a store, to which somebody listens.
PLANT = (
    COMMON_PLANT
    + """
import socket
listener = socket.create_server(("127.0.0.1", 0), backlog=100)
class Store: address = listener.getsockname()
class Workload:
    uri, authority = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=50", None
    store = Store()
store, workload = Workload.store, Workload()
"""
)


def test_the_real_subject_is_tested_without_the_modules_of_the_faults(app: App) -> None:
    assert (
        app.run(
            REQUEST + "import sys\nget()\n"
            "result = [n for n in sys.modules if '.faults_' in n and n[-5:] != '_base']\n"
            "result += [n for n in sys.modules if n == 'ctypes']"
        )
        == []
    )


@pytest.mark.parametrize("fault", ["leak-connection", "leak-cursor", "keep-stale-sockets"])
def test_a_fault_that_needs_a_deployment_says_so(app: App, fault: str) -> None:
    app.configure(fault=fault, subject=SETTINGS)
    done = app.start(REQUEST)
    assert done.returncode == 1
    assert "ValueError: this fault needs a deployment" in done.stderr


@pytest.mark.parametrize(
    ("fault", "grown"), [("leak-connection", [0, 1, 2, 5]), ("reopen-connection", [0, 0, 0, 0])]
)
def test_a_leak_is_one_in_ten_requests_exactly_and_its_twin_is_none(
    app: App, fault: str, grown: list[int]
) -> None:
    assert app.run(PLANT + f"result = series(descriptors, fault({fault!r}, every=10))") == grown


@pytest.mark.parametrize("fault", ["leak-connection", "reopen-connection", "fill-pool"])
def test_without_a_server_a_fault_fails_as_pymongo_does(app: App, fault: str) -> None:
    # The error log of a real run excuses such a failure during an outage, and no OSError.
    assert app.run(
        PLANT + "from pymongo.errors import AutoReconnect\n"
        "listener.close()\n"
        f"try: series(descriptors, fault({fault!r}, every=1))\n"
        "except AutoReconnect as error: result = 'refused' in str(error)"
    )


# A collection that refuses the document that it has, and has a cursor that counts what is open.
DOCUMENTS = """
from pymongo.errors import DuplicateKeyError
events = []
class Cursor:
    def __init__(self): events.append("open")
    def batch_size(self, size): self.left = iter(range(size)); return self
    def __next__(self): return next(self.left)
    def close(self): events.append("close")
    def __del__(self): events.append("collected")
class Documents:
    def find_one(self): return {"_id": 7, "more": 1}
    def insert_one(self, document):
        events.append(document)
        raise DuplicateKeyError("E11000")
    def find(self, no_cursor_timeout): return Cursor()
store.collection = Documents()
"""


@pytest.mark.parametrize(("fault", "grown"), [("leak-after-error", 2), ("handle-error", 0)])
def test_a_leak_after_an_error_follows_an_error(app: App, fault: str, grown: int) -> None:
    code = f"result = series(descriptors, fault({fault!r}, every=10), (10, 10)), events"
    assert app.run(PLANT + DOCUMENTS + code) == [[grown // 2, grown], [{"_id": 7}] * 2]


@pytest.mark.parametrize(
    ("fault", "events"),
    [
        ("leak-cursor", ["open", "open"]),
        ("close-cursor", ["open", "close", "collected", "open", "close", "collected"]),
    ],
)
def test_a_leaked_cursor_is_never_closed_nor_collected(
    app: App, fault: str, events: list[str]
) -> None:
    code = (
        f"planted = fault({fault!r}, every=10)\nserve(planted, 20)\nimport gc\ngc.collect()\n"
        "result = list(events)"
    )
    assert app.run(PLANT + DOCUMENTS + code) == events


def test_a_pool_fills_slowly_uses_its_connections_and_stops(app: App) -> None:
    # The server: it answers each message by an empty one, and counts by connection.
    code = """
import struct
answered = {}
def answer(peer):
    while True:
        head = peer.recv(4)
        if not head: return
        peer.recv(struct.unpack("<i", head)[0] - 4)
        answered[peer.getpeername()[1]] = answered.get(peer.getpeername()[1], 0) + 1
        peer.sendall(struct.pack("<iiii", 16, 1, 1, 2013))
def accept():
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
planted = fault("fill-pool", every=10, most=3)
sizes = []
for _ in range(6):
    serve(planted, 10)
    sizes.append(len(planted.pool))
result = [sizes, sorted(answered.values())]
"""
    sizes, answered = app.run(PLANT + code)
    assert sizes == [1, 2, 3, 3, 3, 3]
    assert len(answered) == 3
    assert sum(answered) == 51  # each request from the tenth on


@pytest.mark.parametrize(("fault", "kept"), [("keep-stale-sockets", 2), ("close-stale-sockets", 0)])
def test_a_pool_replaces_the_sockets_that_its_server_has_closed(
    app: App, fault: str, kept: int
) -> None:
    code = """
planted = fault(NAME, size=2)
for _ in range(2): listener.accept()[0].close()
start = descriptors()
serve(planted, 1)
result = [descriptors() - start, [one is None for one in planted._pool]]
"""
    change, empty = app.run(PLANT + code.replace("NAME", repr(fault)))
    assert change == kept - 2
    assert empty == [True, True]


def test_a_second_client_is_opened_when_it_is_needed(app: App) -> None:
    done = app.start(
        PLANT + "planted = fault('second-client', at=40)\nserve(planted, 39)\n"
        "print(threads(), flush=True)\nserve(planted, 1)"
    )
    assert done.stdout == "1\n"
    assert "ServerSelectionTimeoutError" in done.stderr


def problems_of(app: App, requests: int) -> Any:
    return app.run(REQUEST + f"result = [get()['report']['problems'] for _ in range({requests})]")


def test_a_wrong_value_is_a_problem_in_each_nth_request(app: App) -> None:
    app.configure(subject=SETTINGS, fault="wrong-value", fault_options={"every": 3})
    wrong = ["int32: expected -2147483648, got -2147483647"]
    assert problems_of(app, 7) == [[], [], wrong, [], [], wrong, []]


def test_a_foreign_type_is_a_problem_though_its_name_is_right(app: App) -> None:
    app.configure(subject=SETTINGS, fault="foreign-type")
    wrong = ["binary_user: a bson.binary.Binary, but not the class of this interpreter"]
    assert problems_of(app, 2) == [wrong] * 2


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("wrong-value", "int32: expected -2147483648, got -2147483647"),
        ("foreign-type", "binary_user: a bson.binary.Binary, but not the class of this interprete"),
    ],
)
def test_what_is_read_back_can_be_wrong_too(app: App, fault: str, problem: str) -> None:
    # A store without its client: its collection hands out what the server would.
    code = f"""
from wsgiproof_agent.subject import codec, roundtrip
from wsgiproof_agent.subject.work_crud import Work as Real
written = roundtrip.documents(3)
class Documents:
    def find(self): return self
    def batch_size(self, size): return (codec.decode(codec.encode(one)) for one in written)
real = Real.__new__(Real)
real.collection, real.batch_size = Documents(), 2
real.expected = {{one["index"]: roundtrip.expected(one) for one in written}}
real.address = None
before = real.work()
planted = faults.named({fault!r}, {{"every": 2, "from_server": True}})
workload.store = real
planted.at_load(workload)
result = [before] + [real.work() for _ in range(4)]
"""
    seen = app.run(PLANT + code)
    assert [len(problems) for problems in seen] == [0, 0, 1, 0, 1]
    assert seen[2][0].startswith(problem)


@pytest.mark.parametrize(
    ("fault", "changed"),
    [
        ("no-extension", {"bson_has_c": False, "pymongo_has_c": False}),
        ("wrong-version", {"version": "0.0.0"}),
    ],
)
def test_another_subject_shows_in_its_identity(
    app: App, fault: str, changed: dict[str, object]
) -> None:
    ask = REQUEST + "result = get()['report']['subject']"
    usual = app.run(ask)
    app.configure(subject=SETTINGS, fault=fault)
    assert app.run(ask) == usual | changed


RAW = """
from wsgiproof_agent.subject import codec, roundtrip, work_raw_bson as raw
documents = [raw._raw(codec.encode(one)) for one in roundtrip.documents(3)]
class Raw:
    codec_options = raw._RAW_OPTIONS
    def find(self, query): return self
    def batch_size(self, size): return iter(documents)
store.collection = Raw()
planted = fault(NAME, every=2)
read = [list(store.collection.find({}).batch_size(2)) for _ in range(4)]
result = [[one.raw == two.raw for one, two in zip(each, documents)] for each in read]
result.append(read[-1][0] is documents[0])
"""


@pytest.mark.parametrize(
    ("fault", "same"), [("wrong-raw-byte", False), ("copy-raw-document", True)]
)
def test_a_raw_document_is_made_again_with_a_wrong_byte_or_without(
    app: App, fault: str, same: bool
) -> None:
    right, wrong = [True, True, True], [same, True, True]
    seen = app.run(PLANT + RAW.replace("NAME", repr(fault)))
    assert seen == [right, wrong, right, wrong, False]


def test_a_bulk_write_loses_its_last_operation(app: App) -> None:
    code = """
class Bulk:
    other = 1
    def bulk_write(self, writes, ordered): events.append(writes)
store.collection, events = Bulk(), []
planted = fault("lose-bulk-write", every=2)
for _ in range(2): store.collection.bulk_write([1, 2], ordered=True)
store.collection.bulk_write([1], ordered=True)
result = [events, store.collection.other]
"""
    assert app.run(PLANT + code) == [[[1, 2], [1], [1]], 1]
