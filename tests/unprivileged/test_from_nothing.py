"""An ordinary user, no Apache on the machine, empty caches: from nothing to a verdict.

Takes about seven minutes, since an Apache is compiled. It has to be started by root, who can hide
the system's Apache (in a mount namespace of the test's own) and become somebody else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

CHECKOUT = Path(__file__).parents[2]
NOBODY = 65534


@pytest.fixture
def home() -> Iterator[Path]:
    """A home for somebody who has nothing yet."""
    directory = Path(tempfile.mkdtemp(prefix="wp-home-", dir="/tmp"))
    os.chown(directory, NOBODY, NOBODY)
    yield directory
    shutil.rmtree(directory)


def as_nobody(home: Path, *command: str | Path, hide: str = "true") -> list[str]:
    """The command line that runs ``command`` as an ordinary user, after ``hide`` as root."""
    # The rest of the environment stays: it may say how the package index is reached.
    words = ["env", "-u", "XDG_CACHE_HOME", f"HOME={home}", "PATH=/usr/bin:/bin"]
    words += map(str, command)
    drop = f'exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups "$@"'
    return ["unshare", "--mount", "sh", "-c", f"{hide} && cd {home} && {drop}", "sh", *words]


def test_without_root_and_without_apache(home: Path) -> None:
    installed = home / "venv"
    tool = Path(sys.executable).parent / "uv"
    subprocess.run([tool, "venv", "-q", "--python", "/usr/bin/python3", installed], check=True)
    pins: list[str | Path] = ["-c", CHECKOUT / "constraints.txt"]
    subprocess.run(
        [tool, "pip", "install", "-q", "--python", installed, *pins, f"{CHECKOUT}[mongodb]"],
        check=True,
    )
    wsgiproof = installed / "bin" / "wsgiproof"
    options: list[str | Path] = ["--mode", "daemon", "--topology", "standalone"]
    options += ["--output", home / "out"]
    options += ["--mod-wsgi", "5.0.2", "--pymongo", "4.20.0"]  # a combination that passes
    hide = " && ".join(
        f"mount --bind /dev/null {path}" for path in ("/usr/bin/apxs", "/usr/bin/apxs2")
    )
    kill_in_the_middle(as_nobody(home, wsgiproof, "build", *options, hide=hide), home)
    run = subprocess.run(
        as_nobody(home, wsgiproof, "run", *options, hide=hide),
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    print(run.stdout, run.stderr)
    assert run.returncode == 0, run.stdout + run.stderr
    results = json.loads((home / "out" / "results.json").read_text())
    assert [cell["verdict"] for cell in results["cells"]] == ["pass"]
    built = Path(results["cells"][0]["toolchain"]["httpd"])
    assert built.is_relative_to(home / ".cache" / "wsgiproof")
    assert not nobodys()


def kill_in_the_middle(command: list[str], home: Path) -> None:
    """Kill a build of Apache while it compiles; nothing that it has started outlives it."""
    with subprocess.Popen(command) as building:  # each word of the command executes the next
        while not any("cc1" in process.info["name"] for process in nobodys()):
            assert building.poll() is None
            time.sleep(0.05)
        building.kill()
    limit = time.monotonic() + 15
    while nobodys() and time.monotonic() < limit:
        time.sleep(0.1)
    assert not nobodys()
    assert list(home.glob(".cache/wsgiproof/httpd/*/"))
    assert not list(home.glob(".cache/wsgiproof/httpd/*/wsgiproof-entry.json"))


def nobodys() -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["uids", "name"]) if _is_nobody(process)]


def _is_nobody(process: psutil.Process) -> bool:
    return bool(process.info["uids"]) and process.info["uids"].effective == NOBODY
