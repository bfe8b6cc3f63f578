"""PyMongo in Apache on the Pythons of Debian unstable, in interpreters of each kind."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.pythons_next.debian import DIRECTORY, PYTHONS, Root, debian
from tests.real.command import soon

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes a root directory, as root")

Cells = dict[tuple[str, str], dict[str, Any]]
"""The cells of one Python and one mod_wsgi, by the kind of interpreter and the mode."""
OLD, NEW = "5.0.2", "6.1.1"
MODES = ("daemon", "embedded")
each_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(scope="module")
def root() -> Iterator[Root]:
    with debian() as made:
        yield made


@pytest.fixture(scope="module", params=PYTHONS)
def python(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def old(root: Root, python: str) -> Cells:
    return run(root, python, OLD, "main", "shared-gil")


@pytest.fixture(scope="module")
def new(root: Root, python: str) -> Cells:
    return run(root, python, NEW, "main", "shared-gil", "own-gil")


def run(root: Root, python: str, mod_wsgi: str, *kinds: str) -> Cells:
    """Run the cells of a Python and a mod_wsgi; what wsgiproof says of them is shown."""
    output = f"/opt/results/{python}-{mod_wsgi}"
    root.run("rm", "-rf", output)
    root.run(
        *(".venv/bin/wsgiproof", "run", "--no-config", "--topology", "standalone", "--jobs", "3"),
        *("-n", "300", "--extra-requests", "0"),
        *("--python", python, "--mod-wsgi", mod_wsgi, "--output", output),
        *(word for kind in kinds for word in ("--interpreter", kind)),
        *(word for mode in MODES for word in ("--mode", mode)),
    )
    results = json.loads((root.path / output.strip("/") / "results.json").read_text())
    return {(one["axes"]["interpreter"], one["axes"]["mode"]): one for one in results["cells"]}


def checks(cell: dict[str, Any]) -> dict[str, str]:
    return {one["check"]: one["verdict"] for one in cell["checks"]}


def finding(cell: dict[str, Any], check: str) -> dict[str, Any]:
    return next(one for one in cell["findings"] if one["check"] == check)


def served(cell: dict[str, Any], python: str, *accepted: str) -> None:
    """What was asked for was tested, every answer was right, and no other check has a finding."""
    assert cell["axes"]["python"].startswith(f"{python}.")
    assert cell["verdict"] not in ("error", "skipped"), cell["reason"]
    for check in ("responses", "environment", "interpreters", "roundtrip"):
        assert checks(cell)[check] == "pass", cell
    assert not {one["check"] for one in cell["findings"]}.difference(accepted), cell


@each_mode
def test_the_main_interpreter_passes(old: Cells, new: Cells, python: str, mode: str) -> None:
    served(old["main", mode], python)
    served(new["main", mode], python)


@each_mode
def test_sub_interpreters_pass_with_an_older_mod_wsgi(old: Cells, python: str, mode: str) -> None:
    # A busy machine shows the crash of docs/findings.md, 1, now and then.
    served(old["shared-gil", mode], python, "crash")


@each_mode
def test_sub_interpreters_crash_where_they_end(new: Cells, mode: str) -> None:
    """docs/findings.md, 1."""
    cell = new["shared-gil", mode]
    assert "process ends crashed" in finding(cell, "crash")["seen"]
    assert checks(cell)["environment"] == "pass", "with C extensions"


@each_mode
def test_with_a_gil_of_its_own_the_c_extensions_are_missing(new: Cells, mode: str) -> None:
    """docs/findings.md, 12."""
    cell = new["own-gil", mode]
    assert "bson.has_c() is False, not True" in finding(cell, "environment")["seen"]
    assert "process ends crashed" in finding(cell, "crash")["seen"]


def in_the_root(root: Root) -> list[int]:
    """The processes whose root directory it is."""
    found = []
    for pid in psutil.pids():
        try:
            if Path(f"/proc/{pid}/root").readlink() == root.path:
                found.append(pid)
        except OSError:  # it has ended
            continue
    return found


def test_what_is_killed_leaves_no_process_and_no_mount(root: Root) -> None:
    command = root.command(
        *(".venv/bin/wsgiproof", "serve", "--no-config", "--json", "--topology", "none"),
        *("--python", PYTHONS[0], "--mod-wsgi", NEW, "--interpreter", "main", "--mode", "daemon"),
    )
    with subprocess.Popen(command, env=root.env, stdout=subprocess.PIPE) as serving:
        assert serving.stdout is not None
        assert "urls" in json.loads(serving.stdout.readline())
        names = {psutil.Process(pid).name() for pid in in_the_root(root)}
        assert "apache2" in names
        serving.kill()
    assert soon(lambda: not in_the_root(root)), in_the_root(root)
    assert str(DIRECTORY) not in Path("/proc/self/mounts").read_text()
    assert not (root.path / "proc" / "self").exists()
