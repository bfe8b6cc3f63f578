"""An audit on a Dask cluster: each distribution is tried once, or elsewhere if it was lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cells import CELL
from tests.dask import pretended
from tests.real.auditing import usable
from tests.real.command import nobody_is_left
from tests.unit.test_audit_resume import REQUEST
from tests.unit.test_resume import PYTHON
from wsgiproof.audit.elsewhere import Lot, Tried
from wsgiproof.audit.environment import Resolved
from wsgiproof.audit.record import finished_in
from wsgiproof.records.audit import Distribution, Environment, Outcome
from wsgiproof.records.reading import ignore_note
from wsgiproof.run.executors.base import run_jobs
from wsgiproof.run.executors.dask_audit import Distributions
from wsgiproof.run.executors.dask_cluster import DaskCluster

PACKAGES = ("markupsafe==3.0.2", "pyyaml==6.0.2")


class Steps:
    """A progress that takes down its steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def count(self, text: str) -> None:
        raise AssertionError("it is the audit that counts")


def lot(version: str = CELL.python) -> Lot:
    return Lot(
        resolved=Resolved(pins=(), not_installable={}, wheels_only=True),
        python=msgspec.structs.replace(PYTHON, version=version),
        distributions=(),
        baseline={},
        request=REQUEST,
    )


def named(*versions: str) -> list[Distribution]:
    return [
        Distribution(name=f"package{number}", version=version)
        for number, version in enumerate(versions)
    ]


def tried(client: Any, one: Lot, what: list[Distribution], steps: Steps) -> list[Tried]:
    chore = Distributions(one, steps)
    cluster = DaskCluster(client, chore, ignore_note, function=pretended.answer)
    return list(run_jobs(what, cluster))


def test_each_distribution_is_tried_once(client: Any) -> None:
    what = named(*("1.0",) * 20)
    steps = Steps()
    found = tried(client, lot(), what, steps)
    assert sorted(one.judged[0].name for one in found) == sorted(one.name for one in what)
    assert {one.judged[1][0].outcome for one in found} == {Outcome.WORKS}
    assert steps.steps == []


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("kill-worker", "was lost"),
        ("damaged", "what came back of package0 is damaged"),
        ("another", "what came back of package0 is about something else"),
    ],
)
def test_what_was_lost_or_is_damaged_is_unknown_and_is_tried_again_later(
    client: Any, version: str, why: str
) -> None:
    steps = Steps()
    (one,) = tried(client, lot(), named(version), steps)
    main, (shared,) = one.judged
    assert (main.outcome, shared.outcome) == (Outcome.UNKNOWN, Outcome.UNKNOWN)
    assert why in shared.reason
    assert len(steps.steps) == 2, "it was tried three times"
    environment = Environment(
        python="Python 3.12.1",
        path="/p",
        kinds=REQUEST.kinds,
        distributions=(),
        audited=("package0",),
        results=(shared,),
        control=(main,),
    )
    assert finished_in(environment, REQUEST.kinds) == {}, "--resume tries it again"


def test_a_python_that_no_worker_has_is_said(client: Any) -> None:
    (one,) = tried(client, lot("nowhere"), named("1.0"), Steps())
    assert one.judged[0].outcome is Outcome.UNKNOWN
    assert one.judged[0].reason.startswith("no worker can run this distribution: host-")


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory that an unprivileged user can enter."""
    directory = Path(tempfile.mkdtemp(prefix="wp-test-", dir="/tmp"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


def audited(scratch: Path, name: str, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [*(sys.executable, "-m", "wsgiproof", "audit", *PACKAGES, "--trials", "1", "--json"),
         *("--python", usable("3.10").path, "-o", str(scratch / name), *options)],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    assert "distributed" not in done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    return record


def test_outcomes_are_those_of_an_audit_without_a_cluster(scratch: Path) -> None:
    here = audited(scratch, "here", "--jobs", "2")
    there = audited(scratch, "there", "--jobs", "2", "--dask", "local")
    assert nobody_is_left(scratch)
    assert sorted(path.name for path in scratch.iterdir()) == ["here", "there"]
    for record in (here, there):
        assert record["complete"]
    (ours,), (theirs,) = here["environments"], there["environments"]
    for key in ("distributions", "audited", "baseline", "advice", "not_confined"):
        assert ours[key] == theirs[key], key
    for key in ("control", "results"):
        assert [kind_of(one) for one in ours[key]] == [kind_of(one) for one in theirs[key]]
        assert len(ours[key]) == len(PACKAGES)


def kind_of(result: dict[str, Any]) -> tuple[Any, ...]:
    attempts = [(one["kind"], one["stage"], one["exit"]) for one in result["attempts"]]
    return result["name"], result["version"], result["kind"], result["outcome"], attempts
