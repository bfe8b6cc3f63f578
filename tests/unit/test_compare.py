"""What differs between two runs: as values, in the terminal, and as an exit code."""

from __future__ import annotations

import io
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
from tests.unit.test_process_ends import in_trials
from tests.unit.test_report import FAILED, HOSTILE, UNDECIDED, control_characters, error
from wsgiproof.analysis.compare import ABSENT, MISSING, Comparison, compare
from wsgiproof.cli import cli
from wsgiproof.errors import UsageError
from wsgiproof.records.cell import MOD_WSGI_HTTPD, Cell, Mode
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.run import CellRecord, RunRecord
from wsgiproof.report.compared import show_comparison
from wsgiproof.report.html.comparison import comparison as comparison_of_page
from wsgiproof.subjects.pymongo.axes import Topology

PASSED = record()
ERROR = error()


def on(one: CellRecord, **axes: Any) -> CellRecord:
    return msgspec.structs.replace(one, cell=cell_with(one.cell, **axes))


def one_cell(old: CellRecord, new: CellRecord) -> Comparison:
    return compare(run_record(old), run_record(new))


def shown(comparison: Comparison) -> list[str]:
    out = Console(file=io.StringIO(), highlight=False, width=60)
    show_comparison(out, comparison)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().splitlines()


def test_the_same_run_is_the_same() -> None:
    run = run_record(PASSED, on(FAILED, mode=Mode.EMBEDDED))
    comparison = compare(run, run)
    assert comparison == Comparison(same=2)
    assert shown(comparison) == ["2 cells compared: 0 worse, 0 otherwise changed, 2 the same."]


def test_cells_of_different_machines_are_said_to_be() -> None:
    one, other = ({"name": name, "processor": "a CPU"} for name in ("one", "two"))
    old, new = record(host=one), record(host=other)
    assert compare(run_record(old), run_record(old)).other_machines == 0
    comparison = compare(run_record(old), run_record(new))
    assert comparison.other_machines == 1
    console = Console(record=True, width=200)
    show_comparison(console, comparison)
    said = "1 pair ran on different machines"
    assert said in console.export_text()
    assert said in comparison_of_page(run_record(old), run_record(new))["moved"]
    assert comparison_of_page(run_record(old), run_record(old))["moved"] == ""


def test_other_numbers_of_the_same_finding_are_no_change() -> None:
    (first, *others) = FAILED.findings
    finding = msgspec.structs.replace(first, seen="4 of 3,280 requests failed")
    again = msgspec.structs.replace(FAILED, findings=(finding, *others))
    assert one_cell(FAILED, again).same == 1


def test_each_check_that_changed_is_told_with_both_reasons() -> None:
    comparison = one_cell(PASSED, FAILED)
    (change,) = comparison.changed
    assert comparison.worse
    assert (change.old, change.new, change.was, change.now) == (CELL.id, CELL.id, "pass", "fail")
    changes = {check.check: (check.was, check.now) for check in change.checks}
    assert changes == {
        "responses": ("pass", "fail"),
        "crash": ("pass", "fail"),
        "shutdown": ("pass", "inconclusive"),
    }
    lines = shown(comparison)
    crash = next(check.reason for check in FAILED.checks if check.check == "crash")
    assert lines[:2] == [f"WORSE     {CELL.id}", "  pass -> fail"]
    assert lines[lines.index("  crash: pass -> fail") + 2] == f"    NEW: {crash}"
    assert lines[-1] == "1 cell compared: 1 worse, 0 otherwise changed, 0 the same."


ORDER = [PASSED, UNDECIDED, ERROR, FAILED]


@pytest.mark.parametrize("old", ORDER)
@pytest.mark.parametrize("new", ORDER)
def test_what_is_worse(old: CellRecord, new: CellRecord) -> None:
    """Missing evidence is worse than a pass, and a finding is worse than anything."""
    assert one_cell(old, new).worse == (ORDER.index(new) > ORDER.index(old))


def test_another_check_that_fails_is_worse_though_the_verdict_is_the_same() -> None:
    checks = tuple(
        msgspec.structs.replace(check, verdict=Verdict.FAIL, reason="grew")
        if check.check == "memory"
        else check
        for check in FAILED.checks
    )
    comparison = one_cell(FAILED, msgspec.structs.replace(FAILED, checks=checks))
    (change,) = comparison.changed
    assert [check.check for check in change.checks] == ["memory"]
    assert comparison.worse
    better = one_cell(msgspec.structs.replace(FAILED, checks=checks), FAILED)
    assert not better.worse
    assert shown(better)[0] == f"CHANGED   {CELL.id}"


def test_a_new_check_that_passes_is_no_news_and_one_that_is_gone_is() -> None:
    fewer = msgspec.structs.replace(PASSED, checks=PASSED.checks[1:])
    assert one_cell(fewer, PASSED) == Comparison(same=1)
    (change,) = one_cell(PASSED, fewer).changed
    assert [(check.check, check.now) for check in change.checks] == [("responses", ABSENT)]
    assert change.worse


def test_an_error_is_told_by_its_reason_and_not_by_checks_that_are_not_there() -> None:
    comparison = one_cell(FAILED, ERROR)
    (change,) = comparison.changed
    assert change.checks == ()
    lines = shown(comparison)
    assert lines[0] == f"CHANGED   {CELL.id}"
    assert f"    NEW: {ERROR.reason}" in lines
    assert any(line.startswith("    OLD: responses: 3 ") and "; crash: " in line for line in lines)


def test_cells_of_one_run_only_are_named() -> None:
    daemon, embedded = PASSED, on(PASSED, mode=Mode.EMBEDDED)
    other = on(FAILED, mode=Mode.EMBEDDED, topology=Topology.REPLICA_SET)
    comparison = compare(run_record(daemon, embedded), run_record(daemon, other))
    assert comparison.only_old == (embedded.cell.id,)
    assert comparison.only_new == (other.cell.id,)
    assert not comparison.worse, "there is nothing to compare it with"
    assert f"ONLY IN OLD  {embedded.cell.id}" in shown(comparison)
    assert f"ONLY IN NEW  {other.cell.id}" in shown(comparison)


def test_a_pass_that_never_came_again_is_worse() -> None:
    embedded = on(PASSED, mode=Mode.EMBEDDED)
    new = run_record(PASSED, planned=(PASSED.cell.id, embedded.cell.id))
    comparison = compare(run_record(PASSED, embedded), new)
    (change,) = comparison.changed
    assert (change.now, change.new, change.worse) == (MISSING, "", True)
    assert comparison.only_old == ()
    assert not compare(run_record(PASSED, on(FAILED, mode=Mode.EMBEDDED)), new).worse


# Cells that differ in one axis throughout


def versions(pymongo: str, *verdicts: CellRecord, **axes: Any) -> RunRecord:
    return run_record(
        *(
            on(one, pymongo=pymongo, topology=topology, **axes)
            for one, topology in zip(verdicts, Topology, strict=False)
        )
    )


def test_another_version_throughout_is_compared_and_said() -> None:
    comparison = compare(versions("4.19.0", PASSED, PASSED), versions("4.20.0", PASSED, FAILED))
    assert comparison.paired_without == "pymongo"
    assert (comparison.same, len(comparison.changed)) == (1, 1)
    assert (comparison.only_old, comparison.only_new) == ((), ())
    lines = shown(comparison)
    assert lines[0] == ("No cell is in both runs, so cells that differ only in pymongo are paired.")
    assert lines[1] == "pymongo: 4.19.0 in OLD, 4.20.0 in NEW."
    assert any("pymongo4.19.0" in line and " -> " in line for line in lines)


@pytest.mark.parametrize(
    "axes",
    [
        {"python": "3.13.0", "python_name": "3.13t"},
        {"pymongo": "4.21.0", "pymongo_path": "/src/mongo-python-driver"},
        {"mod_wsgi": "6.1.1"},
        {"mode": Mode.EMBEDDED},
        {"mongodb": "old"},
        {"maximum_requests": 100},
        {"app": "/srv/shop.py"},
        {"httpd": "2.4.71", "httpd_path": "/usr/sbin/apache2"},
    ],
)
def test_every_axis_can_be_the_one(axes: dict[str, Any]) -> None:
    comparison = one_cell(PASSED, on(FAILED, **axes))
    assert comparison.paired_without == next(iter(axes))
    assert comparison.worse


def test_an_apache_is_found_again_in_a_run_of_several() -> None:
    """Only the id of a cell in a run of several names it."""
    debians = {"httpd": "2.4.71", "httpd_path": "/usr/sbin/apache2"}
    built = {"httpd": "2.4.69", "httpd_path": MOD_WSGI_HTTPD}
    old = run_record(on(PASSED, **debians))
    named = [on(FAILED, **one, httpd_name=one["httpd"]) for one in (built, debians)]
    comparison = compare(old, run_record(*named))
    assert comparison.paired_without == ""
    (change,) = comparison.changed
    assert (change.old, change.new) == (old.planned[0], named[1].cell.id)
    assert comparison.only_new == (named[0].cell.id,)
    again = compare(old, run_record(on(FAILED, **built)))
    (axis,) = again.axes
    assert (axis.axis, axis.new) == ("httpd", (f"Apache 2.4.69 ({MOD_WSGI_HTTPD})",))
    assert again.compared == 1


def test_of_two_axes_none_is_the_one() -> None:
    comparison = one_cell(PASSED, on(FAILED, pymongo="4.1", mod_wsgi="4.9.4"))
    assert comparison.compared == 0
    assert comparison.paired_without == ""


def test_cells_are_not_paired_across_if_some_are_in_both() -> None:
    old = run_record(on(PASSED, pymongo="4.19.0"), PASSED)
    new = run_record(PASSED, on(FAILED, pymongo="4.21.0"))
    comparison = compare(old, new)
    assert comparison.paired_without == ""
    assert comparison.compared == 1
    assert not comparison.worse


def test_two_cells_for_one_are_not_guessed_between() -> None:
    old = run_record(on(PASSED, pymongo="4.18.0"), on(PASSED, pymongo="4.19.0"))
    comparison = compare(old, run_record(FAILED))
    assert comparison.compared == 0
    assert len(comparison.only_old) == 2


def test_what_never_came_is_found_in_another_version_too() -> None:
    old = versions("4.19.0", PASSED, PASSED)
    new = versions("4.20.0", PASSED, PASSED)
    cut = msgspec.structs.replace(new, cells=new.cells[:1])
    (change,) = compare(old, cut).changed
    assert (change.old, change.now) == (old.planned[1], MISSING)


def test_a_patch_of_python_that_no_id_shows_is_said() -> None:
    comparison = one_cell(PASSED, on(PASSED, python="3.12.9"))
    assert comparison.same == 1
    assert shown(comparison)[0] == "Python: 3.12.1 in OLD, 3.12.9 in NEW."


def test_control_characters_stay_out_of_the_terminal() -> None:
    hostile = on(error(HOSTILE), app=f"/{HOSTILE}.py")
    lines = shown(one_cell(on(PASSED, app="/x.py"), hostile))
    assert control_characters("\n".join(lines)) == set()


# The command


# How often a process goes wrong at its end


def with_ends(crashed: int, ends: int, **axes: Any) -> CellRecord:
    """A cell of which so many process ends were crashes."""
    crashes = [{"signal": 11}] * crashed
    return on(record(observed=in_trials(*crashes, *[{"exit": 0}] * (ends - crashed))), **axes)


@pytest.mark.parametrize(
    ("old", "new", "chance", "worse"),
    [
        ((0, 40), (3, 40), 0.24, False),
        ((1, 40), (12, 40), 0.0015, True),
        ((12, 40), (1, 40), 0.0015, False),
        ((1, 2), (1, 2), 1.0, False),
    ],
)
def test_a_rate_that_changed_says_how_sure_that_is(
    old: tuple[int, int], new: tuple[int, int], chance: float, worse: bool
) -> None:
    comparison = one_cell(with_ends(*old), with_ends(*new))
    (rate,) = comparison.rates
    assert (rate.what, rate.cell, rate.old, rate.new) == ("crashed", CELL.id, old, new)
    assert rate.chance == pytest.approx(chance, rel=0.05)
    assert rate.worse is comparison.worse is worse


def test_rates_of_several_cells_are_compared_together_as_well() -> None:
    def run(crashed: int) -> RunRecord:
        cells = [with_ends(crashed, 14, mode=mode) for mode in Mode]
        return run_record(*cells)

    comparison = compare(run(1), run(6))
    assert [(one.cell == "", one.old, one.new) for one in comparison.rates] == [
        (False, (1, 14), (6, 14)),
        (False, (1, 14), (6, 14)),
        (True, (2, 28), (12, 28)),
    ]
    assert [one.worse for one in comparison.rates] == [False, False, True]
    assert shown(comparison)[2] == (
        "WORSE     all compared cells: 2 of 28 process ends crashed, now 12 of 28; chance alone "
        "does that with 0.43 %"
    )


def test_cells_in_which_every_process_ended_well_have_no_rates() -> None:
    assert one_cell(with_ends(0, 14), with_ends(0, 14)).rates == ()


def compared(tmp_path: Path, old: RunRecord, new: RunRecord, *options: str) -> tuple[int, str]:
    where = [str(saved(tmp_path / "old", old)), str(saved(tmp_path / "new", new))]
    result = CliRunner().invoke(cli, ["compare", *where, *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_the_exit_code_is_1_if_anything_got_worse(tmp_path: Path) -> None:
    code, text = compared(tmp_path, run_record(PASSED), run_record(FAILED))
    assert code == 1
    assert text.startswith(f"WORSE     {CELL.id}\n")


def test_the_exit_code_is_0_if_nothing_did(tmp_path: Path) -> None:
    code, text = compared(tmp_path, run_record(FAILED), run_record(PASSED))
    assert code == 0
    assert text.startswith(f"BETTER    {CELL.id}\n")


def test_the_comparison_as_json(tmp_path: Path) -> None:
    code, text = compared(
        tmp_path, versions("4.19.0", PASSED), versions("4.20.0", FAILED), "--json"
    )
    told = json.loads(text)
    assert code == 1
    assert (told["format"], told["worse"], told["compared"]) == (2, True, 1)
    assert told["paired_without"] == "pymongo"
    assert told["axes"] == [{"axis": "pymongo", "old": ["4.19.0"], "new": ["4.20.0"]}]
    (change,) = told["changed"]
    assert change["was"] == "pass"
    assert {check["check"] for check in change["checks"]} == {"responses", "crash", "shutdown"}


def test_nothing_to_compare_is_no_success(tmp_path: Path) -> None:
    old = saved(tmp_path / "old", run_record(PASSED))
    other: Cell = cell_with(CELL, pymongo="4.1", mod_wsgi="4.9.4")
    new = saved(tmp_path / "new", run_record(msgspec.structs.replace(PASSED, cell=other)))
    result = CliRunner().invoke(cli, ["compare", str(old), str(new)])
    assert isinstance(result.exception, UsageError)
    assert "there is nothing to compare" in str(result.exception)
