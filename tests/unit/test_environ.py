"""What of our environment children have: by the names that are allowed, and as they tell it."""

from __future__ import annotations

import ast
import sys
import threading
from pathlib import Path

import psutil
import pytest

import wsgiproof
from wsgiproof.process.account import server_account
from wsgiproof.process.commands import run, run_unguarded
from wsgiproof.process.environ import COMPILE, DOWNLOAD, WORKER, child_environment
from wsgiproof.process.service import Service
from wsgiproof.process.spawn import MARKER, run_name
from wsgiproof.provision.index import make_sdist
from wsgiproof.provision.python import describe

TOKEN = "a token that nobody else may have"
SECRETS = (
    *("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "PASSWORD", "UV_PUBLISH_TOKEN", "UV_GITHUB_TOKEN"),
    *("WSGIPROOF_MONGODB_URI", "PGPASSWORD", "UV_PUBLISH_PASSWORD"),
)


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, TOKEN)


@pytest.mark.parametrize("groups", [(), (COMPILE,), (DOWNLOAD,), (COMPILE, DOWNLOAD, WORKER)])
def test_no_list_lets_a_token_through(groups: tuple[tuple[str, ...], ...]) -> None:
    assert TOKEN not in child_environment(*groups).values()


def test_what_a_child_needs_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = {
        (): ("PATH", "HOME", "LC_ALL", "TZ"),
        (COMPILE,): ("CC", "CFLAGS", "PKG_CONFIG_PATH"),
        (DOWNLOAD,): ("https_proxy", "SSL_CERT_FILE", "UV_INDEX_URL", "PIP_INDEX_URL"),
        (WORKER,): ("WSGIPROOF_CACHE",),
    }
    for names in needed.values():
        for name in names:
            monkeypatch.setenv(name, "value")
    for groups, names in needed.items():
        assert set(names) <= set(child_environment(*groups))
        others = {name for group in needed if group and group != groups for name in needed[group]}
        assert not others & set(child_environment(*groups))


def test_one_module_alone_can_start_a_process() -> None:
    able = {"Popen", "run", "call", "check_call", "check_output"}
    forks = {"fork", "forkpty", "posix_spawn", "posix_spawnp", "system", "popen", "execve"}
    found = set()
    root = Path(wsgiproof.__file__).parent
    for path in root.rglob("*.py"):
        if path.parent.name in ("agent", "guard") or path.name == "spawn.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import) and "multiprocessing" in {n.name for n in node.names}:
                found.add(str(path))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                of, name = node.value.id, node.attr
                starts = (of == "subprocess" and name in able) or (of == "os" and name in forks)
                # A type may be named.
                if starts and (path.name, name) != ("guarded.py", "Popen"):
                    found.add(f"{path}: {of}.{name}")
    assert found == set()


def test_a_service_a_command_and_a_question_have_what_they_are_given(tmp_path: Path) -> None:
    given = {"ONLY": "this"}
    with Service(
        ["/usr/bin/env"], name="env", log=tmp_path / "log", events=tmp_path / "events", env=given
    ) as service:
        assert service.wait(20)
    done = run(["/usr/bin/env"], deadline=20, env=given)
    short = run_unguarded(["/usr/bin/env"], deadline=20, env=given)
    assert short.output.splitlines() == [f"{MARKER}={run_name()}", "ONLY=this"]
    for lines in ((tmp_path / "log").read_text().splitlines(), done.output.splitlines()):
        names = {line.partition("=")[0] for line in lines}
        assert {"ONLY", MARKER} <= names <= {"ONLY", MARKER, "TMPDIR"}


def test_the_guard_has_nothing_of_ours(tmp_path: Path) -> None:
    with Service(
        ["sleep", "60"], name="x", log=tmp_path / "log", events=tmp_path / "events", env={}
    ) as service:
        guard = psutil.Process(service.events()[0].ppid)
        assert set(guard.environ()) <= {MARKER, "LD_LIBRARY_PATH", "LC_CTYPE"}


def recorder(path: Path, record: Path) -> Path:
    path.write_text(f'#!/bin/sh\nenv >> "{record}"\nexec "{sys.executable}" "$@"\n')
    path.chmod(0o755)
    return path


def test_an_interpreter_that_is_asked_what_it_is_sees_no_token(tmp_path: Path) -> None:
    describe(recorder(tmp_path / "python", tmp_path / "record"))
    seen = (tmp_path / "record").read_text()
    assert "PATH=" in seen
    assert TOKEN not in seen


def test_a_build_of_a_checkout_sees_no_token_and_leaves_nothing(tmp_path: Path) -> None:
    tree, target = tmp_path / "tree", tmp_path / "target"
    tree.mkdir()
    target.mkdir()
    (tree / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (tree / "backend.py").write_text(
        "import os, pathlib, tarfile, tempfile\n"
        f"record = pathlib.Path({str(tmp_path / 'record')!r})\n"
        "def build_sdist(directory, config_settings=None):\n"
        "    tempfile.mkdtemp()\n"
        "    record.write_text('\\n'.join('='.join(one) for one in os.environ.items()))\n"
        "    tarfile.open(directory + '/x-1.tar.gz', 'w:gz').close()\n"
        "    return 'x-1.tar.gz'\n"
    )
    assert make_sdist(tree, target, tmp_path / "log").name == "x-1.tar.gz"
    recorded = (tmp_path / "record").read_text()
    assert TOKEN not in recorded
    own = next(line for line in recorded.splitlines() if line.startswith("TMPDIR="))
    assert not Path(own.partition("=")[2]).exists()


def test_what_asks_as_apaches_user_shows_it_nothing(tmp_path: Path) -> None:
    account = server_account()
    seen: list[dict[str, str]] = []
    over = threading.Event()

    def look() -> None:
        while not seen and not over.wait(0.001):
            for child in psutil.Process().children():
                try:
                    its = Path(child.exe()) == Path("/usr/bin/test").resolve()
                    # In the middle of execve(2) it has none yet.
                    if its and (environment := child.environ()):
                        seen.append(environment)
                except psutil.Error:
                    continue

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(5000):
        account.cannot_reach(tmp_path)
        if seen or not account.dropped:
            break
    over.set()
    looking.join()
    # As an ordinary user nobody else is asked.
    assert all(set(environment) == {MARKER} for environment in seen)
    assert bool(seen) is account.dropped
