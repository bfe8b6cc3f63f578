"""A matrix that has not been run: as text, as JSON, and as the jobs of CI systems."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as some
from rich.console import Console

from tests.cells import CELL, cell_with, configured, exclusion
from tests.unit.factories import record, run_record
from tests.unit.test_cli import Runner, one_line
from tests.unit.test_matrix import UNSUPPORTED, resolved
from tests.unit.test_merge import called, saved
from wsgiproof.config.axes import ALL_AXES
from wsgiproof.config.matrix import Matrix, expand
from wsgiproof.errors import UsageError
from wsgiproof.records.cell import Cell, Mode
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.listed import Listed
from wsgiproof.records.plan import ExtraPhase, LoadPlan
from wsgiproof.records.reading import load_run
from wsgiproof.report.evergreen import for_evergreen
from wsgiproof.report.matrix import (
    Shard,
    as_listed,
    deal,
    for_github,
    for_gitlab,
    show_matrix,
)
from wsgiproof.run.resolve import resolved_values
from wsgiproof.subjects.pymongo.axes import Topology


def cells(number: int) -> list[Cell]:
    return [cell_with(CELL, pymongo=f"4.{n}.0") for n in range(number)]


def matrix(**options: Any) -> Matrix:
    return expand(configured(**options), resolved())


QUICK = configured().plan()
EMPTY = Listed(cells=())
SLOW = exclusion(topology=(Topology.REPLICA_SET,), mode=(Mode.EMBEDDED,), reason="slow")
PARTLY = matrix(exclude=(SLOW,), only=("*standalone*",))
"""Two cells; one combination is excluded and one is not selected."""


def text_of(shown: Matrix) -> list[str]:
    console = Console(file=io.StringIO(), width=40)
    show_matrix(console, shown.cells, shown.excluded)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def decoded(shown: Matrix) -> Any:
    return json.loads(encoded(shown))


def encoded(shown: Matrix) -> bytes:
    listed = as_listed(shown.cells, shown.excluded, resolved_values(resolved()))
    return msgspec.json.encode(listed)


# For people


def test_every_cell_is_a_line_and_every_exclusion_one_below_its_reason() -> None:
    lines = text_of(PARTLY)
    assert lines[:2] == [cell.id for cell in PARTLY.cells], "however narrow the terminal is"
    assert lines[2:] == [
        "",
        "1 left out: slow",
        "  replica-set embedded prefork shared-gil eager",
        "",
        "1 left out: it is not selected",
        "  3.12.1 6.1.1 4.20.0 replica-set daemon prefork shared-gil eager",
        "",
        "2 of 4 combinations are cells, 2 are left out.",
    ]


def test_where_nothing_is_left_out_no_reason_is_shown() -> None:
    lines = text_of(matrix())
    assert len(lines) == 4 + 2
    assert lines[-1] == "4 of 4 combinations are cells, 0 are left out."


# For scripts


def test_json_has_cells_and_excluded_with_axes_and_reason() -> None:
    told = decoded(PARTLY)
    assert set(told) == {"cells", "excluded", "resolved", "environments"}
    assert [one["id"] for one in told["cells"]] == [cell.id for cell in PARTLY.cells]
    assert [one["axes"] for one in told["cells"]] == [dict(cell.axes) for cell in PARTLY.cells]
    slow, left = told["excluded"]
    assert (slow["reason"], slow["cell"], left["reason"]) == ("slow", "", "it is not selected")
    assert left["cell"].endswith("-replica-set-daemon-prefork-shared-gil")
    for one in (slow, left):
        assert set(one["axes"]) == set(ALL_AXES)
    assert slow["axes"]["mode"] == "embedded"


def test_what_is_listed_is_a_plan_to_merge_by(tmp_path: Path) -> None:
    """A shard that never came is missed."""
    plan = tmp_path / "plan.json"
    plan.write_bytes(encoded(PARTLY))
    first, second = PARTLY.cells
    one = record(cell=first, verdict=Verdict.PASS)
    shard = saved(tmp_path / "1", run_record(one))
    done = called("merge", shard, "--plan", plan, "--output", tmp_path / "whole")
    assert done.exit_code == 3
    assert load_run(tmp_path / "whole").missing == (second.id,)


def test_what_each_value_stands_for_is_listed_unless_it_is_a_path() -> None:
    told = decoded(PARTLY)["resolved"]
    of_one = [one for one in told if one["python"] == "3.12" and one["axis"] == "pymongo"]
    assert {one["asked"]: one["exact"] for one in of_one} == {
        "": "4.20.0",
        "latest": "4.20.0",
        "3.6.1": "3.6.1",
    }
    refused = [one for one in told if one["python"] == "3.9" and one["asked"] == "6.1.1"]
    assert [(one["axis"], one["exact"], one["reason"]) for one in refused] == [
        ("mod_wsgi", "", UNSUPPORTED)
    ]


# For CI systems


def dealt(
    cells: Sequence[Cell], system: str, shards: int | None, plan: LoadPlan = QUICK
) -> list[Shard]:
    return deal({cell.id: plan for cell in cells}, system, shards)


def test_a_job_has_time_for_the_tries_of_its_cells() -> None:
    plans = {cell.id: QUICK for cell in cells(4)}
    (once,), (thrice,) = deal(plans, "github", 1), deal(plans, "github", 1, retries=2)
    assert thrice.minutes - once.minutes == pytest.approx(8 * QUICK.most_seconds / 60, abs=1)


def shards_of_github(number: int, shards: int | None) -> list[list[str]]:
    made = json.loads(msgspec.json.encode(for_github(dealt(cells(number), "github", shards))))
    assert set(made) == {"include"}
    assert [one["shard"] for one in made["include"]] == list(range(1, len(made["include"]) + 1))
    return [one["cells"].split(" ") for one in made["include"]]


def shards_of_gitlab(number: int, shards: int | None) -> list[list[str]]:
    made = yaml.safe_load(for_gitlab(dealt(cells(number), "gitlab", shards)))
    assert list(made) == [f"wsgiproof-{n}" for n in range(1, len(made) + 1)]
    for shard, job in enumerate(made.values(), 1):
        assert set(job) == {"extends", "timeout", "variables"}
        assert set(job["variables"]) == {"SHARD", "CELLS"}
        assert (job["extends"], job["variables"]["SHARD"]) == (".wsgiproof", str(shard))
    return [job["variables"]["CELLS"].split(" ") for job in made.values()]


def shards_of_evergreen(number: int, shards: int | None) -> list[list[str]]:
    made = for_evergreen(dealt(cells(number), "evergreen", shards), EMPTY)
    assert [one["name"] for one in made["tasks"]] == [
        f"wsgiproof-{n}" for n in range(1, len(made["tasks"]) + 1)
    ]
    return [one["commands"][0]["vars"]["CELLS"].split(" ") for one in made["tasks"]]


FORMS = pytest.mark.parametrize("form", [shards_of_github, shards_of_gitlab, shards_of_evergreen])


@FORMS
@settings(deadline=None, derandomize=True, max_examples=30)
@given(number=some.integers(1, 60), shards=some.integers(1, 70) | some.none())
def test_each_cell_is_on_one_machine_and_none_is_idle(
    form: Any, number: int, shards: int | None
) -> None:
    lists: list[list[str]] = form(number, shards)
    assert len(lists) == min(shards or number, number)
    assert sorted(id for ids in lists for id in ids) == sorted(cell.id for cell in cells(number))
    sizes = {len(ids) for ids in lists}
    assert max(sizes) - min(sizes) <= 1
    assert [ids[0] for ids in lists] == [cell.id for cell in cells(number)[: len(lists)]]


@FORMS
@pytest.mark.parametrize("shards", [0, -1, 1001, 100_000])
def test_a_number_of_machines_that_there_can_not_be(form: Any, shards: int) -> None:
    with pytest.raises(UsageError, match=rf"--shards {shards}: there may be from 1 to"):
        form(3, shards)


def test_the_bounds_are_those_of_the_systems() -> None:
    assert len(shards_of_github(256, None)) == len(shards_of_github(300, 256)) == 256
    assert len(shards_of_gitlab(200, None)) == len(shards_of_gitlab(300, 200)) == 200
    with pytest.raises(UsageError, match=r"--shards 257: .* from 1 to 256 jobs"):
        shards_of_github(257, None)
    with pytest.raises(UsageError, match=r"--shards 201: .* from 1 to 200 jobs"):
        shards_of_gitlab(201, None)
    assert len(shards_of_evergreen(1000, None)) == 1000
    with pytest.raises(UsageError, match=r"--shards 1001: .* from 1 to 1000 jobs"):
        shards_of_evergreen(1001, None)


def test_a_job_is_ended_after_a_time_for_its_cells() -> None:
    """The set-up takes half an hour at most, and a cell what its load says."""
    idle = (*QUICK.phases, ExtraPhase.IDLE)
    long = msgspec.structs.replace(QUICK, phases=idle, idle_seconds=3600.0)
    assert QUICK.most_seconds > 300
    assert long.most_seconds == QUICK.most_seconds + 3600
    assert msgspec.structs.replace(QUICK, phases=(), max_seconds=1.0).most_seconds == 301
    quick = [one.minutes for one in dealt(cells(5), "github", 2)]
    assert quick == [math.ceil(30 + n * QUICK.most_seconds / 60) for n in (3, 2)]
    (minutes,) = {one.minutes for one in dealt(cells(3), "github", None, long)}
    assert minutes > 90
    (github,) = for_github(dealt(cells(1), "github", None, long))["include"]
    gitlab = yaml.safe_load(for_gitlab(dealt(cells(1), "gitlab", None, long)))
    tasks = for_evergreen(dealt(cells(1), "evergreen", None, long), EMPTY)["tasks"]
    assert github["minutes"] == minutes
    assert gitlab["wsgiproof-1"]["timeout"] == f"{minutes} minutes"
    assert tasks[0]["exec_timeout_secs"] == minutes * 60
    tasks = for_evergreen(dealt(cells(30), "evergreen", 1, long), EMPTY)["tasks"]
    assert tasks[0]["exec_timeout_secs"] == 24 * 3600, "Evergreen allows no more"


@settings(deadline=None, derandomize=True)
@given(some.text(some.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1))
def test_yaml_takes_any_name_as_it_is(name: str) -> None:
    odd = cell_with(CELL, mongodb=name)
    made = yaml.safe_load(for_gitlab(dealt([odd], "gitlab", None)))
    assert made["wsgiproof-1"]["variables"]["CELLS"] == odd.id


def test_shards_are_for_ci_systems_only(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wsgiproof = Runner(capfd, monkeypatch)
    for form in ([], ["--json"]):
        ended = wsgiproof("list", "--no-config", "--shards", "3", *form)
        assert (ended.code, one_line(ended)) == (
            2,
            "--shards needs --github, --gitlab or --evergreen",
        )
