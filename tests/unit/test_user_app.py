"""An application of one's own: its file, and how it is called by the rules of PEP 3333."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cells import CELL, cell_with, configured
from tests.unit.factories import RULES, observed, outcome
from tests.unit.test_inside import REQUEST, SECRET, App
from tests.unit.test_matrix import matrix_of
from wsgiproof.errors import UsageError
from wsgiproof.judge.finding import Outcome
from wsgiproof.judge.verdict import judge
from wsgiproof.process.account import server_account
from wsgiproof.records.judgement import Finding, Verdict
from wsgiproof.subjects.application import check_app, check_syntax, lay_out

OWN = cell_with(CELL, app="/home/ann/shop.py")

HELLO = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""


class OwnApp(App):
    """An app directory with an application of one's own in it."""

    def write(self, source: str) -> Path:
        path = self.directory / "own" / "shop.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
        self.configure(app=str(path))
        return path

    def get(self, source: str, *asked: object) -> Any:
        """Make one request, and return what the server and the host get."""
        self.write(source)
        return self.run(f"{REQUEST}result = get{asked!r}" if asked else f"{REQUEST}result = get()")

    def error(self, source: str) -> str:
        """What is written by a request, or a load, that raises."""
        self.write(source)
        done = self.start(REQUEST + "get()")
        assert done.returncode == 1
        return done.stderr


@pytest.fixture
def app(tmp_path: Path) -> OwnApp:
    return OwnApp(tmp_path)


# How it is called


def test_the_server_gets_the_answer_and_the_host_a_report_beside_it(app: OwnApp) -> None:
    answer = app.get(HELLO)
    assert (answer["status"], answer["body"]) == ("200 OK", "hello")
    assert answer["headers"] == [["Content-Type", "text/plain"]]
    report = answer["report"]
    assert (report["problems"], report["request"], "memory" in report) == ([], 1, False)


def test_a_request_of_somebody_else_gets_the_same_answer_without_a_report(app: OwnApp) -> None:
    answer = app.get(HELLO, "memory=2", "guess")
    assert (answer["body"], answer["report"]) == ("hello", None)


REPORTS_ENVIRON = """
import os
seen = [os.environ["WSGIPROOF_URI"], __file__, __name__]
def application(environ, start_response):
    start_response("400 Bad Request", [("X-Mine", "1")])
    keys = "wsgiproof.uri", "QUERY_STRING"
    assert type(environ) is dict
    seen.append(environ.get("HTTP_X_WSGIPROOF"))
    return [repr(seen + [environ[key] for key in keys]).encode()]
"""


def test_it_finds_its_backend_and_nothing_of_the_commands(app: OwnApp) -> None:
    answer = app.get(REPORTS_ENVIRON, "until=1.5 occupy=0.01", SECRET, "q=1")
    file = str(app.directory / "own" / "shop.py")
    name = "_wsgiproof_own_application"
    assert answer["body"] == repr(["here:1", file, name, None, "here:1", "q=1"])


def test_a_reading_of_memory_does_not_call_it(app: OwnApp) -> None:
    answer = app.get("def application(environ, start_response): 1 / 0", "memory=2")
    assert set(answer["report"]["memory"]) == {"blocks", "malloc"}


@pytest.mark.parametrize("status", ["204 No Content", "302 Found", "404 Not Found", "", "nonsense"])
def test_any_status_is_the_answer(app: OwnApp, status: str) -> None:
    answer = app.get(HELLO.replace("200 OK", status))
    assert (answer["status"], answer["body"]) == (status, "hello")
    assert answer["report"]["request"] == 1


BODIES = [
    "start_response('500 No', []); yield b'a'; yield b''; yield b'b'",
    "yield b'' if start_response('500 No', []) else b'ab'; yield b'ab'",
    "start_response('500 No', [])(b'a'); return [b'b']",
    "write = start_response('500 No', []); write(b'a'); write(b'b'); return []",
    "start_response('500 No', []); return (b'a', b'b')",
    """
    start_response('200 OK', [])
    try: 1 / 0
    except ZeroDivisionError: start_response('500 No', [], sys.exc_info())
    yield b'ab'""",
]


@pytest.mark.parametrize("body", BODIES)
def test_every_way_of_giving_a_body(app: OwnApp, body: str) -> None:
    answer = app.get(f"import sys\ndef application(environ, start_response):\n    {body}\n")
    assert (answer["status"], answer["headers"], answer["body"]) == ("500 No", [], "ab")
    assert answer["report"]["request"] == 1


PASSED_ON = """
import sys
parts = eval(sys.argv[1])
def application(environ, start_response):
    start_response("200 OK", eval(sys.argv[2]))
    return parts
"""


@pytest.mark.parametrize("parts", ["[b'a']", "(b'a', b'b')", "[]"])
def test_mod_wsgi_gets_the_list_itself_and_so_knows_its_length(app: OwnApp, parts: str) -> None:
    app.write(PASSED_ON.replace("sys.argv[1]", repr(parts)).replace("sys.argv[2]", "'[]'"))
    assert app.run(
        REQUEST + "import sys\n"
        "result = script['application']({}, lambda *a: None) "
        "is sys.modules['_wsgiproof_own_application'].parts"
    )


@pytest.mark.parametrize("headers", ["None", "()", "[('X-A', 1)]"])
def test_headers_of_a_wrong_type_reach_the_server_which_refuses_them(
    app: OwnApp, headers: str
) -> None:
    app.write(PASSED_ON.replace("sys.argv[1]", "'[]'").replace("sys.argv[2]", repr(headers)))
    given = app.run(
        REQUEST + f"given = []\nenviron = {{'HTTP_X_WSGIPROOF': {SECRET!r}}}\n"
        "script['application'](environ, lambda *a: given.append(a[1]))\n"
        "own = given[0] if not isinstance(given[0], list) else given[0][:-1]\n"
        f"result = own == {headers}"
    )
    assert given


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("start_response('200 OK', []); return None", "'NoneType' object is not iterable"),
        ("raise LookupError('mine')", "LookupError: mine"),
        ("start_response('200 OK', []); yield b''; raise LookupError('mine')", "LookupError: mine"),
        ("sys.exit('mine')", "mine"),
    ],
)
def test_what_it_raises_goes_to_the_server(app: OwnApp, body: str, words: str) -> None:
    source = f"import sys\ndef application(environ, start_response):\n    {body}\n"
    assert words in app.error(source)


IN_FLIGHT = """
closed = []
class Result:
    def __iter__(self): yield b"a"
    def close(self): {close}
def application(environ, start_response):
    start_response("200 OK", [])
    return Result()
"""


@pytest.mark.parametrize("close", ["closed.append(1)", "closed.append(1); 1 / 0"])
def test_a_request_is_in_flight_until_the_server_has_closed_its_result(
    app: OwnApp, close: str
) -> None:
    app.write(IN_FLIGHT.format(close=close))
    assert app.run(
        REQUEST + "import glob, sys\n"
        "def in_flight():\n"
        f"    (path,) = glob.glob('{app.evidence}/requests-*')\n"
        "    return bool(open(path).read().split())\n"
        "given = script['application']({'PATH_INFO': '/a'}, lambda *a: None)\n"
        "before = in_flight()\n"
        "try: list(given), given.close()\n"
        "except ZeroDivisionError: pass\n"
        "closed = sys.modules['_wsgiproof_own_application'].closed\n"
        "result = [before, in_flight(), closed]"
    ) == [True, False, [1]]


def test_each_process_loads_it_once(app: OwnApp) -> None:
    app.write(f"print('loaded')\n{HELLO}")
    assert app.start(REQUEST + "get(); get()").stdout == "loaded\n"


# What its file may be


def test_an_error_at_import_keeps_its_traceback_and_leaves_no_half_of_it(app: OwnApp) -> None:
    assert 'shop.py", line 2, in <module>\n    1 / 0' in app.error(f"\n1 / 0\n{HELLO}")
    assert app.run(
        "import runpy, sys\n"
        "try: runpy.run_path('wsgiproof_agent/script.wsgi')\n"
        "except ZeroDivisionError: result = '_wsgiproof_own_application' in sys.modules"
    ) is False  # fmt: skip


def test_a_syntax_error_is_shown_with_its_place(app: OwnApp) -> None:
    written = app.error("application = (\n")
    assert 'shop.py", line 1' in written
    assert "SyntaxError" in written


@pytest.mark.parametrize("source", ["aplication = print", "application = None", ""])
def test_a_file_without_an_application_is_an_error_at_import(app: OwnApp, source: str) -> None:
    assert "shop.py defines no callable named application" in app.error(source)


def test_it_has_none_of_our_own_future_and_may_be_a_dataclass_or_pickle(app: OwnApp) -> None:
    app.write(f"""
from __future__ import annotations
import dataclasses, pickle
@dataclasses.dataclass
class Order:
    total: int
assert pickle.loads(pickle.dumps(Order(1))) == Order(1)
{HELLO}""")
    assert app.run(REQUEST + "result = get()['report']['problems']") == []


def test_its_encoding_is_what_it_declares(app: OwnApp) -> None:
    path = app.write(HELLO)
    path.write_bytes(b"# coding: latin-1\r\nassert len('\xe9') == 1\r\n" + HELLO.encode())
    assert app.run(REQUEST + "result = get()['status']") == "200 OK"


def test_a_file_that_can_be_one_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "shop.py"
    path.write_bytes(b"# coding: latin-1 \xe9\nfrom context import application\n")
    check_app(path)


def test_what_can_not_be_a_script_is_a_usage_error(tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "none.py", "there is no such file"),
        (tmp_path, "it is a directory: name the WSGI script in it, such as wsgi.py"),
        (Path("/dev/zero"), "it is not a regular file"),
    ):
        with pytest.raises(UsageError) as caught:
            check_app(path)
        assert str(caught.value) == f"--app {path}: {why}"
    with pytest.raises(UsageError, match="File name too long"):
        check_app(tmp_path / ("x" * 300))
    with pytest.raises(UsageError, match="its name has to be UTF-8"):
        check_app(tmp_path / "shop\udce9.py")
    path = tmp_path / "app.py"
    path.write_text("applications = {}\n")
    with pytest.raises(UsageError, match="does not contain the word 'application'"):
        check_app(path)


def test_an_app_and_a_control_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="--app and --control exclude each other"):
        configured(app="shop.py", control="leak-connection")


# The cell, and where it is laid out


def test_every_cell_has_the_path() -> None:
    cells = matrix_of(app="/home/ann/shop.py").cells
    assert [cell.app for cell in cells] == ["/home/ann/shop.py"] * 4


@pytest.mark.parametrize(
    ("path", "ending"),
    [
        ("/home/ann/shop.py", "-app-shop"),
        ("/home/ann/shop.wsgi", "-app-shop"),
        ("/home/ann/a b/my context\n\0é.py", "-app-my_context___"),
        ("/" + "x" * 200 + ".py", "-app-" + "x" * 60),
        ("/home/ann/leak-connection.py", "-app-leak_connection"),
    ],
)
def test_the_id_ends_with_the_name_of_the_file(path: str, ending: str) -> None:
    assert cell_with(CELL, app=path).id == CELL.id + ending


def test_it_is_copied_to_where_no_import_finds_it(tmp_path: Path) -> None:
    source = tmp_path / "pymongo.py"
    source.write_text(HELLO)
    source.chmod(0o600)
    cell = cell_with(CELL, app=str(source))
    laid_out = lay_out(cell, tmp_path, {"uri": "mongodb://127.0.0.1/"}, server_account())
    settings = msgspec.json.decode((laid_out.directory / "settings.json").read_bytes())
    copy = Path(settings["app"])
    assert copy == laid_out.directory / "own" / "pymongo.py"
    assert copy.read_text() == HELLO
    assert copy.stat().st_mode & 0o777 == 0o640
    assert settings["subject"]["documents"] == 0
    assert settings["environ"]["wsgiproof.mongodb_uri"] == "mongodb://127.0.0.1/"
    assert settings["variables"]["WSGIPROOF_MONGODB_URI"] == "mongodb://127.0.0.1/"
    assert not (laid_out.directory / "pymongo.py").exists()


# What it comes to


def test_round_trips_are_skipped_and_the_rest_is_judged() -> None:
    assert outcome(observed(), OWN) == dict.fromkeys(
        ["roundtrip", "closed-client"], Verdict.SKIPPED
    )
    judgement = judge(OWN, observed(), RULES)
    assert judgement.verdict is Verdict.PASS
    assert judgement.reason.endswith("checks; skipped: roundtrip, closed-client")
    skipped = [one.reason for one in judgement.checks if one.verdict is Verdict.SKIPPED]
    assert skipped == [
        "your own application (--app) does not check its own work",
        "your own application (--app) has clients of its own",
    ]


def test_skipping_hides_neither_a_finding_nor_missing_evidence() -> None:
    finding = Finding(check="x", seen="s", meaning="m", action="a")
    assert Outcome(skipped="why", findings=(finding,)).result("x").verdict is Verdict.FAIL
    assert Outcome(skipped="why", missing="m").result("x").verdict is Verdict.INCONCLUSIVE
    assert judge(OWN, observed(stop=None), RULES).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def application(environ, start_response)\n    return []\n", r":1: SyntaxError: expected"),
        ("\n\nif True:\nx = application\n", r":4: IndentationError: "),
        ("application = 1\n\0", r":\d+: (SyntaxError|ValueError): "),
        ("# coding: nothing\napplication = 1\n", r":1: SyntaxError: "),
    ],
)
def test_a_script_that_does_not_compile_is_a_wrong_command_line(
    text: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "shop.py"
    path.write_text(text)
    with pytest.raises(UsageError, match=rf"\A--app {path}{says}") as caught:
        check_syntax(path, sys.executable)
    assert str(caught.value).endswith(f"(says {sys.executable})")


def test_a_script_is_compiled_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "shop.py"
    path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\napplication = '\\d'\n")
    check_syntax(path, sys.executable)
    assert [one.name for one in tmp_path.iterdir()] == ["shop.py"]
