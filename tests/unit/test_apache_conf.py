"""The text of httpd.conf, for each mode and each MPM."""

from __future__ import annotations

import re
import shlex
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cells import CELL, cell_with
from wsgiproof.errors import PrerequisiteMissing, UsageError
from wsgiproof.process.commands import run
from wsgiproof.process.environ import child_environment
from wsgiproof.provision.httpd import find_httpd
from wsgiproof.provision.toolchain import Httpd
from wsgiproof.records.cell import Cell, Mode, Mpm
from wsgiproof.server import apache, configuration
from wsgiproof.server.configuration import ApacheConf, modules_for, pool, urls, workers

each_cell = pytest.mark.parametrize(
    ("mode", "mpm"), list(product(Mode, Mpm)), ids=lambda value: str(value)
)


def conf(mode: Mode, mpm: Mpm, **changes: Any) -> ApacheConf:
    cell = cell_of(mode, mpm)
    processes, threads = pool(cell)
    values: dict[str, Any] = {
        "title": f"cell {cell.id}",
        "port": 4711,
        "run_directory": Path("/tmp/wsgiproof-x"),
        "script": Path("/tmp/wsgiproof-x/app/inside/script.wsgi"),
        "error_log": Path("/results/cell/error.log"),
        "modules": (
            (f"mpm_{mpm}", Path(f"/modules/mod_mpm_{mpm}.so")),
            ("wsgi", Path("/c/wsgi.so")),
        ),
        "python_home": Path("/cache/env"),
        "mpm": mpm,
        "daemon": mode is Mode.DAEMON,
        "processes": processes,
        "threads": threads,
        "urls": urls([f"interpreter{number}" for number in range(1, cell.sub_interpreters + 1)]),
    }
    return ApacheConf(**values | changes)


@cache
def rendered(mode: Mode, mpm: Mpm) -> str:
    return conf(mode, mpm).render()


def cell_of(mode: Mode, mpm: Mpm) -> Cell:
    return cell_with(CELL, mode=mode, mpm=mpm, sub_interpreters=3)


def directives(text: str) -> dict[str, list[list[str]]]:
    """The arguments of each directive, by its name, as Apache splits them."""
    found: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            name, *arguments = shlex.split(line)
            found.setdefault(name, []).append(arguments)
    return found


@each_cell
def test_one_alias_for_each_url_with_both_groups(mode: Mode, mpm: Mpm) -> None:
    group = "subject" if mode is Mode.DAEMON else "%{GLOBAL}"
    assert directives(rendered(mode, mpm))["WSGIScriptAlias"] == [
        [
            f"/interpreter{number}",
            "/tmp/wsgiproof-x/app/inside/script.wsgi",
            f"process-group={group}",
            f"application-group=interpreter{number}",
        ]
        for number in (1, 2, 3)
    ]


@each_cell
def test_a_script_that_is_loaded_late_names_no_group(mode: Mode, mpm: Mpm) -> None:
    """mod_wsgi loads a script early if it knows both of its groups."""
    mounted = urls(["%{RESOURCE}"] * 3)
    text = conf(mode, mpm, lazy=True, urls=mounted, more_groups=1).render()
    found = directives(text)
    assert "WSGIScriptAlias" not in found
    assert "WSGIApplicationGroup" not in found
    prefixes = ("", "/subject2")
    assert found["WSGIScriptAliasMatch"] == [
        [f"^{prefix}/interpreter{number}$", "/tmp/wsgiproof-x/app/inside/script.wsgi"]
        for prefix in prefixes
        for number in (1, 2, 3)
    ]
    groups = [["subject"]] * 3 + [["subject2"]] * 3
    assert found.get("WSGIProcessGroup", []) == (groups if mode is Mode.DAEMON else [])


@each_cell
@pytest.mark.parametrize("lazy", [False, True])
def test_each_interpreter_has_a_virtual_host_of_its_own(mode: Mode, mpm: Mpm, lazy: bool) -> None:
    mounted = urls(["%{RESOURCE}"] * 2, virtual_hosts=True)
    made = conf(mode, mpm, lazy=lazy, urls=mounted)
    assert made.locations() == [
        (
            "http://interpreter1.localhost:4711/interpreter1",
            "http://interpreter2.localhost:4711/interpreter2",
        )
    ]
    main, *hosts = made.render().split("<VirtualHost *>")
    names = [directives(host)["ServerName"] for host in hosts]
    assert names == [[["interpreter1.localhost"]], [["interpreter2.localhost"]]]
    for number, host in enumerate(hosts, 1):
        found = directives(host)
        ((url, _),) = found["WSGIScriptAliasMatch" if lazy else "WSGIScriptAlias"]
        assert url.strip("^$") == f"/interpreter{number}"
        assert "WSGIApplicationGroup" not in found
        assert ("WSGIProcessGroup" in found) is (mode is Mode.DAEMON)
    found = directives(main)
    assert not {"WSGIScriptAlias", "WSGIScriptAliasMatch", "WSGIProcessGroup"} & {*found}
    group = "subject" if mode is Mode.DAEMON else "%{GLOBAL}"
    assert [words[1:] for words in found.get("WSGIImportScript", [])] == [
        [
            f"process-group={group}",
            f"application-group=interpreter{number}.localhost:4711|/interpreter{number}",
        ]
        for number in (() if lazy else (1, 2))
    ]


def test_a_named_interpreter_of_a_virtual_host_is_loaded_by_its_alias() -> None:
    mounted = urls(["%{GLOBAL}"], virtual_hosts=True)
    found = directives(conf(Mode.DAEMON, Mpm.PREFORK, urls=mounted).render())
    assert found["WSGIScriptAlias"][0][2:] == [
        "process-group=subject",
        "application-group=%{GLOBAL}",
    ]
    assert "WSGIImportScript" not in found


def test_an_interpreter_that_is_not_the_default_is_named_by_its_location() -> None:
    text = conf(Mode.DAEMON, Mpm.PREFORK, lazy=True, urls=urls(["%{GLOBAL}"])).render()
    assert directives(text)["WSGIApplicationGroup"] == [["%{GLOBAL}"]]


def test_nothing_in_a_path_is_taken_for_a_part_of_the_url() -> None:
    script = Path("/tmp/a$1&b\\c/script.wsgi")
    text = conf(Mode.DAEMON, Mpm.PREFORK, lazy=True, script=script).render()
    ((_, replacement), *_) = directives(text)["WSGIScriptAliasMatch"]
    assert re.sub(r"\\([$&])", r"\1", replacement) == str(script)
    assert not re.search(r"(?<!\\)[$&]", replacement)


@each_cell
def test_only_daemon_mode_has_a_daemon_process(mode: Mode, mpm: Mpm) -> None:
    found = directives(rendered(mode, mpm))
    if mode is Mode.EMBEDDED:
        assert "WSGIDaemonProcess" not in found
        assert "WSGIRestrictEmbedded" not in found
        return
    ((name, *options),) = found["WSGIDaemonProcess"]
    assert name == "subject"
    assert {"processes=1", "threads=15", "display-name=%{GROUP}"} <= set(options)
    assert found["WSGIRestrictEmbedded"] == [["On"]]


@each_cell
def test_the_pool_is_held_still(mode: Mode, mpm: Mpm) -> None:
    found = directives(rendered(mode, mpm))
    processes, threads = pool(cell_of(mode, mpm))
    assert found["StartServers"] == found["ServerLimit"] == [[str(processes)]]
    assert found["MaxRequestWorkers"] == [[str(processes * threads)]]
    assert found["MaxConnectionsPerChild"] == [["0"]]
    if mpm is Mpm.PREFORK:
        assert found["MinSpareServers"] == found["MaxSpareServers"] == [[str(processes)]]
        assert "ThreadsPerChild" not in found
    else:
        assert found["ThreadsPerChild"] == found["ThreadLimit"] == [[str(threads)]]
        # Apache ends a child once more threads than this are idle, so all must fit.
        assert int(found["MaxSpareThreads"][0][0]) > processes * threads
        assert "MinSpareServers" not in found


@each_cell
def test_a_restart_can_make_more_processes(mode: Mode, mpm: Mpm) -> None:
    """Apache has to know the limit from the start: a restart can't raise it."""
    before = conf(mode, mpm, process_limit=12)
    after = before.with_processes(10)
    (main, *others), threads = after.locations(), before.threads
    assert main == before.locations()[0]
    if mode is Mode.DAEMON:
        assert (after.workers, len(others), after.processes) == (1, 9, before.processes)
        return
    assert (after.workers, others) == (10, [])
    found = directives(after.render())
    assert found["StartServers"] == [["10"]]
    assert found["MaxRequestWorkers"] == [[str(10 * threads)]]
    for limited in (before, after):
        assert directives(limited.render())["ServerLimit"] == [["12"]]
    assert before.with_processes(1).processes == before.processes, "there are never fewer"
    assert before.with_processes(20).processes == 12


@pytest.mark.parametrize("mpm", Mpm)
def test_a_pool_that_varies_is_small_without_load_and_large_under_it(mpm: Mpm) -> None:
    found = directives(conf(Mode.EMBEDDED, mpm, processes=16, min_processes=2).render())
    threads = pool(cell_of(Mode.EMBEDDED, mpm))[1]
    assert (found["StartServers"], found["ServerLimit"]) == ([["2"]], [["16"]])
    assert found["MaxRequestWorkers"] == [[str(16 * threads)]]
    what, unit = ("Servers", 1) if mpm is Mpm.PREFORK else ("Threads", threads)
    assert found[f"MinSpare{what}"] == [[str(2 * unit)]]
    assert found[f"MaxSpare{what}"] == [[str(4 * unit)]]


@each_cell
def test_every_daemon_thread_can_be_busy_at_once(mode: Mode, mpm: Mpm) -> None:
    cell = cell_of(mode, mpm)
    processes, threads = pool(cell)
    if mode is Mode.DAEMON:
        assert workers(cell) == (1, configuration.DAEMON_THREADS)
        assert processes * threads > configuration.DAEMON_THREADS
    else:
        assert workers(cell) == (processes, threads)


@each_cell
def test_processes_and_threads_are_those_that_were_asked_for(mode: Mode, mpm: Mpm) -> None:
    threads = 1 if (mode, mpm) == (Mode.EMBEDDED, Mpm.PREFORK) else 20
    cell = msgspec.structs.replace(cell_of(mode, mpm), processes=3, threads=threads)
    assert workers(cell) == (3, threads)
    children, of_child = pool(cell)
    if mode is Mode.EMBEDDED:
        assert (children, of_child) == (3, threads)
        return
    assert children * of_child > 3 * threads, "all daemon threads can be busy at once"
    found = directives(conf(mode, mpm, daemon_processes=3, daemon_threads=threads).render())
    ((_, *options),) = found["WSGIDaemonProcess"]
    assert {"processes=3", "threads=20"} <= set(options)


@each_cell
def test_it_binds_to_loopback_and_writes_only_where_it_should(mode: Mode, mpm: Mpm) -> None:
    found = directives(rendered(mode, mpm))
    assert found["Listen"] == [["127.0.0.1:4711"]]
    assert found["ServerRoot"] == found["DefaultRuntimeDir"] == [["/tmp/wsgiproof-x"]]
    assert found["PidFile"] == [["/tmp/wsgiproof-x/httpd.pid"]]
    assert found["Mutex"] == [["file:/tmp/wsgiproof-x", "default"]]
    assert found["ErrorLog"] == [["/results/cell/error.log"]]
    assert found["WSGIPythonHome"] == [["/cache/env"]]
    assert found["WSGISocketPrefix"] == [["/tmp/wsgiproof-x/wsgi"]]
    assert found["LoadModule"] == [
        [f"mpm_{mpm}_module", f"/modules/mod_mpm_{mpm}.so"],
        ["wsgi_module", "/c/wsgi.so"],
    ]
    assert found["<Directory"] == [["/>"]]
    assert found["<Location"] == [[f"/interpreter{number}>"] for number in (1, 2, 3)]


@each_cell
def test_the_user_is_named_if_it_is_known(mode: Mode, mpm: Mpm) -> None:
    found = directives(rendered(mode, mpm))
    assert "User" not in found
    assert "Group" not in found
    found = directives(conf(mode, mpm, user="www-data", group="web").render())
    assert (found["User"], found["Group"]) == ([["www-data"]], [["web"]])


def test_a_daemon_process_works_where_the_user_asks_for() -> None:
    (usual,) = directives(rendered(Mode.DAEMON, Mpm.PREFORK))["WSGIDaemonProcess"]
    assert not [word for word in usual if word.startswith("home=")]
    text = conf(Mode.DAEMON, Mpm.PREFORK, home="/srv/my shop").render()
    (asked,) = directives(text)["WSGIDaemonProcess"]
    assert set(asked) - set(usual) == {"home=/srv/my shop"}


def test_mod_wsgi_before_4_finds_the_executable_of_the_environment() -> None:
    usual = conf(Mode.DAEMON, Mpm.PREFORK).search_path
    assert "/cache/env" not in usual
    old = conf(Mode.DAEMON, Mpm.PREFORK, before_4=True)
    assert old.search_path == f"/cache/env/bin:{usual}"


@each_cell
def test_nothing_of_the_template_is_left(mode: Mode, mpm: Mpm) -> None:
    text = rendered(mode, mpm)
    assert not re.search(r"\{\{|\}\}|\{%|%\}|\{#|#\}|Undefined", text)
    empty = {name for name, lines in directives(text).items() if [] in lines}
    assert empty == {"</Directory>", "</Location>"}


def test_paths_with_spaces_are_one_argument() -> None:
    changes = {
        "run_directory": Path("/tmp/a b"),
        "script": Path("/tmp/a b/app/script.wsgi"),
        "error_log": Path("/my results/error.log"),
        "python_home": Path("/my cache/env"),
        "modules": (("wsgi", Path("/my cache/wsgi.so")),),
    }
    found = directives(conf(Mode.DAEMON, Mpm.PREFORK, **changes).render())
    assert found["ServerRoot"] == [["/tmp/a b"]]
    assert found["Mutex"] == [["file:/tmp/a b", "default"]]
    assert found["PidFile"] == [["/tmp/a b/httpd.pid"]]
    assert found["ErrorLog"] == [["/my results/error.log"]]
    assert found["WSGIPythonHome"] == [["/my cache/env"]]
    assert found["LoadModule"] == [["wsgi_module", "/my cache/wsgi.so"]]
    assert [alias[1] for alias in found["WSGIScriptAlias"]] == ["/tmp/a b/app/script.wsgi"] * 3


HARD = [
    "a b",
    'a"b',
    "a\\b",
    "a\\\\b",
    "a\\",
    "a'b",
    "#a",
    "%h %{GLOBAL}",
    "$HOME",
    "[a]*?",
    "<a>",
    "ä",
]
"""Names of directories, each with something that means more than itself to Apache."""


def test_apache_reads_every_path_as_it_is(tmp_path: Path) -> None:
    httpd = find_httpd()
    assert httpd is not None
    # Without mod_wsgi, which would have to be built: its paths are those of tests/real.
    *modules, _ = modules_for(httpd, Mpm.PREFORK, Path("mod_wsgi.so"), logs_access=True)
    for name in HARD:
        directory = tmp_path / name
        directory.mkdir()
        where = {
            "run_directory": directory,
            "error_log": directory / "error.log",
            "access_log": directory / "access.log",
            "core_directory": directory,
        }
        text = conf(Mode.DAEMON, Mpm.PREFORK, modules=tuple(modules), **where).render()
        file = directory / "httpd.conf"
        file.write_text("".join(line for line in text.splitlines(True) if line[:4] != "WSGI"))
        done = run(
            [str(httpd.httpd), "-t", "-DDUMP_RUN_CFG", "-f", str(file)],
            deadline=20,
            env=child_environment(),
        )
        assert (done.returncode, "AH00111" in done.output) == (0, False), done.output
        assert f'ServerRoot: "{directory}"' in done.output
        assert f'Main ErrorLog: "{directory}/error.log"' in done.output
        assert f'Mutex default: dir="{directory}"' in done.output
        assert f'PidFile: "{directory}/httpd.pid"' in done.output


@pytest.mark.parametrize("name", ["${HOME}", "two\nlines"])
def test_a_path_that_no_quotes_can_hold_is_refused(name: str) -> None:
    changed = conf(Mode.DAEMON, Mpm.PREFORK, error_log=Path("/tmp", name, "error.log"))
    with pytest.raises(UsageError, match="choose another directory"):
        changed.render()


def test_the_group_of_each_url_is_the_subjects_to_name() -> None:
    same = urls(["interpreter1", "interpreter1"])
    assert [(url.path, url.application_group) for url in same] == [
        ("/interpreter1", "interpreter1"),
        ("/interpreter2", "interpreter1"),
    ]


@each_cell
def test_the_kind_of_interpreter_is_said_where_it_is_not_the_usual_one(
    mode: Mode, mpm: Mpm
) -> None:
    kinds = ("WSGIPerInterpreterGIL", "WSGIFreeThreading")
    usual = directives(rendered(mode, mpm))
    own = directives(conf(mode, mpm, own_gil=True).render())
    free = directives(conf(mode, mpm, free_threading=True).render())
    assert [usual.get(kind) for kind in kinds] == [None, None]
    assert [own.get(kind) for kind in kinds] == [[["On"]], None]
    assert [free.get(kind) for kind in kinds] == [None, [["On"]]]


def test_requests_are_logged_where_that_is_asked_for(tmp_path: Path) -> None:
    log = Path("/results/cell/access.log")
    assert "CustomLog" not in directives(rendered(Mode.DAEMON, Mpm.PREFORK))
    ((path, form),) = directives(conf(Mode.DAEMON, Mpm.PREFORK, access_log=log).render())[
        "CustomLog"
    ]
    assert path == str(log)
    assert form.startswith('%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"'), "combined"


def test_the_module_that_logs_requests_is_loaded_unless_it_is_compiled_in(tmp_path: Path) -> None:
    httpd = Httpd(
        version="2.4.62", build="", httpd=tmp_path / "httpd", apxs=tmp_path / "apxs",
        modules=tmp_path, static=frozenset(), mpms=(Mpm.PREFORK,),
    )  # fmt: skip
    module = tmp_path / "mod_wsgi.so"
    logging = {"logs_access": True}
    with pytest.raises(
        PrerequisiteMissing, match="has no mod_log_config, which --access-log needs"
    ):
        modules_for(httpd, Mpm.PREFORK, module, **logging)
    inside = msgspec.structs.replace(httpd, static=frozenset({"log_config"}))
    assert modules_for(inside, Mpm.PREFORK, module, **logging) == (("wsgi", module),)
    (tmp_path / "mod_log_config.so").touch()
    loaded = dict(modules_for(httpd, Mpm.PREFORK, module, **logging))
    assert loaded["log_config"] == tmp_path / "mod_log_config.so"
    assert "log_config" not in dict(modules_for(httpd, Mpm.PREFORK, module))


def test_only_the_end_of_a_large_access_log_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apache, "LARGEST_ACCESS_LOG", 100)
    log = tmp_path / "access.log"
    for lines, kept in ((5, 5), (60, 9)):
        log.write_text("".join(f"line {n:04}\n" for n in range(lines)))
        apache._shorten(log)
        left = log.read_text().splitlines()
        assert left == [f"line {n:04}" for n in range(lines - kept, lines)]
    (tmp_path / "other").write_text("x" * 200)
    log.unlink()
    log.symlink_to(tmp_path / "other")
    apache._shorten(log)
    assert len((tmp_path / "other").read_text()) == 200, "it is not followed"


def test_lines_of_the_user_come_last() -> None:
    one = conf(Mode.DAEMON, Mpm.PREFORK, directives=("WSGIDestroyInterpreter Off",))
    assert one.render().rstrip().endswith("\nWSGIDestroyInterpreter Off")
