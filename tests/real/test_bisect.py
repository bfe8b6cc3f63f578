"""The release at which an application stops working, found in real Apache."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.real.command import Command, started

BISECT = [sys.executable, "-m", "wsgiproof", "bisect", "--mod-wsgi", "5.0.2", "--no-config"]
CELL = (
    *("--topology", "none", "--mode", "daemon", "-n", "60", "--phases", "none"),
    *("--extra-requests", "0", "--jobs", "2"),
)
APP = """
import pymongo
def application(environ, start_response):
    if pymongo.version_tuple >= (4, 16):
        raise ValueError("it knows no PyMongo " + pymongo.version)
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]
"""


@pytest.fixture
def app(tmp_path: Path) -> str:
    script = tmp_path / "app.py"
    script.write_text(APP)
    return str(script)


def cells(bisection: Command) -> dict[str, Any]:
    results = json.loads((bisection.output / "results.json").read_text())
    assert results["complete"]
    assert sorted(results["planned"]) == sorted(one["id"] for one in results["cells"])
    return {one["axes"]["pymongo"]: one for one in results["cells"]}


def test_the_first_release_that_fails_is_found_and_again_from_its_cells(
    open_tmp: Path, app: str
) -> None:
    options = ("--app", app, "--pymongo", "4.15.3..4.17", *CELL)
    with started(open_tmp, *options, command=BISECT) as bisection:
        assert bisection.finish() == 0, bisection.text
        assert bisection.nothing_left(), bisection.left_behind()
    assert "pymongo 4.16.0 is the first that fails responses, error-log" in bisection.text
    assert "4.15.5 passes." in bisection.text
    assert "ValueError: it knows no PyMongo 4.16.0" in bisection.text
    found = cells(bisection)
    assert found["4.15.5"]["verdict"] != "fail"
    assert found["4.16.0"]["verdict"] == found["4.17.0"]["verdict"] == "fail"
    first = {one["directory"]: one["timings"] for one in found.values()}
    again = [*BISECT, "--json", "--resume", str(bisection.output)]
    with started(open_tmp, *options, command=again, keep=True) as resumed:
        assert resumed.finish() == 0, resumed.text
    assert {one["directory"]: one["timings"] for one in cells(bisection).values()} == first
    assert '"after": "4.16.0"' in resumed.text


def test_workers_of_a_cluster_try_several_at_a_time(open_tmp: Path, app: str) -> None:
    options = ("--app", app, "--pymongo", "4.15.3..4.17", "--dask", "local", *CELL)
    with started(open_tmp, *options, command=BISECT) as bisection:
        assert bisection.finish() == 0, bisection.text
        assert bisection.nothing_left(), bisection.left_behind()
    assert "pymongo 4.16.0 is the first that fails responses" in bisection.text
    assert all(one["host"]["apache"] for one in cells(bisection).values())


def test_ends_that_are_alike_are_said_to_be(open_tmp: Path, app: str) -> None:
    options = ("--app", app, "--pymongo", "4.15.3..4.15.4", *CELL)
    with started(open_tmp, *options, command=BISECT) as bisection:
        assert bisection.finish() == 3, bisection.text
    assert "the ends do not differ, so there is no change to search for" in bisection.text
