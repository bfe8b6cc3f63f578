"""Wrong input, and a machine that does not play along: one clear line, and the right exit code."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.command import RUN, started
from tests.real.conftest import Bench
from wsgiproof.judge.explain.lines import parse
from wsgiproof.judge.tracebacks import tracebacks
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import LogLine
from wsgiproof.records.reading import load_run
from wsgiproof.server.ports import LOOPBACK, free_port
from wsgiproof.server.scratch import scratch_directory
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.deployment import start_deployment
from wsgiproof.subjects.pymongo.mongod_binary import find_mongod


def outcome(tmp: Path, *options: str, command: list[str] | None = None) -> tuple[int, str]:
    with started(tmp, *options, command=command) as running:
        code = running.finish()
        assert not running.left_behind()
    assert "Traceback" not in running.text, running.text
    return code, running.text


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("wsgiproof: ")
    return lines[0]


def test_a_version_of_pymongo_that_does_not_exist(open_tmp: Path) -> None:
    code, text = outcome(open_tmp, "--pymongo", "4.99.0")
    assert code == 2
    assert one_line(text) == "wsgiproof: there is no pymongo 4.99.0 on the package index"


def test_a_pymongo_that_is_too_old_for_the_deployment(open_tmp: Path) -> None:
    code, text = outcome(open_tmp, "--pymongo", "3.6.1")
    assert code == 2
    told = one_line(text)
    assert "PyMongo 3.6.1 is older than 3.7 and can't connect to MongoDB" in told
    assert told.endswith("with '--topology none'")


def test_how_it_is_started_is_not_the_subjects_fault(open_tmp: Path) -> None:
    """Without standard streams, with a umask of 777; and no mongod is needed where none starts."""

    def odd() -> None:
        os.closerange(0, 3)
        os.umask(0o777)

    command = [*RUN, "--no-config", "--topology", "none", "--mode", "daemon", "-n", "60"]
    out = ["--phases", "none", "--mongodb", "/nonexistent", "--output", str(open_tmp / "out")]
    assert subprocess.run([*command, *out], preexec_fn=odd, check=False).returncode == 0
    assert load_run(open_tmp / "out").complete


def test_a_python_that_does_not_exist(open_tmp: Path) -> None:
    code, text = outcome(open_tmp, "--python", "3.99")
    assert code == 2
    assert "there is no Python '3.99' on this machine" in one_line(text)


def test_a_python_without_a_shared_library(open_tmp: Path) -> None:
    static = open_tmp / "python"
    static.write_text(
        "#!/bin/sh\n"
        'echo \'{"version": "3.12.1", "path": "/opt/static/bin/python3", "prefix": "/opt/static", '
        '"shared": false, "headers": true, "stdlib": "/", "free_threaded": false}\'\n'
    )
    static.chmod(0o755)
    code, text = outcome(open_tmp, "--python", str(static))
    assert code == 3
    assert "has no shared library, which mod_wsgi needs" in one_line(text)
    assert "--enable-shared" in text


def test_a_uri_that_nobody_answers_at(open_tmp: Path) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))  # bound, but never listening
        uri = f"mongodb://user:secret@{LOOPBACK}:{taken.getsockname()[1]}/"
        file = open_tmp / "uri"
        file.touch(mode=0o600)
        file.write_text(f"{uri}\n")
        code, text = outcome(open_tmp, "--mongodb", f"file:{file}")
    assert code == 3
    assert "no deployment answers at 127.0.0.1" in one_line(text)
    assert "secret" not in text


def test_a_mongod_that_cannot_start(open_tmp: Path) -> None:
    real = find_mongod(None).path
    broken = open_tmp / "mongod"
    broken.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = --version ] && exec "{real}" --version\n'
        f'exec "{real}" "$@" --setParameter noSuchParameter=1\n'
    )
    broken.chmod(0o755)
    code, text = outcome(open_tmp, "--mongodb", str(broken), "--mode", "daemon", "-n", "60")
    assert code == 3
    assert "did not start: " in text
    assert "noSuchParameter" in text
    assert "error" in text


def test_an_application_that_fails_to_import_is_a_finding(open_tmp: Path) -> None:
    options = ("--topology", "standalone", "--mode", "daemon", "--control", "fail-to-import")
    code, text = outcome(open_tmp, *options)
    assert code == 1, text
    assert "responses: 30 of 30 requests failed: 30 x status 500" in text
    assert "all 15 to interpreter1, all 15 to interpreter2" in text
    assert "raised: ImportError: planted by wsgiproof: fail-to-import, raised in at_load" in text
    assert "likely consequence: responses: " in text, "an exception and what it failed are one"
    assert "control: 'fail-to-import' changes the application on purpose" in text
    (log,) = (open_tmp / "out").glob("cells/*/error.log")
    assert f"error log: {log}" in text
    lines = [LogLine(phase="", text=one) for one in log.read_text().splitlines()]
    urls = {one.url for one in tracebacks(parse(lines)) if one.url}
    assert urls == {"/interpreter1", "/interpreter2"}, "each line of the log names its request"


def test_an_application_that_does_not_compile_costs_no_run(open_tmp: Path) -> None:
    app = open_tmp / "shop.py"
    app.write_text("def application(environ, start_response)\n")
    code, text = outcome(open_tmp, "--app", str(app))
    assert code == 2, text
    assert f"--app {app}:1: SyntaxError: " in one_line(text)
    assert not (open_tmp / "out").exists()


@pytest.fixture
def small_disk(open_tmp: Path) -> Iterator[Path]:
    """A file system of 64 MB for results; mounting it takes root, which CI is."""
    mount = open_tmp / "out"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", mount], check=True)
    yield mount
    subprocess.run(["umount", mount], check=True)


def fill(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"), (disk / "filler").open("wb") as filler:
        while True:
            filler.write(bytes(1 << 20))
            filler.flush()


def test_no_free_disk_is_said_before_anything_is_started(open_tmp: Path, small_disk: Path) -> None:
    fill(small_disk)
    code, text = outcome(open_tmp)
    assert code == 3
    assert "MB are free at" in one_line(text)
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_a_disk_that_fills_up_in_the_middle(open_tmp: Path, small_disk: Path) -> None:
    options = ["--topology", "none", "-n", "60", "--phases", "none"]
    with started(open_tmp, *options) as command:
        command.wait_for("[2/2]")
        fill(small_disk)
        assert command.finish() == 3, command.text
        assert not command.left_behind()
    assert "Traceback" not in command.text
    assert "json can't be written: No space left on device" in command.text
    results = json.loads((small_disk / "results.json").read_text())
    assert [cell["verdict"] for cell in results["cells"]] == ["pass"], command.text


def test_a_port_stolen_between_choice_and_bind_of_apache(bench: Bench) -> None:
    with socket.socket() as thief:
        thief.bind((LOOPBACK, 0))
        thief.listen()
        record = bench.run(topology=Topology.NONE, requests=60, ports=[thief.getsockname()[1]])
    assert record.observed is not None, record.reason
    assert record.observed.requests > 60
    assert not record.observed.failures


def test_a_defect_of_ours_makes_the_cell_an_error_and_does_not_escape(bench: Bench) -> None:
    def defect(number: int) -> int:
        raise ZeroDivisionError("planted")

    record = bench.run(topology=Topology.NONE, requests=60, ports=map(defect, [0]))
    assert record.verdict is Verdict.ERROR
    assert "a defect of wsgiproof: ZeroDivisionError: planted" in record.reason
    assert "ZeroDivisionError" in bench.file(record, "defect.txt").read_text()


def test_a_port_stolen_between_choice_and_bind_of_mongod(tmp_path: Path) -> None:
    with socket.socket() as thief, scratch_directory() as scratch:
        thief.bind((LOOPBACK, 0))
        thief.listen()
        stolen = iter([thief.getsockname()[1]])

        def choose_port() -> int:
            return next(stolen, None) or free_port()

        with start_deployment(
            Topology.STANDALONE, find_mongod(None), scratch, tmp_path, choose_port
        ) as deployment:
            assert deployment.counts("nobody", [])["connections"] == 0
