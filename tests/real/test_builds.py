"""Builds: made once however many want them, whole or not at all, and explained where they fail."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from tests.real.command import nobody_is_left, started
from wsgiproof.errors import BuildFailed, CannotRun
from wsgiproof.process.account import server_account
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.environment import environment_build
from wsgiproof.provision.httpd import find_httpd
from wsgiproof.provision.modwsgi import mod_wsgi_build
from wsgiproof.provision.python import choose
from wsgiproof.provision.toolchain import BuildSpec, Httpd, Python, Source

CELL = ["--no-config", "--mod-wsgi", "5.0.2", "--pymongo", "4.15.3"]
CELL += ["--topology", "none", "--mode", "daemon"]
WSGIPROOF = [sys.executable, "-m", "wsgiproof"]


@pytest.fixture
def cold(open_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    return use_cache(open_tmp, monkeypatch)


def use_cache(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use the cache of ``directory``, which is empty at first; every call of the compiler is
    written down in ``compiled`` beside it. Without optimization it takes a third of the time."""
    compiler = directory / "cc"
    log = directory / "compiled"
    log.touch()
    compiler.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {shutil.which("cc")} "$@" -O0 -g0\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setenv("WSGIPROOF_CACHE", str(directory / "cache"))
    return directory / "cache"


class Built(msgspec.Struct):
    """A cache that two runs have filled at the same time, with a umask of nothing."""

    directory: Path
    verdicts: list[str]
    said: list[str]
    logged: list[str]
    """The lines of the access logs."""
    compiled: int


@pytest.fixture(scope="module")
def built() -> Iterator[Built]:
    with tempfile.TemporaryDirectory(prefix="wp-test-", dir="/tmp") as name:
        Path(name).chmod(0o711)
        with pytest.MonkeyPatch.context() as patch:
            result = filled_at_once(Path(name), patch)
        yield result


def filled_at_once(directory: Path, patch: pytest.MonkeyPatch) -> Built:
    cold = use_cache(directory, patch)
    command = [*WSGIPROOF, "run", "-n", "60", "--phases", "none", "--access-log"]
    result = Built(directory, [], [], [], 0)
    with ExitStack() as stack:
        before = os.umask(0)
        try:
            running = []
            for one in (directory / "first", directory / "second"):
                one.mkdir(0o711)
                running.append(stack.enter_context(started(one, *CELL, command=command)))
        finally:
            os.umask(before)
        for run in running:
            run.finish()
            (cell,) = json.loads((run.output / "results.json").read_text())["cells"]
            result.verdicts.append(cell["verdict"])
            result.said.append(run.text)
            log = run.output / cell["directory"] / "access.log"
            result.logged += log.read_text().splitlines()
    result.compiled = compiled(cold, "wsgi_interp.c")
    return result


@pytest.fixture
def warm(built: Built, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache that has been filled."""
    return use_cache(built.directory, monkeypatch)


@pytest.fixture
def small_disk(open_tmp: Path) -> Iterator[Path]:
    """A disk of 3 MB, mounted; that takes root, which CI is."""
    disk = open_tmp / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=755", "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        # This process holds the cache on it for as long as it lives.
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.fixture
def python() -> Python:
    return choose(None, server_account())


@pytest.fixture
def httpd() -> Httpd:
    found = find_httpd()
    assert found is not None
    return found


def spec(python: Python) -> BuildSpec:
    return BuildSpec(
        python=python,
        mod_wsgi=Source(version="5.0.2"),
        packages={"pymongo": Source(version="4.15.3")},
    )


def listed(command: str) -> tuple[int, dict[str, list[str]]]:
    """The exit code of ``wsgiproof cache list`` or ``verify``, and the states by kind."""
    done = subprocess.run(
        [*WSGIPROOF, "cache", command, "--json"], capture_output=True, text=True, check=False
    )
    states: dict[str, list[str]] = {}
    for one in json.loads(done.stdout):
        states.setdefault(one["kind"], []).append(one["state"])
    return done.returncode, states


def compiled(cold: Path, source: str) -> int:
    """How often the compiler was given this file."""
    calls = (cold.parent / "compiled").read_text().splitlines()
    return sum(" -c " in call and source in call for call in calls)


def test_two_runs_at_once_build_each_thing_once(built: Built, warm: Path) -> None:
    assert "error" not in built.verdicts, built.said
    assert built.compiled == 1
    _, states = listed("verify")
    assert states["mod_wsgi"] == states["environment"] == ["built"]


def test_every_request_is_in_the_access_log(built: Built) -> None:
    combined = r'127\.0\.0\.1 - - \[.+\] "GET /interpreter[12] HTTP/1\.1" (\d+) (?:\d+|-) "-" ".*"'
    line = rf"{combined} \d+ \d+:\d+"
    found = [re.fullmatch(line, one) for one in built.logged]
    assert len(found) > 120
    assert {one and one[1] for one in found} == {"200"}


def test_nothing_is_for_others_to_write_with_a_umask_of_nothing(warm: Path) -> None:
    assert stat.S_IMODE((warm / "uv").stat().st_mode) == 0o700
    ours = [path for path in warm.rglob("*") if not path.is_relative_to(warm / "uv")]
    for path in (warm, *ours):
        assert path.is_symlink() or not path.stat().st_mode & 0o022, path
    mode = stat.S_IMODE((warm / "environment").stat().st_mode)
    (warm / "environment").chmod(0o777)
    done = subprocess.run([*WSGIPROOF, "build", *CELL], capture_output=True, text=True)
    (warm / "environment").chmod(mode)
    assert done.returncode == 3
    assert f"'chmod o-w {warm / 'environment'}'" in done.stdout + done.stderr


def test_an_interrupted_build_leaves_nothing_and_a_killed_one_is_made_again(
    cold: Path, tmp_path: Path
) -> None:
    command = [*WSGIPROOF, "build", *CELL]

    def kill_once(sign: str) -> None:
        directory = tmp_path / sign.partition("/")[0]
        directory.mkdir()
        with started(directory, command=command, keep=True) as running:
            while not list(cold.glob(sign)):
                assert running.process.poll() is None, running.finish()
            running.process.send_signal(signal.SIGKILL)
            running.process.wait()
        assert nobody_is_left(cold)

    with started(tmp_path, command=command, keep=True) as running:
        running.wait_for("building mod_wsgi")
        running.interrupt()
        assert running.finish() == 130, running.text
    assert nobody_is_left(cold)
    assert listed("list")[1].get("mod_wsgi", []) == []

    kill_once("environment/*/env")
    kill_once("mod_wsgi/*/build.log")
    code, states = listed("list")
    assert code == 0
    assert "built" not in states["mod_wsgi"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    code, states = listed("verify")
    assert code == 0
    assert states["mod_wsgi"] == states["environment"] == ["built"]


def ran(output: Path) -> tuple[int, dict[str, object], str]:
    """The exit code of a run of the cell, its record, and what was said on standard error."""
    done = subprocess.run(
        [*WSGIPROOF, "run", "-n", "60", "--phases", "none", *CELL, "--output", output],
        capture_output=True,
        text=True,
        check=False,
    )
    (cell,) = json.loads((output / "results.json").read_text())["cells"]
    record = json.loads((output / cell["directory"] / "cell.json").read_text())
    return done.returncode, record, done.stderr


def test_what_was_damaged_is_built_again_or_else_is_an_error_and_never_the_subjects(
    warm: Path, open_tmp: Path
) -> None:
    (module,) = warm.glob("mod_wsgi/*/mod_wsgi/server/mod_wsgi*.so")
    os.truncate(module, module.stat().st_size // 2)
    for answer in warm.glob("index/*/answer.json"):
        answer.write_bytes(b"\0[[[[" * 1000)
    # With the size and the time that it had, as a bad disk leaves it.
    (bytecode,) = warm.glob("environment/*/env/lib/*/site-packages/bson/__pycache__/__init__.*.pyc")
    status = bytecode.stat()
    bytecode.write_bytes(bytecode.read_bytes()[:16].ljust(status.st_size, b"\xff"))
    os.utime(bytecode, ns=(status.st_atime_ns, status.st_mtime_ns))

    code, record, said = ran(open_tmp / "first")
    assert f"{module.parents[2]} has changed since it was built and is rebuilt: " in said
    entry = bytecode.relative_to(warm).parts[1]
    assert (code, record["verdict"]) == (3, "error"), record["reason"]
    assert f"environment/{entry} of the build cache has changed since it was built" in str(
        record["reason"]
    )
    assert "observed" not in record or record["observed"] is None

    code, record, said = ran(open_tmp / "second")
    assert record["verdict"] != "error", record["reason"]
    assert said == ""
    assert listed("verify")[0] == 0


def refused(*options: str, **environment: str) -> tuple[int, str]:
    """The exit code and the one line of a run that can't begin."""
    done = subprocess.run(
        [*WSGIPROOF, "run", *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    (line,) = done.stderr.strip().splitlines()
    return done.returncode, line


def path_with(directory: Path, *programs: str) -> str:
    """A PATH that has nothing but these."""
    directory.mkdir()
    for program in programs:
        found = shutil.which(program)
        assert found is not None
        (directory / program).symlink_to(found)
    return str(directory)


def test_no_compiler(tmp_path: Path) -> None:
    code, line = refused(*CELL, PATH=path_with(tmp_path / "bin", "apxs"))
    assert code == 3
    assert "there is no C compiler" in line
    assert "apt-get install gcc" in line


def test_no_apxs(tmp_path: Path) -> None:
    # The usual cache may hold one that was built.
    cache = tmp_path / "cache"
    code, line = refused(*CELL, PATH=path_with(tmp_path / "bin", "cc"), WSGIPROOF_CACHE=str(cache))
    assert code == 3
    assert "there is no Apache with apxs" in line
    assert "apt-get install apache2-bin apache2-dev" in line


def test_an_apache_that_is_not_there_or_is_none(tmp_path: Path) -> None:
    alone = tmp_path / "httpd"
    alone.touch()
    for option, path, told in (
        ("--apxs", "/nowhere/apxs", "--apxs: there is no file /nowhere/apxs"),
        ("--httpd", "/nowhere/httpd", "--httpd: there is no file /nowhere/httpd"),
        ("--httpd", str(alone), f"{alone} is not Apache's server"),
        ("--httpd", "/bin/true", "/bin/true is not Apache's server"),
        ("--apxs", "/bin/true", "/bin/true is not an apxs"),
    ):
        code, line = refused(*CELL, option, path)
        assert code == 2
        assert told in line


def test_an_apache_that_is_named_is_the_one_that_is_used(httpd: Httpd) -> None:
    for named in (
        find_httpd(httpd=str(httpd.httpd), apxs=str(httpd.apxs)),
        find_httpd(apxs=str(httpd.apxs)),
    ):
        assert named == httpd


def test_a_version_of_mod_wsgi_that_does_not_exist() -> None:
    code, line = refused("--no-config", "--mod-wsgi", "7.7.7")
    assert (code, line) == (2, "wsgiproof: there is no mod-wsgi 7.7.7 on the package index")


def test_an_index_that_does_not_answer(cold: Path) -> None:
    nobody = "http://127.0.0.1:9/simple"
    environment = {"UV_DEFAULT_INDEX": nobody, "UV_INDEX_URL": nobody, "UV_HTTP_RETRIES": "0"}
    code, line = refused("--no-config", UV_NO_CACHE="1", UV_FIND_LINKS="", **environment)
    assert code == 3
    assert "the package index does not answer" in line


def test_headers_that_are_missing(
    cold: Path, python: Python, httpd: Httpd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # They were there when Python was asked, and are gone when the compiler looks for them.
    compiler = tmp_path / "cc"
    compiler.write_text(
        '#!/bin/sh\necho "wsgi_python.h:24:10: fatal error: Python.h: No such file" >&2\nexit 1\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    cache = Cache()
    with pytest.raises(BuildFailed) as caught:
        cache.get(mod_wsgi_build(Source(version="5.0.2"), python, httpd, cache))
    (log,) = cold.glob("mod_wsgi/*.log")
    assert str(caught.value).startswith("the headers of this Python are missing")
    assert str(caught.value).endswith(f"(log: {log})")
    assert "Python.h: No such file" in log.read_text()


def test_a_mod_wsgi_that_is_too_old_for_its_python(
    cold: Path, python: Python, httpd: Httpd
) -> None:
    cache = Cache()
    with pytest.raises(BuildFailed) as caught:
        cache.get(mod_wsgi_build(Source(version="4.5.24"), python, httpd, cache))
    assert "mod_wsgi 4.5.24 may be too old" in str(caught.value)


def test_a_cache_that_is_full(small_disk: Path, python: Python) -> None:
    cache = Cache(small_disk)
    with pytest.raises(CannotRun, match="No space left on device"):
        cache.get(environment_build(spec(python), cache))
    assert cache.entries() == []


def test_a_cache_that_is_read_only(small_disk: Path, python: Python) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    cache = Cache(small_disk)
    with pytest.raises(CannotRun, match=r"Read-only file system.*WSGIPROOF_CACHE"):
        cache.get(environment_build(spec(python), cache))
