"""The code that runs inside Apache, run here in processes of its own, without a server."""

from __future__ import annotations

import ast
import atexit
import compileall
import json
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import wsgiproof
from wsgiproof.agent import protocol
from wsgiproof.experiment.commands import Commands
from wsgiproof.observe.answers import read_report
from wsgiproof.observe.evidence import Evidence
from wsgiproof.observe.fatal_traces import read_leftover_threads
from wsgiproof.subjects.registry import SUBJECTS

INSIDE = Path(wsgiproof.__file__).parent / "agent"
SOURCES = sorted(
    path
    for directory in (INSIDE, *(subject.agent for subject in SUBJECTS.values()))
    for path in (*directory.glob("*.py"), *directory.glob("*.wsgi"))
)
SECRET = "5ec7e7"

SMALLEST = """
def identity(settings):
    return {"version": "1.0"}
def fill_pools(seconds, together):
    pass
class Workload(object):
    def __init__(self, settings):
        self.settings = settings
    def work(self):
        return []
    def close(self):
        pass
"""
"""All that a subject has to define: it has no backend and no faults of its own."""


@cache
def _compiled(subject: Path | None) -> Path:
    """Return a copy of the code with its bytecode, which each process would make otherwise."""
    directory = Path(tempfile.mkdtemp(prefix="wsgiproof-test-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    copy = shutil.copytree(INSIDE, directory / "inside")
    if subject is None:
        (copy / "subject").mkdir()
        (copy / "subject" / "__init__.py").touch()
        (copy / "subject" / "workload.py").write_text(SMALLEST)
    else:
        shutil.copytree(subject, copy / "subject")
    compileall.compile_dir(copy, quiet=1)
    return copy


def agent_of(subject: Path | None, directory: Path) -> None:
    """Make the package that runs inside, with the code of a subject; None: with the smallest."""
    shutil.copytree(_compiled(subject), directory / "wsgiproof_agent")


class App:
    """An app directory, as the host makes one, and Python processes that load it."""

    def __init__(self, directory: Path, subject: Path | None = None) -> None:
        self.directory = directory / "app"
        self.evidence = directory / "evidence"
        self.evidence.mkdir()
        agent_of(subject, self.directory)
        self.configure()

    def configure(self, **changes: object) -> None:
        settings: dict[str, Any] = {
            "evidence": str(self.evidence),
            "core_descriptor": None,
            "secret": SECRET,
            "app": None,
            "server": None,
            "environ": {"wsgiproof.uri": "here:1"},
            "variables": {"WSGIPROOF_URI": "here:1"},
            "fault": None,
            "fault_options": {},
            "subject": {},
        }
        assert settings.keys() == {*protocol.SETTINGS}
        (self.directory / "settings.json").write_text(json.dumps(settings | changes))

    def start(self, code: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def run(self, code: str) -> Any:
        """Return what ``code`` leaves in the variable ``result``."""
        done = self.start(f"{code}\nimport json; print(json.dumps(result))")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(tmp_path)


# One request, the way mod_wsgi makes it: the script is executed, `application` is called, and what
# it returned is read and closed.
REQUEST = f"""
import json, runpy
script = runpy.run_path("wsgiproof_agent/script.wsgi")
def get(commands="", secret="{SECRET}", query=""):
    written, started = [], []
    def start_response(status, headers, exc_info=None):
        started.append((status, headers))
        return written.append
    environ = {{"QUERY_STRING": query, "mod_wsgi.application_group": "group",
               "mod_wsgi.process_group": "", "HTTP_X_WSGIPROOF": secret + " " + commands}}
    result = script["application"](environ, start_response)
    written.extend(result)
    if hasattr(result, "close"):
        result.close()
    status, headers = started[-1]
    reports = [json.loads(value) for name, value in headers if name == "X-Wsgiproof-Report"]
    return {{"status": status, "body": b"".join(written).decode(),
            "headers": [one for one in headers if one[0] != "X-Wsgiproof-Report"],
            "report": reports[0] if reports else None}}
"""


def test_a_report_says_who_answered(app: App) -> None:
    first, second = app.run(REQUEST + "result = [get(), get()]")
    report = first["report"]
    assert first["status"] == "200 OK"
    assert first["headers"] == [
        ["Content-Type", "application/json"],
        ["Content-Length", str(len(first["body"]))],
    ]
    assert json.loads(first["body"]).items() <= report.items()
    assert set(report) == {*protocol.INTERPRETER, protocol.SUBJECT, *protocol.REQUEST}
    assert report["subject"] == {"version": "1.0"}
    assert report["python"] == ".".join(map(str, sys.version_info[:3]))
    assert [report["request"], second["report"]["request"]] == [1, 2]
    assert report["token"] == second["report"]["token"]


def test_who_loads_it_says_so_before_any_request(app: App) -> None:
    done = app.start(REQUEST)
    assert done.returncode == 0, done.stderr
    (file,) = app.evidence.glob("identity-*")
    (line,) = file.read_bytes().splitlines()
    told = read_report(line, ["version"])
    assert (told.request, told.gil, told.python) == (0, "shared", platform.python_version())


def test_a_report_of_many_problems_fits_a_header_of_mod_wsgi(app: App) -> None:
    few, large, many = app.run(
        REQUEST + "from wsgiproof_agent.subject.workload import Workload\n"
        "def of(problems):\n"
        "    Workload.work = lambda self: problems\n"
        "    return get()['report']\n"
        "result = [of(['x' * 1000] * 3), of([u'\\u20ac' * 5000]), of(['x' * 100] * 5000)]"
    )
    assert few["problems"] == ["x" * 1000] * 3
    assert large["problems"] == ["\u20ac" * 200]
    assert many["problems"][0] == "x" * 100
    assert many["problems"][-1] == f"{5000 - len(many['problems']) + 1} more"
    assert all(len(json.dumps(one)) < 7000 for one in (few, large, many))


def test_nothing_of_the_application_happens_while_its_module_is_imported(app: App) -> None:
    # Python 2 holds its import lock then, and a client that is made there never connects.
    assert app.run(
        "import sys, threading\n"
        "import wsgiproof_agent.app\n"
        "result = [[one for one in sys.modules if one.startswith('wsgiproof_agent.subject')],\n"
        "          threading.active_count()]"
    ) == [[], 1]


def test_an_exception_is_not_swallowed(app: App) -> None:
    done = app.start(
        REQUEST + "from wsgiproof_agent.subject.workload import Workload\n"
        "Workload.work = lambda self: 1 / 0\n"
        "get()"
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_a_request_can_be_held_to_an_instant_of_the_host(app: App) -> None:
    held, past, never = app.run(
        REQUEST + "import time\n"
        "from wsgiproof_agent import probe\n"
        "def seconds(longest, until):\n"
        "    probe.LONGEST_HOLD = longest\n"
        "    begin = time.monotonic()\n"
        "    get('until=%r' % (begin + until))\n"
        "    return time.monotonic() - begin\n"
        "result = [seconds(1000, 0.2), seconds(1000, -1), seconds(0.3, 1e6)]"
    )
    assert held >= 0.2
    assert past < 1000
    assert 0.3 <= never < 1000


def test_requests_of_a_burst_wait_for_each_other(app: App) -> None:
    """The last one comes after all others have waited; those of an incomplete burst go on."""
    inside, turns, alone, late = app.run(
        "import threading, time\n"
        "from wsgiproof_agent import probe\n"
        "from wsgiproof_agent.barrier import Barrier, Burst\n"
        "probe.LONGEST_HOLD = 1000\n"
        "barrier, inside, turns = Barrier(), [], []\n"
        "def come():\n"
        "    burst = Burst(barrier, 3)\n"
        "    inside.append(1)\n"
        "    turns.append((len(inside), burst.together()))\n"
        "    turns.append((len(inside), burst.together()))\n"
        "threads = [threading.Thread(target=come) for _ in range(3)]\n"
        "for one in threads: one.start(); time.sleep(0.05)\n"
        "for one in threads: one.join()\n"
        "probe.LONGEST_HOLD = 0.05\n"
        "incomplete = Burst(barrier, 3)\n"
        "result = [len(inside), sorted(turn for _, turn in turns),\n"
        "          Burst(barrier, 1).together(), [incomplete.together(), incomplete.together()]]"
    )
    assert inside == 3
    assert turns == [1, 1, 1, 2, 2, 2]
    assert alone is None
    assert late == [None, None]


def test_requests_that_gather_wait_for_each_other_in_all_processes(app: App) -> None:
    """The last one comes after all others have waited, and no file is left."""
    codes, seen, left = app.run(
        "import os, tempfile, time\n"
        "from wsgiproof_agent import probe\n"
        "from wsgiproof_agent.barrier import gather\n"
        "probe.LONGEST_HOLD = 1000\n"
        "place, came = tempfile.mkdtemp(), tempfile.mkdtemp()\n"
        "until = probe.monotonic() + 1000\n"
        "def come(number):\n"
        "    open(os.path.join(came, str(number)), 'w').close()\n"
        "    gather(3, until, place)\n"
        "    os._exit(len(os.listdir(came)))\n"
        "children = []\n"
        "for number in range(3):\n"
        "    time.sleep(0.05)\n"
        "    pid = os.fork()\n"
        "    if not pid: come(number)\n"
        "    children.append(pid)\n"
        "codes = [os.WEXITSTATUS(os.waitpid(pid, 0)[1]) for pid in children]\n"
        "result = [codes, sorted(os.listdir(came)), os.listdir(place)]"
    )
    assert codes == [3, 3, 3]
    assert seen == ["0", "1", "2"]
    assert left == []


def test_requests_of_which_one_never_comes_go_on_at_the_instant_for_all(app: App) -> None:
    waited, left = app.run(
        "import os, tempfile\n"
        "from wsgiproof_agent import probe\n"
        "from wsgiproof_agent.barrier import gather\n"
        "probe.LONGEST_HOLD = 1000\n"
        "place = tempfile.mkdtemp()\n"
        "until = probe.monotonic() + 0.1\n"
        "gather(2, until, place)\n"
        "result = [probe.monotonic() - until, os.listdir(place)]"
    )
    assert 0 <= waited < 1000
    assert left == []


def test_requests_that_can_open_no_file_wait_for_the_instant(app: App) -> None:
    waited = app.run(
        "from wsgiproof_agent import probe\n"
        "from wsgiproof_agent.barrier import gather\n"
        "probe.LONGEST_HOLD = 1000\n"
        "until = probe.monotonic() + 0.1\n"
        "gather(2, until, '/nonexistent')\n"
        "result = probe.monotonic() - until"
    )
    assert 0 <= waited < 1000


def test_who_waited_in_vain_is_not_counted_for_the_next_burst(app: App) -> None:
    assert app.run(
        "import threading\n"
        "from wsgiproof_agent.barrier import Barrier\n"
        "barrier = Barrier()\n"
        "result = [barrier.wait(2, 0.01), barrier.wait(2, 0.01)]"
    ) == [None, None]


# What the host asks for, and what nobody else may


def test_a_query_means_nothing_to_the_probe(app: App) -> None:
    plain, asked = app.run(
        REQUEST + "import time\nfrom wsgiproof_agent import probe\nprobe.LONGEST_HOLD = 1000\n"
        "began = time.monotonic()\n"
        "result = [get(), get(query='until=1e9&occupy=86400&memory=2&object_growth=begin')]\n"
        "assert time.monotonic() - began < 1000"
    )
    assert set(asked["report"]) == set(plain["report"])


def test_a_header_without_the_secret_is_any_other_header(app: App) -> None:
    secrets = ["", "5ec7e6", "5ec7e77", "\u00e9", "'"]
    plain, *answers = app.run(
        REQUEST + "command = 'until=1e9 memory=2 nonsense'\n"
        f"result = [get(), *(get(command, secret=one) for one in {secrets!r})]"
    )
    for secret, asked in zip(secrets, answers, strict=True):
        assert (asked["status"], asked["body"]) == ("200 OK", plain["body"]), secret
        assert plain["report"] and not asked["report"], secret


def test_an_application_without_a_secret_obeys_nobody(app: App) -> None:
    app.configure(secret="")
    asked = app.run(REQUEST + "result = get('memory=2', secret='')")
    assert (asked["status"], asked["report"]) == ("200 OK", None)


OUT_OF_BOUNDS = [
    *(f"occupy={value}" for value in ("86400", "5.01", "-1", "nan", "inf", "-inf", "", "1,5")),
    *(f"together={value}" for value in ("0", "-1", "10001", "1.5", "", "all")),
    *(f"until={value}" for value in ("nan", "inf", "-inf", "-1", "1e400", "x")),
    *(
        "memory=3",
        "memory=",
        "object_growth=all",
        "object_growth",
        "name=",
        "name=a/b",
        "sleep=1",
        "=",
    ),
    f"name={'a' * 17}",
]


def test_a_command_out_of_bounds_is_refused_by_name(app: App) -> None:
    answers = app.run(
        REQUEST + "from wsgiproof_agent import probe\n"
        "def never(until): raise ZeroDivisionError\nprobe.hold = never\n"
        f"result = [get(command) for command in {OUT_OF_BOUNDS!r}]"
    )
    for command, told in zip(OUT_OF_BOUNDS, answers, strict=True):
        assert told["status"] == "400 Bad Request", command
        (reason,) = told["report"].values()
        assert reason.startswith("the agent refused a command: "), command
        assert command.partition("=")[0] in reason, command
        assert SECRET not in reason + told["body"], command


def test_what_the_host_writes_is_what_the_probe_reads(app: App) -> None:
    commands = Commands(SECRET)
    target = commands.on(
        commands.target("http://127.0.0.1:1/a"),
        name="held12",
        until=12345.678901,
        together=15,
        occupy=0.1,
        memory=2,
        object_growth="begin",
    )
    _, _, header = target.request.decode().partition("X-Wsgiproof: ")
    value, end, rest = header.partition("\r\n\r\n")
    assert (end, rest) == ("\r\n\r\n", "")
    assert app.run(
        "from wsgiproof_agent import commands\n"
        f"environ = {{commands.KEY: {value!r}, 'kept': 1}}\n"
        f"result = [vars(commands.take(environ, {SECRET!r})), environ]"
    ) == [
        {
            "from_host": True,
            "name": "held12",
            "until": 12345.678901,
            "together": 15,
            "occupy": 0.1,
            "memory": "2",
            "object_growth": "begin",
        },
        {"kept": 1},
    ]
    assert target.label == "held12"
    assert target.url == "http://127.0.0.1:1/a"
    assert SECRET not in repr(target)


def test_the_clock_for_python_2_is_the_same_clock(app: App) -> None:
    before, between, after = app.run(
        "import time\n"
        "from wsgiproof_agent import probe\n"
        "result = [time.monotonic(), probe._monotonic_of_libc(), time.monotonic()]"
    )
    # A float of many seconds can't hold the last nanoseconds.
    assert before - 1e-6 <= between <= after + 1e-6


def test_a_crash_leaves_its_stacks_and_a_second_interpreter_adds_none(app: App) -> None:
    done = app.start(
        "import faulthandler, os\n"
        "from wsgiproof_agent import probe\n"
        "probe.record_crashes('../evidence')\n"
        "probe.record_crashes('../evidence')\n"
        "def culprit(): faulthandler._sigsegv()\n"
        "culprit()"
    )
    assert done.returncode == -signal.SIGSEGV
    (file,) = app.evidence.iterdir()
    assert file.name.startswith("fatal-")
    assert file.read_text().count("in culprit") == 1


CORE_OF_ITS_OWN = """
import os
opened = os.open("/", os.O_RDONLY)
os.dup2(opened, 9)
before = os.getcwd()
import runpy
links = []
for _ in range(2):
    runpy.run_path("wsgiproof_agent/script.wsgi")
    links.append(os.readlink("/proc/self/fd/9"))
result = [os.getpid(), before == os.getcwd(), links, os.get_inheritable(9)]
"""


def test_the_directory_for_a_core_is_opened_and_the_working_directory_remains(app: App) -> None:
    app.configure(core_descriptor=9)
    pid, same, links, inheritable = app.run(CORE_OF_ITS_OWN)
    assert links == [f"{app.evidence}/core-{pid}"] * 2
    assert (same, inheritable) == (True, False)


def test_a_planted_crash_at_exit_kills_after_the_answer(app: App) -> None:
    app.configure(fault="crash-at-exit")
    done = app.start(REQUEST + "print(get()['status'], flush=True)")
    assert done.stdout == "200 OK\n"
    assert done.returncode == -signal.SIGSEGV
    (file,) = app.evidence.glob("fatal-*")
    assert "in crash_here" in file.read_text()


def test_its_twin_does_not(app: App) -> None:
    app.configure(fault="work-at-exit")
    done = app.start(REQUEST + "get()")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_threads_that_are_there_after_all_exit_handlers_are_told(app: App) -> None:
    done = app.start(
        REQUEST + "import atexit, threading\n"
        "over = threading.Event()\n"
        "def start(name, target):\n"
        "    thread = threading.Thread(target=target, name=name)\n"
        "    thread.daemon = True\n"
        "    thread.start()\n"
        "    return thread\n"
        "start('stays', threading.Event().wait)\n"
        "ends = start('ends', over.wait)\n"
        "atexit.register(lambda: (over.set(), ends.join()))"
    )
    assert done.returncode == 0, done.stderr
    (told,) = read_leftover_threads(Evidence(app.evidence))
    assert (told.application_group, told.threads) == ("", ("stays",))


def test_who_leaves_no_thread_has_none_to_tell(app: App) -> None:
    assert app.start(REQUEST + "get()").returncode == 0
    assert read_leftover_threads(Evidence(app.evidence)) == ()


@pytest.mark.parametrize(
    ("fault", "options", "message"),
    [
        ("fail-to-import", {}, "ImportError: planted by wsgiproof: fail-to-import"),
        ("no-such-fault", {}, "ImportError: cannot import name 'faults' from 'wsgiproof_agent.sub"),
        ("crash-at-exit", {"every": 1}, "TypeError: "),
    ],
)
def test_a_fault_that_can_not_be_stops_the_load(
    app: App, fault: str, options: dict[str, int], message: str
) -> None:
    app.configure(fault=fault, fault_options=options)
    done = app.start(REQUEST)
    assert done.returncode == 1
    assert message in done.stderr


def test_a_workload_is_closed_with_its_interpreter_and_a_failure_is_noted(app: App) -> None:
    done = app.start(
        REQUEST + "from wsgiproof_agent.subject.workload import Workload\n"
        "def close(self):\n"
        "    print('closed', flush=True)\n"
        "    raise OSError('the backend is down')\n"
        "Workload.close = close\n"
        "get()\n"
        "import os\n"
        "if not os.fork(): raise SystemExit(0)\n"
        "os.wait()"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")
    (note,) = app.evidence.glob("close-*.txt")
    assert note.read_text().endswith("OSError: the backend is down\n\n")


def test_the_workload_gets_the_settings_of_its_subject_and_no_others(app: App) -> None:
    app.configure(subject={"uri": "here:1"})
    told = app.run(
        "from wsgiproof_agent.subject.workload import Workload\n"
        "made, real = [], Workload.__init__\n"
        "def init(self, settings): real(self, settings); made.append(settings)\n"
        "Workload.__init__ = init\n" + REQUEST + "result = made"
    )
    assert told == [{"uri": "here:1"}]


def test_pools_are_filled_by_a_command_before_the_work(app: App) -> None:
    assert app.run(
        REQUEST + "from wsgiproof_agent.subject import workload\n"
        "result = []\n"
        "workload.fill_pools = lambda seconds, together: result.append(seconds)\n"
        "workload.Workload.work = lambda self: result.append('work') or []\n"
        "get('occupy=0.25'), get()"
    ) == [0.25, "work", "work"]


def test_two_interpreters_have_two_tokens_and_one_has_one(app: App) -> None:
    code = (
        "from wsgiproof_agent.identity import interpreter_token as token\n"
        "result = [token(), token()]"
    )
    first, second = app.run(code), app.run(code)
    assert first[0] == first[1]
    assert first[0] != second[0]


@pytest.mark.parametrize(
    "source", SOURCES, ids=lambda path: f"{path.parent.parent.name}-{path.name}"
)
def test_the_grammar_is_that_of_python_2_7(source: Path) -> None:
    tree = ast.parse(source.read_text(encoding="ascii"))
    assert [line for node in ast.walk(tree) for line in _too_new(node)] == []


NEWER_NODES = (
    ast.JoinedStr, ast.AnnAssign, ast.Nonlocal, ast.NamedExpr, ast.YieldFrom, ast.MatMult,
    ast.AsyncFunctionDef, ast.Await, ast.Match, ast.TryStar, )  # fmt: skip


def _too_new(node: ast.AST) -> list[str]:
    """Name what Python 2.7 could not compile in this node itself."""
    found = [type(node).__name__] if isinstance(node, NEWER_NODES) else []
    if isinstance(node, ast.FunctionDef):
        found += ["return annotation"] * (node.returns is not None)
    if isinstance(node, ast.arguments):
        found += ["keyword-only argument"] * len(node.kwonlyargs)
        found += ["positional-only argument"] * len(node.posonlyargs)
    if isinstance(node, ast.arg):
        found += ["annotation"] * (node.annotation is not None)
    if isinstance(node, ast.Raise):
        found += ["raise from"] * (node.cause is not None)
    if isinstance(node, ast.ClassDef):
        found += ["metaclass"] * len(node.keywords)
        found += ["class without a base"] * (not node.bases)
    if isinstance(node, ast.Dict):
        found += ["** in a dict"] * node.keys.count(None)
    if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Call):
        parts = node.args[:-1] if isinstance(node, ast.Call) else node.elts
        found += ["* before others or in a list"] * sum(
            isinstance(one, ast.Starred) for one in parts
        )
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super":
        found += ["super() without arguments"] * (not node.args)
    return [f"line {getattr(node, 'lineno', '?')}: {text}" for text in found]


@pytest.mark.parametrize(
    "code",
    ["f'{x}'", "def f(*, x): pass", "def f(x: int): pass", "class A: pass", "(x := 1)",
     "a @ b", "raise A from b", "{**a}", "[*a]", "f(*a, b)", "def f():\n yield from x"],
)  # fmt: skip
def test_the_test_of_the_grammar_sees(code: str) -> None:
    assert [line for node in ast.walk(ast.parse(code)) for line in _too_new(node)]


# The object_growth of objects


def test_object_growth_has_the_types_that_grew(app: App) -> None:
    told = app.run(
        "from wsgiproof_agent import object_growth\n"
        "class Leaked(object):\n    pass\n"
        "Leaked.__module__ = 'shop'\n"
        "kept = [Leaked()]\nresult = [object_growth.begin()]\n"
        "kept += [Leaked() for _ in range(500)]\n"
        "kept += [bytes(bytearray([n % 250, n // 250])) for n in range(300)]\n"
        "for _ in range(900):\n    garbage = []; garbage.append(garbage)\n"
        "del garbage\nresult.append(object_growth.end())\n"
        "object_growth.begin()\nresult.append(object_growth.end())"
    )
    assert told[0] == {"types": []}
    grown = dict(told[1]["types"])
    assert grown["shop.Leaked"] == 500
    # Not tracked by the collector, and so found by who refers to them.
    assert 300 <= grown["bytes"] <= 320
    assert grown.get("list", 0) < 100, "garbage is no growth"
    assert len(told[1]["types"]) <= 8
    assert sum(number for _, number in told[2]["types"]) < 100, "it counts itself"


def test_where_sockets_were_opened_that_stay_open_is_told(app: App) -> None:
    told = app.run(
        "import os, socket\n"
        "from wsgiproof_agent import socket_origins\n"
        "kept = []\n"
        "def leak():\n    kept.append(socket.socket())\n"
        "def detach():\n    return socket.socket().detach()\n"
        "def close():\n    socket.socket().close()\n"
        "class Own(socket.socket):\n    pass\n"
        "def own():\n    kept.append(Own())\n"
        "plain = socket.socket.__init__\n"
        "before = socket.socket()\n"
        "result = [socket_origins.begin()]\n"
        "for make in [leak] * 3 + [close, own, detach, detach]:\n    make()\n"
        "os.close(detach())\n"
        "result += [socket_origins.end(), socket_origins.end()]\n"
        "assert socket.socket.__init__ is plain"
    )
    assert told[0] == told[2] == {"opened": []}
    opened = {stack.split(" (")[0]: number for stack, number in told[1]["opened"]}
    assert opened == {"leak": 3, "detach": 2, "own": 1}
    assert " < <module> (" in told[1]["opened"][0][0]


def test_operations_that_leave_memory_are_told(app: App) -> None:
    """One fills a cache first, and one makes garbage that only the collector frees."""
    told = app.run(
        "import ctypes\n"
        "from wsgiproof_agent import operation_growth\n"
        "kept, cache = [], {}\n"
        "def forget():\n    kept.append(object())\n"
        "def forget_two():\n    kept.append([object()])\n"
        "def fill():\n    len(cache) < 100 and cache.setdefault(len(cache), object())\n"
        "def cycle():\n    one = []; one.append(one)\n"
        "libc = ctypes.CDLL(None)\nlibc.malloc.restype = ctypes.c_void_p\n"
        "def take():\n    assert libc.malloc(ctypes.c_size_t(4000))\n"
        "names = ['forget', 'forget_two', 'fill', 'cycle', 'take', 'dir']\n"
        "result = operation_growth.measure([(name, eval(name)) for name in names])"
    )
    left = {name: (round(blocks), size > 3000) for name, blocks, size in told}
    # A list of one object is three blocks: the list, its items, the object.
    assert left == {"forget_two": (3, False), "forget": (1, False), "take": (0, True)}
    assert told[0][0] == "forget_two"


def test_operations_are_measured_once_at_a_time(app: App) -> None:
    assert app.run(
        "from wsgiproof_agent import operation_growth\n"
        "kept = []\n"
        "inner = []\n"
        "def again():\n    kept.append(object())\n"
        "    inner.extend(operation_growth.measure([('x', lambda: kept.append(object()))]))\n"
        "result = len(operation_growth.measure([('again', again)])), inner"
    ) == [1, []]


def test_object_growth_is_requested_by_a_command_and_does_no_work(app: App) -> None:
    begun, ended, work = app.run(
        REQUEST + "from wsgiproof_agent.subject.workload import Workload\n"
        "worked = []\nWorkload.work = lambda self: worked.append(1) or []\n"
        "result = [get('object_growth=begin'), get('until=1 object_growth=end')]\n"
        "assert not worked\nresult.append(get())\nassert worked"
    )
    assert begun["report"]["object_growth"] == {"types": []}
    assert set(ended["report"]) == {*work["report"], "object_growth"}
    assert ended["report"]["object_growth"]["operations"] == []
    assert ended["report"]["problems"] == []
