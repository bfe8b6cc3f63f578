"""A subject is a folder: SQLite, with one line where subjects are registered, in real Apache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import wsgiproof

FOLDER = Path(__file__).with_name("sqlite3")
LINE = "_REGISTERED: tuple[Subject, ...] = (PYMONGO, PACKAGE)"
REGISTERED = (
    "from wsgiproof.subjects.sqlite3.subject import SQLITE\n"
    "_REGISTERED: tuple[Subject, ...] = (PYMONGO, PACKAGE, SQLITE)"
)
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a wsgiproof in which SQLite is registered."""
    source = tmp_path_factory.mktemp("source")
    package = source / "wsgiproof"
    shutil.copytree(Path(wsgiproof.__file__).parent, package)
    shutil.copytree(FOLDER, package / "subjects" / "sqlite3")
    registry = package / "subjects" / "registry.py"
    assert LINE in registry.read_text()
    registry.write_text(registry.read_text().replace(LINE, REGISTERED))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "wsgiproof", *arguments],
            cwd=source,
            env={**os.environ, "PYTHONPATH": str(source)},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


def test_it_is_in_the_list_and_has_no_axis_of_another_subject(run: Run) -> None:
    listed = json.loads(run("list", "--subject", "sqlite3", "--json").stdout)
    assert {one["axes"]["subject"] for one in listed["cells"]} == {"sqlite3"}
    assert all("-sqlite3-" in one["id"] for one in listed["cells"])
    refused = run("list", "--subject", "sqlite3", "--topology", "none")
    assert refused.returncode == 2
    assert "--topology is an axis of the subject pymongo, and sqlite3 is tested" in refused.stderr


def test_a_cell_runs_and_its_page_shows_what_it_counts(run: Run, tmp_path: Path) -> None:
    options = ["--subject", "sqlite3", "--mode", "daemon", "--mod-wsgi", "5.0.2", "-n", "400"]
    done = run("run", *options, "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    (cell,) = json.loads((tmp_path / "out" / "results.json").read_text())["cells"]
    reasons = {one["check"]: one["reason"] for one in cell["checks"]}
    assert reasons["rows"].startswith("every row came back unchanged in ")
    assert reasons["tables"].startswith("tables did not grow in ")
    assert not {"connections", "roundtrip", "database"} & set(reasons)
    assert cell["packages"] == {}
    assert "--subject sqlite3" in cell["rerun"]
    assert "tables" in (tmp_path / "out" / "report.html").read_text()


def test_its_fault_is_caught_and_its_negative_control_passes(run: Run, tmp_path: Path) -> None:
    only = ["--only", "leave-table", "--only", "drop-table", "--only", "leak-descriptor"]
    done = run("selftest", "--subject", "sqlite3", *only, "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    failed = {
        cell["axes"]["control"]: [one["check"] for one in cell["findings"]]
        for cell in results["cells"]
    }
    assert failed == {
        "leave-table": ["tables"],
        "drop-table": [],
        "leak-descriptor": ["descriptors"],
    }
