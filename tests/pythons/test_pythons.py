"""Cells of each Python that may be embedded, and what takes two of them: kinds, a checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

RUN = [sys.executable, "-m", "wsgiproof", "run", "--no-config", "--mode", "daemon"]
PYTHONS = ["--python", "3.12", "--python", "3.13"]


def run(output: Path, *options: str) -> dict[str, dict[str, Any]]:
    """Each cell of a run by its id, from ``results.json``."""
    done = subprocess.run(
        [*RUN, *options, "--output", str(output)], capture_output=True, text=True, check=False
    )
    assert (output / "results.json").exists(), done.stderr
    cells = json.loads((output / "results.json").read_text())["cells"]
    return {cell["id"]: cell for cell in cells}


def unpacked(directory: Path) -> Path:
    """Return the source tree of PyMongo 4.20.0, in ``directory``."""
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:",
         "pymongo==4.20.0", "--dest", str(directory)],
        check=True,
    )  # fmt: skip
    (archive,) = directory.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        sdist.extractall(directory, filter="data")
    return directory / "pymongo-4.20.0"


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """PyMongo in interpreters of each kind that these Pythons have."""
    options = ["--mod-wsgi", "6.1.1", "--pymongo", "4.20.0", "--topology", "standalone"]
    wanted = ["--interpreter", "own-gil", "--interpreter", "main", "-n", "600"]
    return run(tmp_path_factory.mktemp("kinds") / "out", *PYTHONS, *options, *wanted)


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_with_a_gil_of_its_own_the_c_extension_is_missing_and_the_process_dies(
    kinds: dict[str, dict[str, Any]], version: str
) -> None:
    cell = kinds[f"py{version}-mw6.1.1-pymongo4.20.0-standalone-daemon-prefork-own-gil"]
    assert cell["verdict"] == "fail"
    findings = {one["check"]: one for one in cell["findings"]}
    assert "bson.has_c() is False, not True" in findings["environment"]["seen"]
    assert "GIL own" in findings["environment"]["evidence"][0]
    assert "died of SIG" in findings["crash"]["seen"]


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_the_main_interpreter_is_proved_from_inside(
    kinds: dict[str, dict[str, Any]], version: str
) -> None:
    cell = kinds[f"py{version}-mw6.1.1-pymongo4.20.0-standalone-daemon-prefork-main"]
    checks = {one["check"]: one["verdict"] for one in cell["checks"]}
    assert checks["environment"] == checks["interpreters"] == "pass"


EACH = ("3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
"""Every Python 3 that README.md and docs/pythons.md name, but for those that nobody has yet."""


@pytest.fixture(scope="module")
def each(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """PyMongo and mod_wsgi as new as each Python allows."""
    pythons = [word for version in EACH for word in ("--python", version)]
    options = ["--interpreter", "main", "--topology", "standalone", "-n", "300"]
    return run(tmp_path_factory.mktemp("each") / "out", *pythons, *options)


@pytest.mark.parametrize("version", EACH)
def test_each_python_serves_pymongo(each: dict[str, dict[str, Any]], version: str) -> None:
    (cell,) = (cell for name, cell in each.items() if name.startswith(f"py{version}-"))
    checks = {one["check"]: one["verdict"] for one in cell["checks"]}
    assert cell["verdict"] in ("pass", "inconclusive"), cell["reason"]
    for check in ("responses", "environment", "interpreters", "roundtrip"):
        assert checks[check] == "pass", cell


def test_a_checkout_is_built_for_two_pythons_and_left_as_it_is(tmp_path: Path) -> None:
    tree = unpacked(tmp_path)
    before = sorted(tree.rglob("*"))
    options = ["--mod-wsgi", "5.0.2", "--pymongo", str(tree), "--topology", "none", "-n", "300"]
    cells = run(tmp_path / "out", *PYTHONS, *options)
    assert [cell["verdict"] for cell in cells.values()] == ["pass", "pass"]
    assert all("pymongo4.20.0+src" in name for name in cells)
    assert sorted(tree.rglob("*")) == before
