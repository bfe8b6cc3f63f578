"""What PyMongo's part of the code inside Apache does, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_inside import REQUEST, App
from wsgiproof.subjects.pymongo.subject import PYMONGO

SETTINGS: dict[str, object] = {
    "workload": "crud",
    "uri": "mongodb://127.0.0.1:1/?appName=wsgiproof",
    "database": "wsgiproof",
    "extras": [],
    "authority": None,
    "stranger": None,
    "documents": 0,
    "batch_size": 7,
    "prefix": "store_",
    "close": False,
    "closed_app_name": "wsgiproof-closed",
}


@pytest.fixture
def app(tmp_path: Path) -> App:
    app = App(tmp_path, PYMONGO.agent)
    app.configure(subject=SETTINGS)
    return app


def test_a_good_pymongo_has_no_problems(app: App) -> None:
    assert app.run(REQUEST + "result = get()")["report"]["problems"] == []


def test_documents_become_what_is_expected_of_them(app: App) -> None:
    assert app.run(
        "from wsgiproof_agent.subject import codec, roundtrip\n"
        "written = roundtrip.documents(2)\n"
        "result = [[document['index'], roundtrip.expected(document).problems("
        "           codec.decode(codec.encode(document)))] for document in written]"
    ) == [[0, []], [1, []]]


HIDE = """
import sys, types
for name in ("snappy", "backports.zstd", "compression.zstd", "zstandard"):
    sys.modules[name] = None
"""


@pytest.mark.parametrize(
    ("hidden", "asked", "usable"),
    [
        ("", [], ""),
        ("", ["snappy", "zstd"], ""),
        ("sys.modules['snappy'] = types.ModuleType('snappy')\n", ["snappy", "zstd"], "snappy"),
        # It is told only if it was asked for: else nothing imports it.
        ("sys.modules['snappy'] = types.ModuleType('snappy')\n", [], ""),
        (
            "import pymongo.ssl_support, pymongo.synchronous.encryption\n"
            "pymongo.ssl_support.HAVE_PYSSL = True\n"
            "pymongo.synchronous.encryption._HAVE_PYMONGOCRYPT = True\n",
            ["encryption"],
            "encryption,ocsp",
        ),
        # A part of pymongocrypt can be imported without what the rest needs.
        (
            "import pymongo.encryption_options\n"
            "pymongo.encryption_options._HAVE_PYMONGOCRYPT = True\n",
            ["encryption"],
            "",
        ),
    ],
)
def test_an_interpreter_says_which_extras_pymongo_uses_there(
    app: App, hidden: str, asked: list[str], usable: str
) -> None:
    app.configure(subject={**SETTINGS, "extras": asked})
    told = app.run(HIDE + hidden + REQUEST + "result = get()['report']['subject']['extras']")
    assert told == usable


def test_tls_that_nobody_answered_is_unknown(app: App) -> None:
    assert app.run(
        "from wsgiproof_agent.subject import tls\n"
        "tls._MILLISECONDS = (10, 20)\n"
        "gone = 'mongodb://127.0.0.1:1/?tls=true&tlsCAFile=/a&appName=x'\n"
        "result = [tls._trusting(gone, '/b c'), tls._refuses(gone.replace('&tlsCAFile=/a', ''))]"
    ) == ["mongodb://127.0.0.1:1/?tls=true&tlsCAFile=%2Fb%20c&appName=x", None]


# (expected, actual, how the one problem starts; None: there is none)
DIFFERENCES = [
    ("1", "2", "a.b.0: expected 1, got 2"),
    ("1", "1.0", "a.b.0: expected builtins.int 1, got builtins.float 1.0"),
    ("1", "True", "a.b.0: expected builtins.int 1, got builtins.bool True"),
    ("1", "Int64(1)", "a.b.0: expected builtins.int 1, got bson.int64.Int64 1"),
    ("Int64(1)", "Int64(1)", None),
    ("0.0", "-0.0", "a.b.0: expected 0.0, got -0.0"),
    ("nan", "float('nan')", None),
    ("nan", "1.0", "a.b.0: expected nan, got 1.0"),
    ("1.0", "nan", "a.b.0: expected 1.0, got nan"),
    ("[1]", "[1, 2]", "a.b.0: expected 1 elements, got 2"),
    ("{'x': None}", "{}", "a.b.0.x: missing"),
    ("{}", "{'\\u00e9': 1}", "a.b.0.\\xe9: unexpected"),
    ("Binary(b'x', 5)", "Binary(b'x', 128)", "a.b.0: expected "),
    ("Binary(b'x', 5)", "u'x'", "a.b.0: expected bson.binary.Binary"),
    ("Code('x')", "'x'", "a.b.0: expected bson.code.Code"),
    ("Code('x', {'y': 1})", "Code('x', {'y': 2})", "a.b.0.scope.y: expected 1, got 2"),
    ("Code('x')", "Code('y')", "a.b.0: expected Code('x', None)"),
    ("DBRef('c', 1)", "DBRef('c', 2)", "a.b.0.id: expected 1, got 2"),
    ("DBRef('c', 1)", "DBRef('c', 1, z=1)", "a.b.0: expected DBRef('c', 1)"),
    ("Regex('x', 'i')", "Regex('x')", "a.b.0: expected Regex('x', re.IGNORECASE)"),
    ("re.compile('x')", "re.compile('y')", "a.b.0.pattern: expected 'x', got 'y'"),
    ("aware(utc)", "aware(utc)", None),
    ("aware(utc)", "aware(None)", "a.b.0.tzinfo: expected bson.tz_util.FixedOffset"),
]


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """The problems of each row of DIFFERENCES, found in one process because one costs 0.2 s."""
    rows = ", ".join(
        f"({{'a': {{'b': [{expected}]}}}}, {{'a': {{'b': [{actual}]}}}})"
        for expected, actual, _ in DIFFERENCES
    )
    found: list[list[str]] = App(tmp_path_factory.mktemp("differences"), PYMONGO.agent).run(
        "import datetime, re\n"
        "from bson import *\n"
        "from bson.tz_util import utc\n"
        "from wsgiproof_agent.subject.compare import Expected, problems\n"
        "nan = float('nan')\n"
        "aware = lambda tz: datetime.datetime(2026, 1, 1, tzinfo=tz)\n"
        # What is prepared beforehand has to come to the same as the walk.
        f"result = [Expected(expected).problems(actual) for expected, actual in [{rows}]]\n"
        f"assert result == [problems(*row) for row in [{rows}]]"
    )
    return found


@pytest.mark.parametrize("row", range(len(DIFFERENCES)), ids=lambda row: str(DIFFERENCES[row][:2]))
def test_a_difference_of_value_or_type_is_one_problem(
    differences: list[list[str]], row: int
) -> None:
    start = DIFFERENCES[row][2]
    if start is None:
        assert differences[row] == []
    else:
        (problem,) = differences[row]
        assert problem.startswith(start)


def test_documents_that_are_right_are_compared_without_a_walk(app: App) -> None:
    assert app.run(
        "from wsgiproof_agent.subject import codec, compare, roundtrip\n"
        "compare.problems = lambda *_: ['walked']\n"
        "written = roundtrip.documents(3)\n"
        "expected = [roundtrip.expected(one) for one in written]\n"
        "read = [codec.decode(codec.encode(one)) for one in written]\n"
        "right = [one.problems(got) for one, got in zip(expected, read)]\n"
        "wrong = expected[0].problems(read[1])\n"
        "result = [right, roundtrip.encode_decode(), wrong]"
    ) == [[[], [], []], [], ["walked"]]


def test_a_class_of_the_same_name_from_another_interpreter_is_a_problem(app: App) -> None:
    # The module loaded a second time stands for the one of another interpreter.
    assert app.run(
        "import importlib, sys\n"
        "from wsgiproof_agent.subject.compare import Expected\n"
        "from bson.objectid import ObjectId\n"
        "ours = ObjectId()\n"
        "del sys.modules['bson.objectid']\n"
        "theirs = importlib.import_module('bson.objectid').ObjectId(str(ours))\n"
        "result = Expected({'x': [ours]}).problems({'x': [theirs]})"
    ) == ["x.0: a bson.objectid.ObjectId, but not the class of this interpreter"]


def test_what_bson_refuses_is_a_problem_and_hides_no_other_one(app: App) -> None:
    everything, alone, other = app.run(
        REQUEST + "from wsgiproof_agent.subject import roundtrip\n"
        "roundtrip._WRITTEN['bad'] = object()\n"
        "roundtrip._PAIRS[:] = [('bad', object(), None), ('int', 1, 2)]\n"
        "result = get()['report']['problems']"
    )
    assert everything.startswith("all types: refused: InvalidDocument(")
    assert alone.startswith("bad: refused: InvalidDocument(")
    assert other == "int: expected 2, got 1"


# Pools: the clients of an interpreter are found, and none of them is kept or woken

CLIENTS = """
import gc, pymongo, time, weakref
from wsgiproof_agent.subject import pools
def client(kind=pymongo.MongoClient):
    return kind("mongodb://127.0.0.1:1/", connect=False)
def alone():
    pass  # there is no other thread to wait for
def found():
    return [reference() for reference in pools.Pools()._search()]
"""


def test_pools_find_every_client_whoever_made_it(app: App) -> None:
    assert app.run(
        CLIENTS + "class Own(pymongo.MongoClient): pass\n"
        "mine, hidden = client(), [{'deep': client(Own)}]\n"
        "result = sorted(type(one).__name__ for one in found())"
    ) == ["MongoClient", "Own"]


def test_a_proxy_that_claims_to_be_a_client_is_not_woken(app: App) -> None:
    """As lazy objects of frameworks do, whose first use imports something or connects."""
    assert (
        app.run(
            CLIENTS + "woken = []\n"
            "class Lazy(object):\n"
            "    @property\n"
            "    def __class__(self): woken.append(1); return pymongo.MongoClient\n"
            "    def __getattr__(self, name): woken.append(name); raise AttributeError(name)\n"
            "lazy = Lazy()\npools.Pools().occupy(0.01, alone)\nresult = woken"
        )
        == []
    )


def test_a_client_that_has_no_server_is_not_waited_for(app: App) -> None:
    """Its server selection would take 30 seconds."""
    assert app.run(
        CLIENTS + "mine = client()\nstarted = time.time()\npools.Pools().occupy(1.0, alone)\n"
        "result = time.time() - started < 25 and len(found()) == 1"
    )


def test_all_clients_are_closed_and_their_threads_waited_for(app: App) -> None:
    assert app.run(
        CLIENTS + "import threading\n"
        "mine, other = client(), client()\n"
        "for one in (mine, other): one._get_topology()\n"
        "before = threading.active_count()\n"
        "pools.close_all(20)\n"
        "result = [before > 1, threading.active_count()]"
    ) == [True, 1]


ASYNC = """
from wsgiproof_agent.subject.event_loop import EventLoop
class Client(pymongo.AsyncMongoClient):
    nodes = ["somewhere"]
    _loop = None
    def __getitem__(self, name): return self
    async def command(self, name, **options): return {}
    def start_session(self): return self
    async def end_session(self): commands.append("end")
commands = []
loop = EventLoop()
mine = loop.call(Client, "mongodb://127.0.0.1:1/")
kept = pools.Pools()
"""


def test_pools_of_an_async_client_are_filled_in_its_loop(app: App) -> None:
    assert app.run(
        CLIENTS + ASYNC + "kept.occupy(0.01, alone)\nresult = [list(commands)]\n"
        "mine._loop = loop._loop\nkept.occupy(0.01, alone)\nresult.append(commands)\n"
        "loop.close()\nkept.occupy(0.01, alone)\nresult.append(commands)"
    ) == [[], ["end"], ["end"]]


def test_a_loop_that_is_blocked_is_not_waited_for(app: App) -> None:
    assert (
        app.run(
            CLIENTS + ASYNC + "import threading\npools._LOOP_ANSWERS = 0.1\n"
            "mine._loop, free = loop._loop, threading.Event()\n"
            "loop._loop.call_soon_threadsafe(free.wait)\n"
            "kept.occupy(0.01, alone)\nfree.set()\nloop.close()\nresult = 'done'"
        )
        == "done"
    )


def test_pools_keep_no_client_alive_and_search_again_after_a_while(app: App) -> None:
    assert app.run(
        CLIENTS + "kept = pools.Pools()\nmine = client()\nmine.close()\nkept.occupy(0.01, alone)\n"
        "gone = weakref.ref(mine)\ndel mine\ngc.collect()\nresult = [gone() is None]\n"
        "kept.occupy(0.01, alone)\nother = client()\nresult.append(len(kept._search()))\n"
        "kept._searched -= 1.1\nresult.append([one() is other for one in kept._search()])"
    ) == [True, 1, [True]]
