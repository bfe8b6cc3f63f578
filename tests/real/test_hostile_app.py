"""Applications that attack what they are judged by: nothing of ours is harmed, and none passes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec
import pytest

from tests.real.conftest import Bench
from tests.real.test_cells import why
from wsgiproof.records.cell import Mode
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.run import CellRecord
from wsgiproof.subjects.pymongo.axes import Topology

APPS = Path(__file__).parent / "apps"
ROOT = os.geteuid() == 0
SECRET = Path("/etc/shadow")


def undecided(record: CellRecord) -> set[str]:
    return {one.check for one in record.checks if one.verdict is Verdict.INCONCLUSIVE}


def kinds(record: CellRecord) -> set[str]:
    assert record.observed is not None, why(record)
    return {one.kind for one in record.observed.missing}


@pytest.fixture(autouse=True)
def scratch(open_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where alone they find run directories to attack."""
    scratch = open_tmp / "scratch"
    scratch.mkdir()
    scratch.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    return scratch


@pytest.mark.parametrize("mode", Mode)
def test_an_app_that_removes_its_evidence_is_undecided(bench: Bench, mode: Mode) -> None:
    record = bench.run(app=APPS / "removes_evidence.py", topology=Topology.NONE, mode=mode)
    assert record.verdict is Verdict.INCONCLUSIVE, why(record)
    assert undecided(record) == {"environment", "hang", "crash", "shutdown"}, why(record)
    assert kinds(record) - {"leftover"} == {"identity", "requests", "fatal"}


def test_an_app_that_plants_evidence_is_neither_followed_nor_waited_for(
    bench: Bench, scratch: Path
) -> None:
    record = bench.run(app=APPS / "plants_evidence.py", topology=Topology.NONE)
    assert record.verdict is Verdict.INCONCLUSIVE, why(record)
    assert kinds(record) == {"identity", "requests", "fatal", "leftover"}
    written = msgspec.json.encode(record)
    assert len(written) < 5_000_000
    if ROOT:
        secrets = [line for line in SECRET.read_bytes().splitlines() if len(line) > 10]
        assert not any(line in written for line in secrets)
    assert not list(scratch.iterdir()), "a directory of 2,000 levels was left"


def test_an_app_that_replaces_what_was_laid_out_gets_nowhere_or_is_undecided(bench: Bench) -> None:
    """An ordinary user's Apache is that user: there nothing can keep it from its own files."""
    record = bench.run(app=APPS / "replaces_evidence.py", topology=Topology.NONE)
    assert record.observed is not None
    succeeded = [one.text for one in record.observed.log if "attack succeeded" in one.text]
    if ROOT:
        assert succeeded == []
        assert record.verdict is Verdict.PASS, why(record)
    else:
        assert len(succeeded) > 0
        assert record.verdict is not Verdict.PASS, why(record)
    assert not list(Path("/etc").glob("core-*"))


@pytest.mark.parametrize("app", ["spoils_log", "cuts_log"])
def test_an_app_that_spoils_the_error_log_is_undecided(bench: Bench, app: str) -> None:
    record = bench.run(app=APPS / f"{app}.py", topology=Topology.NONE)
    assert record.verdict is Verdict.INCONCLUSIVE, why(record)
    assert "error-log" in undecided(record)
    assert kinds(record) == {"log"}
