"""Every Python of a machine: where it is from, which one is preferred, and what is no Python."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import time
import venv
from pathlib import Path

import msgspec
import psutil
import pytest
from click.testing import CliRunner

from tests.unit.test_python import ANYBODY, answering, good, program
from wsgiproof.cli import cli
from wsgiproof.errors import UsageError
from wsgiproof.provision import python as finding
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.python import choose, describe, found_pythons, installed
from wsgiproof.provision.toolchain import FoundPython, Python

EVERYBODYS = Path("/usr/lib")
"""A directory that Apache's user can read."""


def put(directory: Path, version: str, *, name: str = "python3.98", free: bool = False) -> Path:
    """An interpreter called ``name`` in that directory."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    python = msgspec.structs.replace(
        good(EVERYBODYS), version=version, path=str(path), free_threaded=free
    )
    return answering(path, python)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's directory with nothing in it, and nothing of ours anywhere else."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "on-path"))
    monkeypatch.setenv("WSGIPROOF_CACHE", str(tmp_path / "cache"))
    for name in ("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "CONDA_PREFIX", "MAMBA_ROOT_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def built(cache: Cache, version: str, *, free: bool = False) -> None:
    """An entry of the cache, as a build of ours leaves it."""

    def build(directory: Path) -> None:
        put(directory / "bin", version, free=free)

    cache.entry("cpython", {"version": version + "t" * free}, build)


def of(home: Path) -> list[FoundPython]:
    """What was found there, without the machine's own."""
    return [one for one in found_pythons(ANYBODY) if one.path.startswith(str(home))]


def test_each_place_has_its_name_and_its_rank(home: Path) -> None:
    built(Cache(), "3.98.9")
    put(home / "my-conda" / "bin", "3.98.6")
    (home / ".conda").mkdir()
    (home / ".conda" / "environments.txt").write_text(f"{home}/my-conda\n{home}/gone\n")
    put(home / "miniforge3" / "envs" / "other" / "bin", "3.98.5")
    put(home / ".local" / "share" / "uv" / "python" / "cpython-3.98.4" / "bin", "3.98.4")
    put(home / ".pyenv" / "versions" / "3.98.2" / "bin", "3.98.2")
    put(home / ".pyenv" / "versions" / "3.98.3" / "bin", "3.98.3")
    put(home / "on-path", "3.98.1")
    assert [(one.origin, one.python and one.python.version) for one in of(home)] == [
        ("PATH", "3.98.1"),
        ("pyenv", "3.98.3"),
        ("pyenv", "3.98.2"),
        ("uv", "3.98.4"),
        ("conda", "3.98.6"),
        ("conda", "3.98.5"),
        ("wsgiproof", "3.98.9"),
    ]
    assert choose("3.98", ANYBODY).version == "3.98.9", "the newest version, not the first place"
    assert choose("3.98.9", ANYBODY).origin == "wsgiproof"


def test_of_several_builds_of_one_version_the_first_place_has_it(home: Path) -> None:
    put(home / ".pyenv" / "versions" / "3.98.4" / "bin", "3.98.4")
    path = put(home / "on-path", "3.98.4")
    put(home / "on-path", "3.98.3", name="python3")
    assert choose("3.98", ANYBODY).path == str(path)


def test_a_pre_release_is_taken_only_where_it_is_named(home: Path) -> None:
    put(home / "on-path", "3.98.1")
    beta = put(home / ".pyenv" / "versions" / "3.98.2b1" / "bin", "3.98.2b1")
    put(home / ".pyenv" / "versions" / "3.99.0b1" / "bin", "3.99.0b1")
    assert choose("3.98", ANYBODY).version == "3.98.1"
    assert choose("3.98.2b1", ANYBODY).path == str(beta)
    for wanted in ("3.98.2", "3.98.2b2", "3.99"):
        with pytest.raises(UsageError, match=r"available: .*3\.98\.2b1"):
            choose(wanted, ANYBODY)


def test_what_path_leads_to_is_first_and_keeps_the_name_of_its_place(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = put(home / ".pyenv" / "versions" / "3.98.2" / "bin", "3.98.2")
    put(home / ".pyenv" / "versions" / "3.98.3" / "bin", "3.98.3")
    monkeypatch.setenv("PATH", str(old.parent))
    first, second = of(home)
    assert (first.origin, first.path) == (second.origin, str(old))
    assert first.origin == "pyenv"


def test_wsgiproofs_own_build_is_found_by_its_version(home: Path) -> None:
    built(Cache(), "3.98.7")
    built(Cache(), "3.98.7", free=True)
    assert choose("3.98", ANYBODY).free_threaded is False
    assert choose("3.98t", ANYBODY).free_threaded is True
    assert choose("3.98.7t", ANYBODY).origin == "wsgiproof"


def test_a_build_that_was_cut_off_is_none(home: Path) -> None:
    put(Cache().root / "cpython" / "3.98.7-half" / "bin", "3.98.7")
    assert of(home) == []
    with pytest.raises(UsageError, match=r"no Python '3\.98\.7'"):
        choose("3.98.7", ANYBODY)


def test_two_names_of_one_file_are_one_interpreter(home: Path) -> None:
    """CPython installs one without a GIL as ``python3.13t``, with a link for ``python3.13``."""
    path = put(home / "on-path", "3.98.1", name="python3.98t", free=True)
    (home / "on-path" / "python3.98").hardlink_to(path)
    (home / "on-path" / "python3").symlink_to("python3.98")
    (home / "on-path" / "python").symlink_to("gone")
    assert [one.path for one in of(home)] == [str(path)]


# What does not answer as it should


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("kill -9 $$", "is not a working Python interpreter"),
        ("echo hello", "is not a working Python interpreter"),
        ("while :; do echo spam; done", "is not a working Python interpreter"),
        ("exec sleep 600", "did not describe itself within 3 s"),
        ("sleep 600 & exit 0", "did not describe itself within 3 s"),
    ],
)
def test_what_hangs_crashes_or_prints_rubbish_is_reported_and_ended(
    home: Path, monkeypatch: pytest.MonkeyPatch, script: str, problem: str
) -> None:
    monkeypatch.setattr(finding, "_DEADLINE", 3.0)
    put(home / "on-path", "3.98.1")
    (home / "sleep").symlink_to("/usr/bin/sleep")  # so that it can be identified
    bad = program(home / "on-path" / "python3", script.replace("sleep", f"{home}/sleep"))
    problems = {one.path: one.problem for one in of(home)}
    assert problems == {str(home / "on-path" / "python3.98"): "", str(bad): problem}
    assert all(one.path != str(bad) for one in installed())
    assert nothing_runs(str(home))


def nothing_runs(where: str) -> bool:
    """Whether no process is left whose command is from there; a killed one may take a moment."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        commands = [" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])]
        if not any(where in command for command in commands):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("version", ["", "three", "3.98.7 or so"])
def test_a_version_that_is_none_does_not_break_the_order(home: Path, version: str) -> None:
    put(home / "on-path", version)
    put(home / "on-path", "3.98.1", name="python3")
    assert [bool(one.problem) for one in of(home)] == [False, True]


def test_a_version_of_a_checkout_is_one(tmp_path: Path) -> None:
    """``3.15.0a1+``, which is none to the standard of versions."""
    changed = "import platform\nplatform.python_version = lambda: '3.15.0a1+'\n"
    known = subprocess.run(
        [sys.executable, "-S", "-c", changed + finding._DESCRIBE_SCRIPT],
        capture_output=True,
        check=True,
    )
    assert json.loads(known.stdout)["version"] == "3.15.0a1"


# An environment


def test_of_an_environment_the_base_is_taken(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", symlinks=True)
    known = choose(str(tmp_path / "env"), ANYBODY)
    assert known == choose(str(tmp_path / "env" / "bin" / "python"), ANYBODY)
    assert known.path == describe(Path(sys.executable)).path
    assert known.origin == "given"


def test_so_it_is_where_an_interpreter_takes_its_environment_for_its_base(tmp_path: Path) -> None:
    """As before Python 3.11."""
    venv.create(tmp_path / "env", symlinks=True)
    older = "import sys\nsys._base_executable = sys.executable\n"
    known = subprocess.run(
        [tmp_path / "env" / "bin" / "python", "-S", "-c", older + finding._DESCRIBE_SCRIPT],
        capture_output=True,
        check=True,
    )
    path = msgspec.json.decode(known.stdout, type=Python).path
    assert path == str((tmp_path / "env" / "bin" / "python").resolve())


# The command


def test_the_command_shows_what_can_and_what_can_not_be_used(home: Path) -> None:
    put(home / "on-path", "3.98.1")
    put(home / ".pyenv" / "versions" / "3.98.2" / "bin", "3.98.2", free=True)
    python = msgspec.structs.replace(
        good(EVERYBODYS), version="3.98.0", path=str(home / "on-path" / "python3"), shared=False
    )
    answering(home / "on-path" / "python3", python)
    program(home / "on-path" / "python2", "exit 1")
    known = CliRunner().invoke(cli, ["doctor", "--pythons"])
    lines = {one.split()[-1]: one for one in known.output.splitlines() if str(home) in one}
    assert [line.split()[:5] for line in lines.values()] == [
        ["3.98.1", "PATH", "yes", "yes", "yes"],
        ["3.98.0", "PATH", "no", "yes", "yes"],
        ["?", "PATH", "?", "?", "?"],
        ["3.98.2t", "pyenv", "yes", "yes", "no"],
    ]
    assert "has no shared library" in lines[str(home / "on-path" / "python3")]
    assert "\x1b" not in known.output
    assert known.exit_code == 0


def test_as_json_each_has_all_that_the_table_has(home: Path) -> None:
    path = put(home / "on-path", "3.98.1", free=True)
    program(home / "on-path" / "python2", "exit 1")
    known = CliRunner().invoke(cli, ["doctor", "--pythons", "--json"])
    rows = {row["path"]: row for row in json.loads(known.output)}
    assert rows[str(path)] == {
        "version": "3.98.1",
        "path": str(path),
        "from": "PATH",
        "shared_library": True,
        "headers": True,
        "free_threaded": True,
        "usable": True,
        "problem": "",
    }
    silent = rows[str(home / "on-path" / "python2")]
    assert (silent["version"], silent["shared_library"], silent["usable"]) == (None, None, False)
    assert silent["problem"] == "is not a working Python interpreter"


@pytest.mark.parametrize("what", ["file", "directory", "above"])
def test_what_others_may_have_put_there_is_not_run_unless_it_is_on_path(
    what: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(home / "miniforge3" / "envs" / "x" / "bin", "3.98.5")
    target = {"file": path, "directory": path.parent, "above": home / "miniforge3"}[what]
    if os.geteuid() == 0 and what != "above":
        os.chown(target, pwd.getpwnam("nobody").pw_uid, -1)
    else:  # only root can give something away
        target.chmod(target.stat().st_mode | 0o002)
    ran = home / "ran"
    text = path.read_text()
    path.write_text(text.replace("\n", f"\ntouch {ran}\n", 1))
    (found,) = of(home)
    assert (found.python, found.origin) == (None, "conda")
    assert found.problem.startswith("is not run because ")
    assert not ran.exists()
    path.write_text(text)
    monkeypatch.setenv("PATH", str(path.parent))
    assert [one.python and one.python.version for one in of(home)] == ["3.98.5"]
