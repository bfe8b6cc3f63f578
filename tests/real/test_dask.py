"""Cells in the workers of a Dask cluster on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.real.command import RUN, started

TWO = (
    *("--no-config", "--topology", "none", "--mode", "daemon", "--mode", "embedded", "-n", "60"),
    *("--phases", "none", "--extra-requests", "0", "--dask", "local", "--jobs", "2"),
)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_two_workers_run_two_cells_and_leave_nothing(open_tmp: Path) -> None:
    with started(open_tmp, *TWO, command=RUN) as run:
        assert run.finish() in (0, 1, 3), run.text
        assert run.nothing_left(), run.left_behind()
    results = read(run.output / "results.json")
    cells = {cell["id"]: cell for cell in results["cells"]}
    assert results["complete"]
    assert sorted(cells) == sorted(results["planned"])
    assert len(cells) == 2
    for id, cell in cells.items():
        assert cell["verdict"] != "error", cell["reason"]
        assert cell["host"]["apache"]
        assert id in run.text
        directory = run.output / "cells" / id
        assert read(directory / "cell.json")["observed"]["requests"] >= 60
        assert "LoadModule wsgi_module" in (directory / "httpd.conf").read_text()
    assert sorted(path.name for path in run.output.iterdir()) == [
        ".lock",
        "cells",
        "report.html",
        "results.json",
    ]
    assert list((open_tmp / "scratch").iterdir()) == []
