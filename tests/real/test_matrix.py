"""A matrix that is interrupted in every way comes to the same as one that is not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.command import Command, started

MATRIX = [
    sys.executable, "-m", "wsgiproof", "run", "--no-config", "--mod-wsgi", "5.0.2",
    "--pymongo", "4.20.0", "--topology", "none", "--mpm", "prefork", "--mpm", "worker",
    "--mpm", "event", "--jobs", "2", "-n", "60", "--phases", "none",
]  # fmt: skip
CELLS = 6
ENOUGH = "64m"
"""Of disk for the results of all cells."""


@pytest.fixture
def small_disk(open_tmp: Path) -> Iterator[Path]:
    """A disk that a test may fill."""
    disk = open_tmp / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ENOUGH}", "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def results(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "results.json").read_text())
    return found


def written(output: Path) -> dict[str, int]:
    """When each cell's record was written: a cell that is run again has another time."""
    return {path.parent.name: path.stat().st_mtime_ns for path in output.glob("cells/*/cell.json")}


def interrupted(tmp: Path, number: int, *options: str) -> Command:
    """Send the signal as soon as one more cell is done, and return what became of it."""
    with started(tmp, *options, command=MATRIX, keep=True) as run:
        run.wait_for(" pass: ")
        run.process.send_signal(number)
        run.finish()
        assert run.nothing_left(), run.left_behind()
        return run


def test_interrupted_three_times_no_cell_is_lost_and_none_is_run_twice(
    open_tmp: Path, small_disk: Path
) -> None:
    output = small_disk / "out"

    by_hand = interrupted(open_tmp, signal.SIGINT, "--output", str(output))
    assert by_hand.process.returncode == 130
    assert "interrupted; everything that was started has been stopped" in by_hand.text
    first = written(output)
    assert 1 <= len(first) < CELLS
    assert not results(output)["complete"]

    again = ["--resume", str(output)]
    interrupted(open_tmp, signal.SIGKILL, *again)
    second = written(output)
    assert len(second) > len(first)

    filler = small_disk / "filler"
    with started(open_tmp, *again, command=MATRIX, keep=True) as run:
        run.wait_for(" pass: ")
        _fill(filler)
        assert run.finish() == 3
        assert "No space left on device" in run.text
        assert "Traceback" not in run.text
        assert run.nothing_left(), run.left_behind()
    with started(open_tmp, *again, command=MATRIX, keep=True) as run:
        assert run.finish() == 3
        assert "make room" in run.text
    filler.unlink()
    third = written(output)

    with started(open_tmp, *again, command=MATRIX, keep=True) as run:
        assert run.finish() == 0, run.text
    told = results(output)
    ids = [cell["id"] for cell in told["cells"]]
    assert told["complete"]
    assert sorted(ids) == sorted(told["planned"])
    assert len(set(ids)) == len(ids) == CELLS
    assert all(cell["verdict"] == "pass" for cell in told["cells"])
    kept = written(output).items()
    assert kept >= third.items() >= second.items() >= first.items(), "a cell was run again"


def _fill(filler: Path) -> None:
    """Take all that is left of the disk."""
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return


def run(open_tmp: Path, *options: str) -> tuple[int, str, Path]:
    """What a whole command came to: its exit code, its output, and where its results are."""
    with started(open_tmp, *options, command=MATRIX[:5]) as command:
        code = command.finish()
    return code, command.text, command.output


def test_after_a_failure_the_rest_is_skipped_where_that_was_asked_for(open_tmp: Path) -> None:
    app = open_tmp / "closed.py"
    app.write_text(
        "def application(environ, start_response):\n"
        "    start_response('500 Sorry', [])\n"
        "    return [b'closed']\n"
    )
    junit = open_tmp / "junit.xml"
    options = ["--mod-wsgi", "5.0.2", "--pymongo", "4.20.0", "--topology", "none"]
    wanted = ["--app", str(app), "-n", "60", "--fail-fast", "--junit", str(junit)]
    code, text, output = run(open_tmp, *options, *wanted)
    assert code == 1, text
    told = results(output)
    assert [cell["verdict"] for cell in told["cells"]] == ["fail", "skipped"]
    assert told["complete"]
    assert '<skipped message="not run, because --fail-fast' in junit.read_text()


def test_an_error_is_tried_again_and_each_try_is_told(open_tmp: Path) -> None:
    tree = open_tmp / "pymongo"
    tree.mkdir()
    (tree / "setup.py").write_text(
        "import sys, setuptools\n"
        "assert 'bdist_wheel' not in sys.argv, 'it does not compile'\n"
        "setuptools.setup(name='pymongo', version='4.99.0', py_modules=[])\n"
    )
    wanted = ["--pymongo", str(tree), "--mod-wsgi", "5.0.2", "--topology", "none"]
    code, text, output = run(open_tmp, *wanted, "--mode", "daemon", "--retry-errors", "1")
    assert code == 3, text
    (cell,) = results(output)["cells"]
    assert cell["verdict"] == "error"
    assert cell["id"].startswith("py3") and "pymongo4.99.0+src" in cell["id"]
    assert [*cell["tries"]] == [cell["reason"]]
    assert "it does not compile" in cell["reason"]
    assert len(list((output / "tries").iterdir())) == 1
