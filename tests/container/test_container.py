"""wsgiproof in a container of the image that ``Containerfile`` makes, as docs/container.md says."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.container.engine import USER, Engine, built, find_engine
from tests.real.command import Command

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="what root has written, root removes")

DEADLINE = 900
AS_USER = ["--user", f"{USER}:{USER}"]
CELL = ["--no-config", "--mod-wsgi", "5.0.2", "--mode", "daemon", "--interpreter", "main"]
"""It passes; the rest is what differs between the tests."""


@pytest.fixture(scope="module")
def engine() -> Engine:
    found = find_engine()
    if found is None:
        pytest.fail("there is no Docker and no Podman that works", pytrace=False)
    return found


@pytest.fixture(scope="module")
def image(engine: Engine) -> Iterator[str]:
    with built(engine) as name:
        yield name


@pytest.fixture(scope="module")
def volume(engine: Engine) -> Iterator[str]:
    """What is built is kept in it, as in a user's volume."""
    yield engine.name
    engine.call("volume", "rm", "--force", engine.name)


@pytest.fixture
def work() -> Iterator[Path]:
    """The directory of a user who tests something."""
    with tempfile.TemporaryDirectory(prefix="wp-container-") as directory:
        os.chown(directory, USER, USER)
        yield Path(directory)


def places(work: Path, volume: str) -> list[str]:
    return ["-v", f"{work}:/work", "-v", f"{volume}:/home"]


def the_cell(work: Path) -> Any:
    """The one cell of the one run in the user's directory."""
    (results,) = work.glob("wsgiproof-results/*/results.json")
    (cell,) = json.loads(results.read_text())["cells"]
    return cell


def test_a_user_tests_with_mongodb_and_has_the_results(
    engine: Engine, image: str, volume: str, work: Path
) -> None:
    words = ["run", *CELL, "--topology", "standalone", "-n", "300", "--phases", "restart"]
    options = [*AS_USER, *places(work, volume)]
    done = subprocess.run(engine.run(image, *options, words=words), timeout=DEADLINE, check=False)
    assert done.returncode == 0
    assert the_cell(work)["verdict"] == "pass"
    for path in (work / "wsgiproof-results").rglob("*"):
        assert path.lstat().st_uid == USER, path


def test_the_script_of_a_user_is_tested_by_root(
    engine: Engine, image: str, volume: str, work: Path
) -> None:
    """Root has no right to look into the processes of other users but by this capability."""
    script = work / "hello.wsgi"
    script.write_text(
        "def application(environ, start_response):\n"
        '    start_response("200 OK", [("Content-Type", "text/plain")])\n'
        '    return [b"hello"]\n'
    )
    words = ["run", *CELL, "--app", "hello.wsgi", "--topology", "none", "-n", "300"]
    options = ["--cap-add", "SYS_PTRACE", *places(work, volume)]
    done = subprocess.run(engine.run(image, *options, words=words), timeout=DEADLINE, check=False)
    assert done.returncode == 0
    checks = {check["check"]: check["verdict"] for check in the_cell(work)["checks"]}
    assert checks["descriptors"] == checks["threads"] == "pass"
    (results,) = work.glob("wsgiproof-results/*/results.json")
    assert results.stat().st_uid == 0
    assert stat.S_IMODE(results.parent.stat().st_mode) == 0o700


def test_ctrl_c_ends_the_run_and_the_container(
    engine: Engine, image: str, volume: str, work: Path
) -> None:
    words = ["run", *CELL, "--topology", "none", "-n", "1000000"]
    command = engine.run(image, *AS_USER, *places(work, volume), words=words)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        running = Command(process, work)
        try:
            running.wait_for(" s parallel")
            running.interrupt()
            assert running.finish(DEADLINE) == 130, running.text
            assert not engine.has_container()
        finally:
            process.kill()
            engine.remove_container()
    (results,) = work.glob("wsgiproof-results/*/results.json")
    assert json.loads(results.read_text())["cells"] == []


def test_doctor_has_nothing_to_add(engine: Engine, image: str) -> None:
    """All that wsgiproof can use is there, but for what the kernel of the host decides."""
    done = subprocess.run(
        engine.run(image, *AS_USER, words=["doctor"]),
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mongod" in done.stdout
