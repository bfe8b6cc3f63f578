"""The same cells over several runs: by date, and by a version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from tests.cells import CELL, cell_with
from tests.unit.factories import record, run_record
from tests.unit.test_merge import saved
from tests.unit.test_report import FAILED
from wsgiproof.analysis.trends import trends
from wsgiproof.cli import cli
from wsgiproof.errors import UsageError
from wsgiproof.records.cell import Mode
from wsgiproof.records.run import CellRecord, RunRecord
from wsgiproof.report.html.page import NAME
from wsgiproof.report.trended import show_trends
from wsgiproof.subjects.axis import version_value

DAYS = ("2026-11-20T00:00:00+00:00", "2026-11-21T00:00:00+00:00", "2026-11-22T00:00:00+00:00")


def on(day: int, *cells: CellRecord, **changes: Any) -> RunRecord:
    return run_record(*cells, started=DAYS[day], **changes)


def as_cell(one: CellRecord, **axes: Any) -> CellRecord:
    cell = cell_with(CELL, **axes)
    return msgspec.structs.replace(one, cell=cell, directory=f"cells/{cell.id}")


def test_by_date_each_run_is_a_column_and_what_changed_comes_first() -> None:
    other = as_cell(record(), mode=Mode.EMBEDDED)
    over = trends([on(2, FAILED, other), on(0, record(), other), on(1, other)])
    assert over.columns == DAYS
    changed, steady = over.rows
    assert (changed.name, changed.changes) == (CELL.id, 1)
    assert [(one.column, one.verdict) for one in changed.points] == [(0, "pass"), (2, "fail")]
    assert [one.column for one in steady.points] == [0, 1, 2]
    assert steady.points[0].figures[0].value == 1234.5


def test_figures_of_different_machines_are_said_to_be() -> None:
    one, other = (record(host={"name": name}) for name in ("one", "two"))
    assert trends([on(0, one), on(1, one)]).other_machines == 0
    over = trends([on(0, one), on(1, other)])
    assert over.other_machines == 1
    console = Console(record=True, width=200)
    show_trends(console, over, "requests_per_second")
    assert "1 row ran on different machines" in console.export_text()


def test_two_runs_of_the_same_second_are_two() -> None:
    over = trends([on(0, record()), on(0, FAILED)])
    assert over.columns == (DAYS[0], f"{DAYS[0]} (2)")
    assert [one.verdict for one in over.rows[0].points] == ["pass", "fail"]


def test_by_a_version_cells_are_alike_but_for_it_and_the_last_run_counts() -> None:
    old, new = as_cell(record(), pymongo="4.9"), as_cell(record(), pymongo="4.10.1")
    over = trends([on(0, new, old), on(1, as_cell(FAILED, pymongo="4.10.1"))], "pymongo")
    assert over.columns == ("4.9", "4.10.1"), "as versions are counted"
    (row,) = over.rows
    assert [one.verdict for one in row.points] == ["pass", "fail"]
    assert "4.10.1" not in row.name


def test_by_the_version_of_wsgiproof() -> None:
    over = trends([on(0, record(), wsgiproof="0.1.0"), on(1, record(), wsgiproof="0.2.0")],
                  "wsgiproof")  # fmt: skip
    assert over.columns == ("0.1.0", "0.2.0")
    assert len(over.rows) == 1


def checkout(path: str, commit: str) -> CellRecord:
    tree = version_value("pymongo", "4.21.0.dev0", path, commit)
    cell = msgspec.structs.replace(CELL, of_subject=(tree, *CELL.of_subject[1:]))
    return msgspec.structs.replace(record(), cell=cell)


def test_two_checkouts_of_one_version_are_two_rows_and_one_checkout_is_one() -> None:
    one, fork = checkout("/ci/1/driver", "a" * 40), checkout("/ci/1/fork", "b" * 40)
    later = checkout("/ci/2/driver", "c" * 40)
    over = trends([on(0, one), on(1, fork), on(2, later)])
    assert {row.name: len(row.points) for row in over.rows} == {
        f"{one.cell.id} (driver)": 2,
        f"{one.cell.id} (fork)": 1,
    }


def test_by_a_version_each_commit_of_a_checkout_is_a_column() -> None:
    one, later = checkout("/ci/1/driver", "a" * 40), checkout("/ci/2/driver", "c" * 40)
    over = trends([on(0, one), on(1, later)], "pymongo")
    assert over.columns == ("4.21.0.dev0 (driver aaaaaaaaaa)", "4.21.0.dev0 (driver cccccccccc)")
    assert len(over.rows) == 1


def called(*words: object) -> Any:
    return CliRunner().invoke(cli, [*map(str, words)], catch_exceptions=False)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    return saved(tmp_path / "1", on(0, record())), saved(tmp_path / "2", on(1, FAILED))


def test_trends_in_the_terminal_and_as_json(two: tuple[Path, Path]) -> None:
    done = called("report", "--trends", *two)
    assert done.exit_code == 0
    (row,) = [line for line in done.output.splitlines() if line.startswith(CELL.id)]
    assert row.split() == [CELL.id, "pass", "1,234", "fail", "1,234"]
    assert "1 cell, 1 of them with more than one verdict" in done.output
    told = json.loads(called("report", "--trends", *two, "--by", "mod_wsgi", "--json").output)
    assert (told["format"], told["by"], told["columns"]) == (2, "mod_wsgi", ["5.0.2"])
    assert told["rows"][0]["points"][0]["verdict"] == "fail"


def test_a_report_is_of_the_last_run_and_beside_it(two: tuple[Path, Path], tmp_path: Path) -> None:
    done = called("report", *reversed(two))
    assert done.output == f"Report: {two[1] / NAME}\n"
    assert b"1 of 1 cell failed" in (two[1] / NAME).read_bytes()
    elsewhere = tmp_path / "new" / "page.html"
    called("report", two[0], "--compare", two[1], "-o", elsewhere)
    content = elsewhere.read_bytes()
    assert b'"compare":{"format":2,"worse":false' in content
    assert b'"trends":{' not in content


@pytest.mark.parametrize("words", [["report"], ["report", "--trends"]])
def test_what_is_no_run_is_reported_in_one_line(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        called(*words, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--figure", "recovery"], "--figure needs --trends"),
        (["--json"], "--json needs --trends"),
        (["--trends", "-o", "x.html"], "--trends writes no page: leave --output and --compare out"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], message: str, two: tuple[Path, Path]
) -> None:
    with pytest.raises(UsageError, match=message):
        called("report", *two, *options)


def test_a_new_directory_for_the_page_is_reported(two: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "new" / "page.html"
    assert f"the directory {page.parent} did not exist" in called("report", *two, "-o", page).output
    assert called("report", *two, "-o", page).output == f"Report: {page}\n"


def test_a_merged_run_has_its_page(two: tuple[Path, Path], tmp_path: Path) -> None:
    called("merge", *two, "--output", tmp_path / "whole")
    assert (tmp_path / "whole" / NAME).read_bytes().startswith(b"<!doctype html>")
