"""The workloads: what each needs, and what they do without a server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cells import CELL, cell_with, combination, configured
from tests.unit.factories import ALL_CHECKS
from tests.unit.test_inside import REQUEST, App
from tests.unit.test_pymongo_agent import SETTINGS
from tests.unit.test_pymongo_agent import app as app
from wsgiproof.errors import UsageError
from wsgiproof.subjects.pymongo.axes import extras_of, workload_of
from wsgiproof.subjects.pymongo.controls import CONTROLS, workload_of_control
from wsgiproof.subjects.pymongo.deployment import _of_workload
from wsgiproof.subjects.pymongo.subject import PYMONGO
from wsgiproof.subjects.pymongo.workloads import CRUD, WORKLOADS, why_unsupported


def supported(name: str, **changes: Any) -> str:
    usual = {"pymongo": "4.20.0", "python": "3.11.2", "deployed": True, "standalone": False}
    return why_unsupported(name, **{**usual, **changes})


@pytest.mark.parametrize("name", WORKLOADS)
def test_each_is_a_module_inside_and_runs_with_a_new_pymongo_on_a_replica_set(name: str) -> None:
    assert (PYMONGO.agent / f"work_{name.replace('-', '_')}.py").is_file()
    assert supported(name) == ""


def test_each_module_inside_is_a_workload() -> None:
    names = {one.stem[len("work_") :] for one in PYMONGO.agent.glob("work_*.py")}
    assert names == {name.replace("-", "_") for name in WORKLOADS}


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("transactions", {"standalone": True}, "needs a replica set or a sharded cluster"),
        ("transactions", {"pymongo": "3.8.0"}, "is older than 3.9 and has no ClientSession.with"),
        ("change-streams", {"standalone": True}, "needs a replica set or a sharded cluster"),
        ("change-streams", {"deployed": False}, "the workload change-streams needs a deployment"),
        ("gridfs", {"deployed": False}, "the workload gridfs needs a deployment"),
        ("bulk", {"pymongo": "2.9.5"}, "PyMongo 2.9.5 is older than 3.0 and has no Collection.bu"),
        ("async", {"pymongo": "4.8.0"}, "PyMongo 4.8.0 is older than 4.9 and has no AsyncMongoCl"),
        ("async", {"python": "3.8.18"}, "Python 3.8.18 is older than 3.9: no workload async"),
        ("raw-bson", {"pymongo": "3.7.2"}, "PyMongo 3.7.2 is older than 3.8 and has no TypeReg"),
        ("encryption", {"pymongo": "3.8.0"}, "is older than 3.9 and has no ClientEncryption"),
    ],
)
def test_what_a_workload_needs_is_said(name: str, changes: dict[str, Any], why: str) -> None:
    assert why in supported(name, **changes)


@pytest.mark.parametrize("name", ["crud", "gridfs"])
def test_old_ones_keep_what_they_can(name: str) -> None:
    assert supported(name, pymongo="2.8", python="2.7.18", standalone=True) == ""


@pytest.mark.parametrize("name", ["crud", "raw-bson"])
def test_without_a_deployment_there_is_what_is_done_in_memory(name: str) -> None:
    assert supported(name, deployed=False) == ""


def test_a_cell_of_an_old_record_has_the_usual_workload() -> None:
    assert workload_of(CELL) == CRUD
    assert workload_of(cell_with(CELL, workload="")) == CRUD


def test_encryption_installs_its_extra_and_has_to_be_able_to_use_it() -> None:
    values = {"workload": "encryption", "extras": "zstd"}
    assert PYMONGO.extras(values) == {"pymongo": ("encryption", "zstd")}
    assert extras_of(cell_with(CELL, workload="encryption")) == {"encryption"}
    assert PYMONGO.extras({"workload": "crud", "extras": "none"}) == {"pymongo": ()}


@pytest.mark.parametrize("own", [{"app": "/a.py"}, {"httpd_conf": "/h.conf", "url": ("/a",)}])
@pytest.mark.parametrize(
    "axes", [{"workload": ("gridfs",)}, {"include": (combination(workload=("gridfs",)),)}]
)
def test_an_own_application_has_no_workload(own: dict[str, Any], axes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"--(app|httpd-conf) and --workload exclude each other"):
        configured(**own, **axes)
    configured(**own)


def test_each_workload_has_a_fault_and_a_negative_control() -> None:
    for name in WORKLOADS:
        trips = {one.trips for one in CONTROLS if workload_of_control(one.name) == name}
        assert "" in trips
        assert trips & {*ALL_CHECKS}


def test_controls_of_every_subject_run_with_each_workload() -> None:
    assert workload_of_control("leak-descriptor") == ""
    assert workload_of_control("negative-controls") == CRUD
    assert workload_of_control("leave-file-open") == "gridfs"


class _Database:
    """A database with these collections."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def list_collection_names(self, filter: dict[str, Any]) -> list[str]:
        assert filter == {"name": {"$regex": "^wsgiproof_store_"}}
        return [*self._names]


def test_a_collection_of_gridfs_has_two_indexes() -> None:
    database: Any = _Database("wsgiproof_store_1_a", "wsgiproof_store_1_b.files", "x.chunks")
    assert _of_workload(database) == {"collections": 3, "indexes": 5}


# Inside


def problems_of(app: App, before: str, **settings: object) -> list[list[str]]:
    app.configure(subject={**SETTINGS, **settings})
    code = "result = [get()['report']['problems'] for _ in range(2)]"
    found: list[list[str]] = app.run(REQUEST + before + code)
    return found


def test_only_the_chosen_workload_is_imported(app: App) -> None:
    seen = "import sys\nresult = sorted(n for n in sys.modules if '.work_' in n)"
    app.configure(subject={**SETTINGS, "workload": "raw-bson"})
    assert app.run(REQUEST + seen) == ["wsgiproof_agent.subject.work_raw_bson"]


RAW = "from wsgiproof_agent.subject import work_raw_bson as raw\n"


def test_raw_documents_types_and_vectors_come_back_from_memory(app: App) -> None:
    assert problems_of(app, "", workload="raw-bson") == [[], []]


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("raw._FLAT_BACK = raw.Expected(dict(raw._FLAT, int32=1))", "int32: expected 1, got -21"),
        (
            "raw._in_raw = lambda actual, expected: [] if actual != expected else ['same']",
            "same",
        ),
        (
            "raw._PRICES_BACK = raw.Expected(dict(raw._PRICES, set=[1, 2, 3], price=raw.Price(9)))",
            "price: expected Price(9), got Price(250)",
        ),
        ("raw._VECTORS['int8'].data[0] = 5; raw._binaries = lambda: BACK", "int8.0: expected 5, "),
        ("raw._binaries = lambda: {}", "a document with vectors has only []"),
    ],
)
def test_what_comes_back_wrong_from_memory_is_a_problem(app: App, wrong: str, problem: str) -> None:
    before = RAW + "BACK = raw._binaries()\n" + wrong + "\n"
    for found in problems_of(app, before, workload="raw-bson"):
        assert any(one.startswith(problem) for one in found), found


LOOP = """
from wsgiproof_agent.subject.event_loop import EventLoop
import threading
loop = EventLoop()
"""


def test_a_loop_runs_coroutines_and_functions_in_its_thread_and_raises(app: App) -> None:
    assert app.run(
        LOOP + "async def add(a, b): return [a + b, threading.current_thread().name]\n"
        "def fail(): raise ValueError('no')\n"
        "result = loop.run(add(1, 2))\n"
        "result[1] = result[1] == loop.call(lambda: threading.current_thread().name)\n"
        "try: loop.call(fail)\n"
        "except ValueError as error: result.append(str(error))\n"
        "loop.close()"
    ) == [3, True, "no"]


def test_a_loop_that_can_not_run_says_so_and_nobody_waits_for_it(app: App) -> None:
    assert (
        app.run(
            "import asyncio\nfrom wsgiproof_agent.subject.event_loop import EventLoop\n"
            "def refuse(self): raise RuntimeError('another loop is running')\n"
            "asyncio.BaseEventLoop.run_forever = refuse\n"
            "try: EventLoop()\n"
            "except RuntimeError as error: result = str(error)"
        )
        == "another loop is running"
    )


def test_what_is_left_in_a_loop_is_cancelled_and_its_threads_end(app: App) -> None:
    done = app.start(
        LOOP + "import asyncio\n"
        "async def forever():\n"
        "    await asyncio.get_running_loop().run_in_executor(None, int)\n"
        "    await asyncio.sleep(1000)\n"
        "async def begin(): return asyncio.ensure_future(forever())\n"
        "left = loop.run(begin())\n"
        "loop.run(asyncio.sleep(0.1))\nloop.close()\n"
        "print(left.cancelled(), threading.active_count())"
    )
    assert (done.stdout, done.stderr) == ("True 1\n", "")


def test_as_many_sessions_are_filled_as_a_request_uses_at_the_same_time(app: App) -> None:
    ask = (
        "from wsgiproof_agent.subject import pools\n"
        "class Client(object):\n"
        "    def start_session(self): return self\n"
        "    def end_session(self): ended.append(1)\n"
        "ended, used = [], []\n"
        "with pools._sessions(Client(), pools.POOLS.sessions, pools._returned,\n"
        "                     lambda name, session: used.append(name)): pass\n"
        "result = [len(used), len(ended)]"
    )
    for workload, number in (("crud", 1), ("gridfs", 2), ("change-streams", 2)):
        app.configure(subject={**SETTINGS, "workload": workload})
        assert app.run(REQUEST + ask) == [number, number]


def test_a_pymongo_without_a_mongo_client_has_no_sessions(app: App) -> None:
    """As 2.2, whose only class is Connection."""
    ask = (
        "import pymongo\nfrom wsgiproof_agent.subject import pools\n"
        "with_sessions, used = pymongo.MongoClient, []\n"
        "del pymongo.MongoClient\n"
        "with pools._sessions(object(), 1, pools._returned,\n"
        "                     lambda name, session: used.append(name)): pass\n"
        "pymongo.MongoClient = with_sessions\n"
        "result = used"
    )
    assert app.run(REQUEST + ask) == []
