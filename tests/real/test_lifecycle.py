"""Nothing that we start outlives us, and what was measured is kept."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.real.command import CLEAN, RUN, is_emptied, started


@pytest.mark.parametrize("moment", ["starting MongoDB", "starting Apache", "parallel"])
def test_nothing_outlives_a_killed_run(open_tmp: Path, moment: str) -> None:
    with started(open_tmp, "--topology", "standalone", "-n", "600") as command:
        command.wait_for(moment)
        limit = time.monotonic() + 60
        while not command.left_behind():  # else there is nothing that could outlive it
            assert time.monotonic() < limit
            time.sleep(0.1)
        command.process.kill()
        command.process.wait()
        assert command.nothing_left(), command.left_behind()
    # A directory that no guard knew yet goes with the next start.
    left = list((open_tmp / "scratch").iterdir())
    assert len(left) <= 1, left
    assert not [file for one in left for file in one.rglob("WiredTiger*")], "data is still there"
    with started(open_tmp, command=[*RUN[:3], "doctor"], keep=True) as following:
        following.finish()
    assert is_emptied(open_tmp / "scratch")


def test_ctrl_c_stops_everything_and_keeps_the_finished_cells(open_tmp: Path) -> None:
    options = ["--topology", "standalone", "-n", "120", "--control", CLEAN]
    with started(open_tmp, *options) as command:
        command.wait_for("[2/2]")
        command.wait_for("parallel")
        command.interrupt()
        assert command.finish() == 130, command.text
        assert not command.left_behind()
    assert "Traceback" not in command.text
    assert command.text.count("interrupted") == 1
    results = json.loads((command.output / "results.json").read_text())
    assert not results["complete"]
    assert len(results["planned"]) == 2
    assert [cell["verdict"] for cell in results["cells"]] == ["pass"]
    assert results["cells"][0]["id"] == results["planned"][0]
    assert "pass" in command.text


def test_ctrl_c_while_mongod_starts_leaves_nothing(open_tmp: Path) -> None:
    with started(open_tmp, "--topology", "replica-set") as command:
        command.wait_for("starting MongoDB")
        command.interrupt()
        assert command.finish() == 130, command.text
        assert not command.left_behind()
    assert "Traceback" not in command.text
