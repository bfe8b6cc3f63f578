"""What is left in /tmp and /dev/shm is found with other processes of the same user beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.command import RUN, soon
from wsgiproof.process.account import server_account
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.reading import load_run
from wsgiproof.records.run import CellRecord

PLACES = [Path("/tmp"), Path("/dev/shm")]
SCRATCH = [Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user for Apache")


@pytest.fixture(autouse=True)
def neighbour() -> Iterator[None]:
    """A process of Apache's user that is no process of the run."""
    account = server_account()
    with subprocess.Popen(
        ["sleep", "1000"], user=account.uid, group=account.gid, extra_groups=[], cwd="/"
    ) as process:
        yield
        process.kill()


@pytest.fixture(scope="module")
def apps() -> Iterator[Path]:
    """The applications in a directory that is not below one of the places: a place that has the
    application in it stays shared, and the repository may be in one."""
    with tempfile.TemporaryDirectory(prefix="wsgiproof-test-", dir="/run") as directory:
        copy = Path(directory)
        copy.chmod(0o755)
        for app in (Path(__file__).parent / "apps").glob("files_in_tmp*.py"):
            shutil.copy(app, copy)
        yield copy


def cells(app: Path, output: Path, *options: str) -> list[CellRecord]:
    """The daemon and the embedded cell of an application, run at the same time."""
    command = [*RUN[:4], "--mod-wsgi", "5.0.2", "--subject", "package", "--app", str(app)]
    command += ["--mode", "daemon", "--mode", "embedded", "--phases", "none", "-n", "400"]
    command += ["--jobs", "2", "--max-files", "0", "--output", str(output), *options]
    subprocess.run(command, capture_output=True, check=False)
    records = list(load_run(output).cells)
    assert len(records) == 2
    return records


def files(record: CellRecord) -> tuple[Verdict, str]:
    """What the check of files came to."""
    (outcome,) = [one for one in record.checks if one.check == "files"]
    return outcome.verdict, outcome.reason


def left() -> set[Path]:
    return {path for place in PLACES for path in place.glob("wsgiproof-left-*")}


def test_files_that_each_of_two_cells_leaves_are_found_and_removed(
    apps: Path, tmp_path: Path
) -> None:
    before = left()
    for record in cells(apps / "files_in_tmp.py", tmp_path / "out"):
        assert record.observed is not None
        assert record.observed.samples[-1].counts["shared files"], "counted beside the neighbour"
        assert files(record)[0] is Verdict.FAIL, files(record)
    assert left() == before, "they were never in the machine's own places"


def test_nothing_is_left_of_the_places_of_a_run_that_is_killed(apps: Path, tmp_path: Path) -> None:
    command = [*RUN[:4], "--mod-wsgi", "5.0.2", "--subject", "package", "--mode", "daemon"]
    command += ["-n", "100000", "--app", str(apps / "files_in_tmp.py"), "--max-files", "1000"]
    command += ["--output", str(tmp_path / "out")]
    before = {path for place in SCRATCH for path in place.glob("wsgiproof-*")}

    def made() -> set[Path]:
        return {path for place in SCRATCH for path in place.glob("wsgiproof-*/place")} - {
            path / "place" for path in before
        }

    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        assert soon(lambda: any(any(own.glob("wsgiproof-left-*")) for own in made()))
        its = made()
        run.kill()
    assert soon(lambda: not any(own.parent.exists() for own in its))


def test_files_that_are_removed_pass_and_have_been_counted(apps: Path, tmp_path: Path) -> None:
    for record in cells(apps / "files_in_tmp_removed.py", tmp_path / "out"):
        verdict, reason = files(record)
        assert verdict is Verdict.PASS, reason
        assert "not counted" not in reason


def test_places_that_are_shared_are_not_counted_and_the_pass_says_so(
    apps: Path, tmp_path: Path
) -> None:
    for record in cells(apps / "files_in_tmp_removed.py", tmp_path / "out", "--shared-tmp"):
        verdict, reason = files(record)
        assert verdict is Verdict.PASS, reason
        assert "not counted, since another program may make them: files elsewhere" in reason
