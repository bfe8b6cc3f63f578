"""CPython itself, compiled with a GIL and without, and PyMongo in real Apache on each.

The sources are the archive or the directory that WSGIPROOF_CPYTHON_SOURCE names, else the official
release.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.auditing import audited, outcomes
from tests.real.planted import CLEAN, NEEDS_NO_GIL, SINGLE_PHASE, Site
from wsgiproof.provision.python import describe

RELEASE = "3.13.15"
"""What is downloaded where no sources are named."""
SOURCE = os.environ.get("WSGIPROOF_CPYTHON_SOURCE", "")
WSGIPROOF = [sys.executable, "-m", "wsgiproof"]
CELL = ["--no-config", "--mod-wsgi", "6.1.1", "--pymongo", "4.20.0", "--topology", "standalone",
        "--mode", "daemon", "-n", "600"]  # fmt: skip


def release() -> str:
    """The version of the sources."""
    if not SOURCE:
        return RELEASE
    if Path(SOURCE).is_dir():
        text = Path(SOURCE, "Include", "patchlevel.h").read_text()
    else:
        with tarfile.open(SOURCE) as archive:
            names = (one for one in archive if one.name.endswith("/Include/patchlevel.h"))
            file = archive.extractfile(next(names))
            assert file is not None
            text = file.read().decode()
    found = re.search(r'PY_VERSION\s+"([^"+]+)', text)
    assert found is not None
    return found[1]


def wsgiproof(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "WSGIPROOF_CACHE": str(cache)}
    return subprocess.run(
        [*WSGIPROOF, *arguments], capture_output=True, text=True, check=False, env=env
    )


@pytest.fixture(scope="module")
def cache() -> Iterator[Path]:
    """An empty one, that Apache's user can read."""
    directory = Path(tempfile.mkdtemp(prefix="wsgiproof-cpython-", dir="/var/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module", params=["", "t"])
def built(request: pytest.FixtureRequest, cache: Path) -> tuple[str, Path]:
    """A version that has been compiled, and the cache that it is in."""
    version = release() + request.param
    where = ["--source", SOURCE] if SOURCE else []
    done = wsgiproof("build", "python", version, *where, cache=cache)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout
    return version, cache


def listed(version: str, cache: Path) -> dict[str, Any]:
    """What ``doctor`` says of the one that has been compiled."""
    done = wsgiproof("doctor", "--pythons", "--json", cache=cache)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    rows = [row for row in rows if row["from"] == "wsgiproof"]
    return {row["version"] + "t" * row["free_threaded"]: row for row in rows}[version]


def test_it_is_listed_with_all_that_mod_wsgi_needs(built: tuple[str, Path]) -> None:
    version, cache = built
    mine = listed(version, cache)
    assert (mine["usable"], mine["shared_library"], mine["headers"]) == (True, True, True)
    assert subprocess.run([mine["path"], "-c", "import ssl, ctypes, zlib"], env={}).returncode == 0


def test_pymongo_is_tested_on_it(built: tuple[str, Path], tmp_path: Path) -> None:
    version, cache = built
    kind = "free-threaded" if version.endswith("t") else "shared-gil"
    output = tmp_path / "out"
    which = ["--python", version, "--interpreter", kind, "--output", str(output)]
    done = wsgiproof("run", *CELL, *which, cache=cache)
    assert (output / "results.json").exists(), done.stderr
    (cell,) = json.loads((output / "results.json").read_text())["cells"]
    checks: dict[str, Any] = {one["check"]: one["verdict"] for one in cell["checks"]}
    assert cell["id"].startswith(f"py{version}-")
    assert checks["environment"] == checks["interpreters"] == checks["responses"] == "pass", cell


def test_an_audit_tells_what_turns_the_gil_on(built: tuple[str, Path], open_tmp: Path) -> None:
    version, cache = built
    if not version.endswith("t"):
        pytest.skip("it has a GIL")
    site = Site(describe(Path(listed(version, cache)["path"])), open_tmp / "site")
    site.add_c("needs_no_gil", NEEDS_NO_GIL)
    site.add_c("single_phase", SINGLE_PHASE)
    site.add_c("multi_phase", CLEAN)
    site.add("depends", {"depends.py": "import needs_no_gil, multi_phase\n"})
    site.add("python_alone", {"python_alone.py": "import json\n"})
    # The standard library takes its time without a GIL.
    options = ["--interpreter", "free-threaded", "--trials", "2", "--timeout", "240"]
    record = audited(site, open_tmp, *options, code=1)
    found = outcomes(record, "free-threaded")
    assert {name: one["outcome"] for name, one in found.items()} == {
        "needs_no_gil": "works",
        "python_alone": "works",
        "single_phase": "refuses",  # as in every sub interpreter of such a Python
        "multi_phase": "takes the GIL",
        "depends": "takes the GIL",
    }
    assert found["depends"]["cause"] == "multi_phase"
