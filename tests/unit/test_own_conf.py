"""A user's own httpd.conf: what is read of it, what is refused, and what is written around it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cells import CELL, cell_with, configured
from tests.unit.factories import identity, observed
from tests.unit.test_inside import App
from wsgiproof.config.model import Config
from wsgiproof.config.own_conf import with_own_conf
from wsgiproof.errors import UsageError
from wsgiproof.experiment.commands import Commands
from wsgiproof.judge.answers import interpreters
from wsgiproof.judge.lifecycle import is_crash
from wsgiproof.process.account import Account, server_account
from wsgiproof.process.environ import child_environment
from wsgiproof.process.service import Service
from wsgiproof.records.cell import InterpreterKind, Loading, Mode, Mpm
from wsgiproof.records.observed import Event, Role
from wsgiproof.records.plan import ExtraPhase, PhaseName
from wsgiproof.server.apache import Server
from wsgiproof.server.around import AroundConf
from wsgiproof.server.own_conf import OwnConf, read_own_conf

LISTEN = "Listen 127.0.0.1:8080\n"
DAEMON = """
WSGIDaemonProcess shop processes=2 threads=5 maximum-requests=1000
WSGIProcessGroup shop
"""
SPARE = """
LoadModule mpm_prefork_module modules/mod_mpm_prefork.so
<IfModule mpm_prefork_module>
    StartServers 2
    ServerLimit 16
    MaxRequestWorkers 16
</IfModule>
<IfModule mpm_event_module>
    ServerLimit 3
</IfModule>
"""


STARTING = "Starting daemon process 'shop'"
ME = Account(name="me", group="me", uid=-1, gid=-1, dropped=False)


def read(tmp_path: Path, text: str, **environment: str) -> OwnConf:
    path = tmp_path / "httpd.conf"
    path.write_text(text)
    return read_own_conf(path, environment, ME)


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is read


def test_daemon_processes_are_counted(tmp_path: Path) -> None:
    own = read(tmp_path, f"{LISTEN}<VirtualHost *>{DAEMON}</VirtualHost>")
    assert (own.mode, own.processes, own.threads) == (Mode.DAEMON, 2, 5)
    assert (own.min_processes, own.maximum_requests) == (0, 1000)


def test_apaches_children_are_counted_where_they_run_the_application(tmp_path: Path) -> None:
    own = read(tmp_path, LISTEN + SPARE)
    assert (own.mode, own.mpm, own.min_processes, own.processes) == (
        Mode.EMBEDDED,
        Mpm.PREFORK,
        2,
        16,
    )


@pytest.mark.parametrize(
    ("lines", "pool"),
    [
        ("", (5, 256, 1)),
        ("MaxRequestWorkers 4\nStartServers 4\n", (0, 4, 1)),
        ("MaxRequestWorkers 4\nStartServers 4\nMaxSpareServers 2\n", (2, 4, 1)),
        ("LoadModule mpm_event_module x.so\n", (3, 16, 25)),
        ("LoadModule mpm_worker_module x.so\nThreadsPerChild 8\nMaxClients 16\n", (0, 2, 8)),
    ],
)
def test_the_pools_of_each_mpm(lines: str, pool: tuple[int, ...], tmp_path: Path) -> None:
    own = read(tmp_path, LISTEN + lines)
    assert (own.min_processes, own.processes, own.threads) == pool


def test_a_daemon_process_that_runs_nothing_is_no_daemon_mode(tmp_path: Path) -> None:
    own = read(tmp_path, f"{LISTEN}WSGIDaemonProcess shop\n")
    assert own.mode is Mode.EMBEDDED


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("", InterpreterKind.SHARED_GIL),
        ("WSGIApplicationGroup %{GLOBAL}", InterpreterKind.MAIN),
        ("WSGIScriptAlias / /a application-group=%{GLOBAL}", InterpreterKind.MAIN),
        ("WSGIPerInterpreterGIL On", InterpreterKind.OWN_GIL),
        ("WSGIPerInterpreterGIL Off", InterpreterKind.SHARED_GIL),
        ("WSGIFreeThreading on", InterpreterKind.FREE_THREADED),
    ],
)
def test_the_kind_of_interpreter(line: str, kind: InterpreterKind, tmp_path: Path) -> None:
    assert read(tmp_path, f"{LISTEN}{line}\n").interpreter is kind


@pytest.mark.parametrize(
    ("options", "loading"),
    [
        ("", Loading.LAZY),
        (" process-group=shop", Loading.LAZY),
        (" process-group=shop application-group=a", Loading.EAGER),
    ],
)
def test_when_a_script_is_loaded(options: str, loading: Loading, tmp_path: Path) -> None:
    own = read(tmp_path, f"{LISTEN}WSGIScriptAlias /a /srv/a.wsgi{options}\n")
    assert own.loading is loading


def test_variables_have_the_values_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / "embedded.conf").write_text(LISTEN)
    text = f"Define HERE {tmp_path}\nInclude ${{HERE}}/${{WHICH}}.conf\nErrorLog ${{HERE}}/log\n"
    own = read(tmp_path, text, WHICH="embedded", SECRET="of no concern")
    assert own.variables == {"WHICH": "embedded"}
    assert own.ports == (8080,)


def test_a_line_may_go_on_and_what_is_not_defined_is_not_read(tmp_path: Path) -> None:
    text = "Listen \\\n127.0.0.1:8080\n# Listen 0.0.0.0:1\n<IfDefine X>\nListen 1\n</IfDefine>\n"
    assert read(tmp_path, text).ports == (8080,)


# What is refused


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Listen 80\n", "httpd.conf:1: 'Listen 80' may be open to other machines"),
        ("Listen 0.0.0.0:80\n", "may be open to other machines"),
        ("Listen 127.0.0.1.example:80\n", "may be open to other machines"),
        (f"<IfModule ssl_module>\n{LISTEN}Listen 443\n</IfModule>\n", "httpd.conf:3: 'Listen 443'"),
        ("ServerName shop\n", "it has no Listen"),
        (f"{LISTEN}ErrorLog ${{WHERE}}/log\n", "${WHERE} has no value: export the variable WHERE"),
        (f"{LISTEN}Include /nowhere.conf\n", "there is no /nowhere.conf"),
        (f"{LISTEN}Use Shop\n", "write its directives out"),
        (f"{LISTEN}LoadModule mpm_itk_module x.so\n", "wsgiproof knows no MPM 'itk'"),
        (f"{LISTEN}ServerLimit many\n", "serverlimit takes a number"),
        (f"{LISTEN}<VirtualHost *>\nErrorLog /x\n</VirtualHost>\n", "httpd.conf:3: a virtual host"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(text: str, why: str, tmp_path: Path) -> None:
    assert why in refused(tmp_path, text)


def test_a_file_that_includes_itself_is_refused(tmp_path: Path) -> None:
    why = refused(tmp_path, f"Include {tmp_path}/httpd.conf\n")
    assert "more than 20 files include each other" in why


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--httpd-conf /nowhere"):
        read_own_conf(Path("/nowhere"), {}, ME)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_reads_no_file_that_the_server_could_not(tmp_path: Path) -> None:
    site = Path(tempfile.mkdtemp(prefix="wsgiproof-test-"))
    try:
        site.chmod(0o755)
        (site / "httpd.conf").write_text(f"{LISTEN}Include {tmp_path}/secret\n")
        (site / "httpd.conf").chmod(0o644)
        (tmp_path / "secret").write_text("Listen for this\n")
        (tmp_path / "secret").chmod(0o600)
        with pytest.raises(UsageError, match="as which the whole server runs, can't read"):
            read_own_conf(site / "httpd.conf", {}, server_account())
        (site / "httpd.conf").write_text(LISTEN)
        assert read_own_conf(site / "httpd.conf", {}, server_account()).ports == (8080,)
    finally:
        shutil.rmtree(site)


# The URLs


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("/shop", "http://localhost:8080/shop"),
        ("http://shop.example/x", "http://shop.example:8080/x"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
    ],
)
def test_a_url_may_be_a_path(given: str, url: str, tmp_path: Path) -> None:
    assert read(tmp_path, LISTEN).url(given, 1) == url


def test_a_chosen_port_is_in_the_url(tmp_path: Path) -> None:
    own = read(tmp_path, "Listen 127.0.0.1:${WSGIPROOF_PORT}\n")
    assert own.url("/shop", 4711) == "http://localhost:4711/shop"


@pytest.mark.parametrize("given", ["shop", "https://localhost/", "http://localhost:81/", ""])
def test_a_url_that_it_cannot_serve_is_refused(given: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--url"):
        read(tmp_path, LISTEN).url(given, 1)


def test_the_name_of_a_virtual_host_is_not_looked_up() -> None:
    target = Commands("5ec7e7").target("http://shop.invalid:8080/x")
    assert (target.address, target.port) == ("127.0.0.1", 8080)
    assert b"\r\nHost: shop.invalid:8080\r\n" in target.request


# What it changes of a run


def config_of(tmp_path: Path, text: str = LISTEN + SPARE, **changes: Any) -> Config:
    path = tmp_path / "httpd.conf"
    path.write_text(text)
    values = {"httpd_conf": str(path), "url": ("/a", "/b")} | changes
    return with_own_conf(configured(**values), {}, ME)


def test_the_file_takes_the_place_of_options(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert config.axis("mode") == (Mode.EMBEDDED,)
    assert config.axis("loading") == (Loading.LAZY,)
    assert (config.min_processes, config.processes, config.sub_interpreters) == (2, 16, 2)
    assert config.jobs == 1, "there is one port for all cells"


def test_cells_with_ports_of_their_own_run_at_the_same_time(tmp_path: Path) -> None:
    text = "Listen 127.0.0.1:${WSGIPROOF_PORT}\n"
    assert config_of(tmp_path, text, jobs=2).jobs == 2
    with pytest.raises(UsageError, match="--jobs 2"):
        config_of(tmp_path, jobs=2)


@pytest.mark.parametrize(
    ("option", "changes"),
    [
        ("--app", {"app": "/srv/shop.py"}),
        ("--control", {"control": "leak-connection"}),
        ("--threads", {"threads": 3}),
        ("--access-log", {"access_log": True}),
        ("--virtual-hosts", {"virtual_hosts": True}),
        ("--url", {"url": ()}),
    ],
)
def test_what_has_no_place_beside_it_is_refused(
    option: str, changes: Mapping[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=option):
        config_of(tmp_path, **changes)


def test_usual_numbers_are_named_where_they_vary(tmp_path: Path) -> None:
    four = f"{LISTEN}MaxRequestWorkers 4\n"
    varies = config_of(tmp_path, f"{four}StartServers 2\n")
    assert (varies.min_processes, varies.processes, varies.threads) == (2, 4, 0)
    constant = config_of(tmp_path, f"{four}StartServers 4\n")
    assert (constant.min_processes, constant.processes, constant.threads) == (0, 0, 0)


def test_scripts_are_left_alone(tmp_path: Path) -> None:
    phases = (ExtraPhase.RESTART, ExtraPhase.RELOAD)
    assert configured(phases=phases).plan().phases == phases
    assert config_of(tmp_path, phases=phases).plan().phases == (ExtraPhase.RESTART,)


def test_urls_without_a_file_are_refused() -> None:
    with pytest.raises(UsageError, match="--url needs --httpd-conf"):
        with_own_conf(configured(url=("/a",)), {})


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("ServerRoot /nowhere/httpd", "this machine has no directory /nowhere/httpd"),
        ("User nobody-of-that-name", "this machine has no user 'nobody-of-that-name'"),
        ("Group nobody-of-that-name", "this machine has no group 'nobody-of-that-name'"),
    ],
)
def test_what_apache_would_not_find_on_this_machine_is_refused(
    tmp_path: Path, line: str, told: str
) -> None:
    assert f"{tmp_path}/httpd.conf:2: {told}" in refused(tmp_path, f"{LISTEN}{line}\n")


@pytest.mark.parametrize("line", ["ServerRoot {}", "User root", "User #4711", "Group #4711"])
def test_what_is_on_this_machine_is_read(tmp_path: Path, line: str) -> None:
    assert read(tmp_path, f"{LISTEN}{line.format(tmp_path)}\n").ports == (8080,)


# What is written around it


def around(own: OwnConf, run_directory: Path, *, dropped: bool = False) -> AroundConf:
    return AroundConf(
        title="cell x",
        port=8080,
        run_directory=run_directory,
        script=own.path,
        error_log=run_directory / "error.log",
        modules=(),
        python_home=Path("/cache/env"),
        mpm=own.mpm,
        daemon=True,
        processes=1,
        threads=1,
        urls=(),
        user="www-data",
        group="www-data",
        directives=("Timeout 7",),
        own=own,
        given=("/a", "http://shop.example/b"),
        mod_wsgi=Path("/cache/mod_wsgi.so"),
        application=run_directory / "app",
        account=Account(name="www-data", group="www-data", uid=33, gid=33, dropped=dropped),
        logs=run_directory,
    )


def test_what_counts_comes_before_or_after_the_file(tmp_path: Path) -> None:
    conf = around(read(tmp_path, LISTEN + DAEMON), tmp_path)
    before, after = conf.render().split(f'Include "{tmp_path}/httpd.conf"')
    assert 'LoadModule wsgi_module "/cache/mod_wsgi.so"' in before
    for name in ("PidFile", "ErrorLog", "LogLevel", "User", "WSGIPythonHome", "CoreDumpDirectory"):
        assert f"{name} " in after
        assert f"{name} " not in before
    assert after.endswith("Timeout 7\n")


def test_the_urls_and_variables_of_its_server(tmp_path: Path) -> None:
    conf = around(read(tmp_path, f"{LISTEN}ErrorLog ${{X}}\n", X="/x"), tmp_path)
    assert conf.locations() == [("http://localhost:8080/a", "http://shop.example:8080/b")]
    assert conf.environment["X"] == "/x"
    assert conf.environment["MOD_WSGI_SO"] == "/cache/mod_wsgi.so"
    assert conf.environment["PYTHONPATH"] == str(tmp_path / "app")


@pytest.mark.parametrize(("dropped", "user"), [(True, (33, 33)), (False, None)])
def test_root_runs_none_of_it(dropped: bool, user: object, tmp_path: Path) -> None:
    assert around(read(tmp_path, LISTEN), tmp_path, dropped=dropped).run_as == user


# Its processes


@pytest.mark.parametrize("words", ["mod_wsgi (pid=7): Starting process 'shop'", STARTING])
def test_a_daemon_process_without_a_title_is_known_by_the_log(words: str, tmp_path: Path) -> None:
    service = Service(
        ["sh", "-c", "sleep 60 & sleep 60 & wait"],
        name="tree",
        log=tmp_path / "log",
        events=tmp_path / "events",
        env=child_environment(),
    )
    with service:
        conf = around(read(tmp_path, LISTEN + DAEMON), tmp_path)
        server = Server(service, conf, tmp_path)
        limit = time.monotonic() + 60
        while len(service.living()) < 3 and time.monotonic() < limit:
            time.sleep(0.01)
        daemon = max(service.living())
        said = f"[wsgi:error] [pid {min(service.living())}:tid 1] {words}"
        line = f"[wsgi:info] [pid {daemon}:tid {daemon}] {words} with threads=5."
        conf.error_log.write_text(f"[now] {said}\n[now] {line}\n[now] [wsgi:info] [pid")
        roles = sorted(server.living().values())
        assert server.role(daemon) is Role.WORKER
        frontend = min({*service.living()} - {service.pid})
        with conf.error_log.open("a") as log:
            log.write(
                f" {frontend}:tid {frontend}] Initializing Python runtime in embedded mode.\n"
            )
        os.kill(frontend, signal.SIGKILL)
        while frontend in service.living() and time.monotonic() < limit:
            time.sleep(0.01)
        assert server.role(frontend) is Role.FRONTEND, "though it has run Python and is gone"
    assert roles == sorted([Role.PARENT, Role.FRONTEND, Role.WORKER])


def test_a_log_that_the_server_wrote_elsewhere_is_kept(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    conf = around(read(tmp_path, LISTEN), tmp_path / "run")
    conf = msgspec.structs.replace(conf, logs=tmp_path)
    conf.error_log.write_text("the end\n")
    conf.keep_log()
    assert (tmp_path / "error.log").read_text() == "the end\n"


# How it is judged


def test_apaches_children_may_come_and_go_in_ones_own_configuration() -> None:
    death = Event(
        phase=PhaseName.PARALLEL, time=1.0, kind="died", pid=7, role=Role.FRONTEND, exit=0
    )
    seen = observed()
    assert is_crash(cell_with(CELL, mode=Mode.DAEMON), seen, death)
    own = cell_with(CELL, mode=Mode.DAEMON, httpd_conf="/etc/httpd.conf")
    assert not is_crash(own, seen, death)


def test_urls_may_share_an_interpreter_in_ones_own_configuration() -> None:
    seen = observed(identities=(identity(1), identity(2, token=identity(1).token)))
    own = cell_with(CELL, httpd_conf="/etc/httpd.conf")
    assert interpreters(CELL, seen).findings
    assert "an interpreter of its own" in interpreters(own, seen).skipped
    assert interpreters(own, observed()).passed


# The probe inside

SERVER = """
import runpy, sys, types

class Server(types.ModuleType):
    def subscribe_events(self, subscriber):
        self.event_callbacks.append(subscriber)

def begin_request(application):
    event = {"application_object": application, "request_environ": {}}
    for subscriber in server.event_callbacks:
        event.update(subscriber("request_started", **event) or {})
        assert subscriber("request_finished", **event) is None
    return event["application_object"]

runpy.run_path("sitecustomize.py", run_name="sitecustomize")
server = sys.modules["mod_wsgi"] = Server("mod_wsgi")
import csv  # mod_wsgi's module takes no subscribers yet
early = len(sys.meta_path)
server.event_callbacks = []
"""
"""A stand-in for mod_wsgi: the order in which it makes its module, and its event."""


class Attached(App):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        content = (self.directory / "wsgiproof_agent" / "sitecustomize.py").read_bytes()
        (self.directory / "sitecustomize.py").write_bytes(content)
        self.configure(server=str(Path(sys.executable).resolve()))


@pytest.fixture
def app(tmp_path: Path) -> Attached:
    return Attached(tmp_path)


def test_the_probe_subscribes_while_the_script_is_loaded(app: Attached) -> None:
    told = app.run(
        f"{SERVER}import colorsys\n"
        "result = [early - len(sys.meta_path), len(server.event_callbacks)]"
    )
    assert told == [1, 1]


def test_the_application_is_called_by_the_agent(app: Attached) -> None:
    told = app.run(
        f"{SERVER}import colorsys\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [b'hello']\n"
        "answers = []\n"
        "environ = {'HTTP_X_WSGIPROOF': '5ec7e7'}\n"
        "body = begin_request(application)(environ, lambda *given: answers.append(given))\n"
        "result = [body[0].decode(), answers[0][0], [name for name, _ in answers[0][1]]]"
    )
    assert told == ["hello", "200 OK", ["X-Wsgiproof-Report"]]


def test_a_script_that_imports_nothing_has_no_probe(app: Attached) -> None:
    assert app.run(f"{SERVER}result = len(server.event_callbacks)") == 0


def test_the_probe_leaves_other_programs_alone(app: Attached) -> None:
    app.configure(server="/usr/sbin/httpd")
    before = "import sys\nbefore = len(sys.meta_path)\n"
    assert app.run(f"{before}{SERVER}result = early - before") == 0


def test_a_file_that_it_hides_is_run(app: Attached, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.hidden = __name__\n")
    path = f"import sys\nsys.path.append({str(tmp_path)!r})\n"
    assert app.run(f"{path}{SERVER}result = sys.hidden") == "sitecustomize"
