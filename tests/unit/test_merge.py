"""One result directory out of several, and showing what is in one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from junitparser import JUnitXml

from tests.cells import CELL, cell_with
from tests.unit.factories import record, run_record
from tests.unit.test_report import FAILED, UNDECIDED, error
from wsgiproof.analysis.merge import merge
from wsgiproof.cli import cli
from wsgiproof.cli import commands as every_command
from wsgiproof.errors import CannotRun, WsgiproofError
from wsgiproof.records.cell import Cell, Mode
from wsgiproof.records.reading import load_run
from wsgiproof.records.run import CellRecord, Excluded, RunRecord
from wsgiproof.records.writing import save
from wsgiproof.report.files import write_reports

STARTED = "2026-11-23T05:43:59+00:00"
LATER = "2026-11-24T05:43:59+00:00"


def saved(directory: Path, run: RunRecord) -> Path:
    """A run's output directory."""
    directory.mkdir(parents=True)
    for one in run.cells:
        cell = directory / one.directory
        cell.mkdir(parents=True)
        save(one, cell / "cell.json")
        (cell / "error.log").write_text(f"{one.verdict} {one.cell.id}")
    save(run.to_json(), directory / "results.json")
    return directory


def on(one: CellRecord, **axes: Any) -> CellRecord:
    cell: Cell = cell_with(one.cell, **axes)
    return msgspec.structs.replace(one, cell=cell, directory=f"cells/{cell.id}")


DAEMON, EMBEDDED = record(), on(record(), mode=Mode.EMBEDDED)
ALWAYS = ("70", "130", "141")
IDS = (DAEMON.cell.id, EMBEDDED.cell.id)


def content(directory: Path) -> Mapping[Path, tuple[bytes, int]]:
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file()
    }


def called(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(one) for one in arguments])


def refused(*arguments: str | Path) -> str:
    """The one line of what is wrong."""
    result = called(*arguments)
    assert isinstance(result.exception, WsgiproofError), result.output
    assert result.output == ""
    assert "\n" not in str(result.exception)
    return str(result.exception)


# Merging


def test_two_shards_become_one_run(tmp_path: Path) -> None:
    first = saved(tmp_path / "1", run_record(EMBEDDED, planned=(IDS[1],), command="first"))
    second = saved(tmp_path / "2", run_record(DAEMON, started=LATER, command="second"))
    before = content(tmp_path)
    done = called("merge", first, second, "--output", tmp_path / "whole")
    assert done.exit_code == 0
    assert "The run is complete: 2 cells, 2 pass." in done.output
    whole = load_run(tmp_path / "whole")
    assert whole.planned == (IDS[1], IDS[0])
    assert [cell.cell.id for cell in whole.cells] == [IDS[1], IDS[0]]
    assert (whole.command, whole.started, whole.complete) == ("first", STARTED, True)
    assert (tmp_path / "whole" / DAEMON.directory / "error.log").read_text() == f"pass {IDS[0]}"
    assert (tmp_path / "whole").stat().st_mode & 0o777 == 0o700
    assert {path: before[path] for path in before} == {
        path: read for path, read in content(tmp_path).items() if "whole" not in path.parts
    }


def test_the_exit_code_is_that_of_a_run(tmp_path: Path) -> None:
    first = saved(tmp_path / "1", run_record(DAEMON))
    for one, code in ((FAILED, 1), (UNDECIDED, 3), (error(), 3)):
        other = saved(tmp_path / one.verdict, run_record(on(one, mode=Mode.EMBEDDED)))
        output = tmp_path / f"whole-{one.verdict}"
        assert called("merge", first, other, "--output", output).exit_code == code


def test_what_never_came_is_told_and_is_no_success(tmp_path: Path) -> None:
    first = saved(tmp_path / "1", run_record(DAEMON, planned=(*IDS, "py3.13t"), complete=False))
    second = saved(tmp_path / "2", run_record(EMBEDDED))
    done = called("merge", first, second, "--output", tmp_path / "whole")
    assert done.exit_code == 3
    assert "The run is not complete: 2 cells, 2 pass." in done.output
    assert done.output.splitlines().count("Planned and never ran: py3.13t") == 1
    assert not load_run(tmp_path / "whole").complete
    failed = saved(tmp_path / "3", run_record(on(FAILED, pymongo="4.1")))
    again = called("merge", first, failed, "--output", tmp_path / "whole2")
    assert again.exit_code == 1, "a finding outweighs what never came"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_one_cell_in_two_shards_the_later_is_taken_and_said(
    order: tuple[int, int], tmp_path: Path
) -> None:
    shards = (
        saved(tmp_path / "old", run_record(FAILED)),
        saved(tmp_path / "new", run_record(DAEMON, started=LATER)),
    )
    done = called("merge", *(shards[at] for at in order), "--output", tmp_path / "whole")
    assert done.exit_code == 0
    assert (
        f"{CELL.id} is in {shards[0]} (fail) and in {shards[1]} (pass); "
        "the latter is used, since it was started later"
    ) in done.output.splitlines()
    assert (tmp_path / "whole" / DAEMON.directory / "error.log").read_text() == f"pass {IDS[0]}"


def test_two_cells_of_one_name_are_not_merged(tmp_path: Path) -> None:
    first = saved(tmp_path / "1", run_record(DAEMON))
    second = saved(tmp_path / "2", run_record(on(DAEMON, python="3.12.9")))
    told = refused("merge", first, second, "--output", tmp_path / "whole")
    assert told == f"two different cells have the id {CELL.id}: python is 3.12.1 or 3.12.9"
    assert not (tmp_path / "whole").exists()


def test_cells_of_two_apaches_are_never_taken_for_one(tmp_path: Path) -> None:
    debians = {"httpd": "2.4.71", "httpd_path": "/usr/sbin/apache2"}
    built = {"httpd": "2.4.69", "httpd_path": "mod_wsgi-httpd"}
    alone = [
        saved(tmp_path / f"alone-{one['httpd']}", run_record(on(DAEMON, **one)))
        for one in (debians, built)
    ]
    told = refused("merge", *alone, "--output", tmp_path / "never")
    assert "httpd is 2.4.71 or 2.4.69" in told
    shards = [
        saved(tmp_path / one["httpd"], run_record(on(DAEMON, **one, httpd_name=one["httpd"])))
        for one in (debians, built)
    ]
    record = merge(shards, tmp_path / "whole").record
    assert {one.cell.httpd_path for one in record.cells} == {"/usr/sbin/apache2", "mod_wsgi-httpd"}


def test_excluded_is_what_no_shard_has(tmp_path: Path) -> None:
    never = Excluded(axes={"python": "3.13t", "mode": "daemon"}, reason="no such Python")
    not_here = Excluded(axes={"python": "3.12.1", "mode": "embedded"}, reason="it is not selected")
    elsewhere = Excluded(axes={"python": "3.14", "mode": "daemon"}, reason="r", cell="py3.14")
    shards = (
        run_record(DAEMON, excluded=(never, not_here, elsewhere)),
        run_record(EMBEDDED, excluded=(never,), planned=(IDS[1], "py3.14")),
    )
    where = [saved(tmp_path / f"{number}", one) for number, one in enumerate(shards)]
    assert merge(where, tmp_path / "whole").record.excluded == (never,)


def test_a_value_that_was_left_open_is_not_any_value(tmp_path: Path) -> None:
    open_one = Excluded(axes={"python": "3.12.1", "pymongo": ""}, reason="r")
    by_name = Excluded(axes={"python": "3.12t"}, reason="r")
    run = run_record(on(DAEMON, python_name="3.12t"), excluded=(open_one, by_name))
    assert merge([saved(tmp_path / "1", run)], tmp_path / "whole").record.excluded == (open_one,)


def test_machines_that_differ_are_both_told(tmp_path: Path) -> None:
    where = [
        saved(tmp_path / name, run_record(one, host={"system": name, "user": "www-data"}))
        for name, one in (("amd64", DAEMON), ("arm64", EMBEDDED))
    ]
    host = merge(where, tmp_path / "whole").record.host
    assert host == {"system": "amd64; arm64", "user": "www-data"}


def test_results_are_never_written_over(tmp_path: Path) -> None:
    first = saved(tmp_path / "1", run_record(DAEMON))
    before = content(tmp_path)
    assert "already holds results" in refused("merge", first, "--output", first)
    assert content(tmp_path) == before


@pytest.mark.parametrize("directory", ["../../etc", "/etc", "cells", "cells/..", "cells/a/b", ""])
def test_a_record_names_no_place_outside_of_its_run(directory: str, tmp_path: Path) -> None:
    first = saved(tmp_path / "1", run_record(DAEMON))
    bad = msgspec.structs.replace(DAEMON, directory=directory)
    save(bad, first / DAEMON.directory / "cell.json")
    told = refused("merge", first, "--output", tmp_path / "whole")
    assert f"names '{directory}' as its directory" in told
    assert not (tmp_path / "whole" / "results.json").exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    first = saved(tmp_path / "1", run_record(DAEMON))
    (first / DAEMON.directory / "link").symlink_to("/etc")
    merge([first], tmp_path / "whole")
    assert (tmp_path / "whole" / DAEMON.directory / "error.log").is_file()
    assert not os.path.lexists(tmp_path / "whole" / DAEMON.directory / "link")


# Showing


def test_a_run_is_shown_as_it_was(tmp_path: Path) -> None:
    excluded = tuple(Excluded(axes={"python": str(at)}, reason="no GIL") for at in range(2))
    run = run_record(FAILED, planned=(*IDS,), excluded=excluded, complete=False)
    done = called("show", saved(tmp_path / "1", run))
    assert done.exit_code == 1
    lines = done.output.splitlines()
    for finding in FAILED.findings:
        assert f"  {finding.check}: {finding.seen}" in lines
    assert "The run is not complete: 1 cell, 1 fail." in lines
    assert f"Planned and never ran: {IDS[1]}" in lines
    assert "Excluded: 2 combinations, no GIL" in lines


@pytest.mark.parametrize(("one", "code"), [(DAEMON, 0), (FAILED, 1), (UNDECIDED, 3)])
def test_the_exit_code_of_show_is_that_of_the_run(
    one: CellRecord, code: int, tmp_path: Path
) -> None:
    assert called("show", saved(tmp_path / "1", run_record(one))).exit_code == code


def test_a_run_in_which_nothing_came_is_shown(tmp_path: Path) -> None:
    done = called("show", saved(tmp_path / "1", run_record(planned=IDS, complete=False)))
    assert done.exit_code == 3
    assert "The run is not complete: 0 cells." in done.output


@pytest.mark.parametrize("pattern", [IDS[1], "*-embedded-*"])
def test_one_cell_can_be_shown(pattern: str, tmp_path: Path) -> None:
    where = saved(tmp_path / "1", run_record(FAILED, EMBEDDED))
    done = called("show", where, pattern)
    assert done.exit_code == 0
    assert IDS[1] in done.output
    assert IDS[0] not in done.output


def test_a_cell_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    where = saved(tmp_path / "1", run_record(DAEMON, EMBEDDED))
    told = refused("show", where, IDS[1].replace("embedded", "embeded"))
    assert told.endswith(f"; the nearest is {IDS[1]}")
    nothing = saved(tmp_path / "2", run_record())
    assert refused("show", nothing, "x").endswith(": it has no cells")


def test_a_run_as_json_is_its_results(tmp_path: Path) -> None:
    where = saved(tmp_path / "1", run_record(FAILED, EMBEDDED))
    done = called("show", where, "--json")
    assert done.exit_code == 1
    told = json.loads(done.output)
    figures = [cell.pop("figures") for cell in told["cells"]]
    assert told == json.loads((where / "results.json").read_text())
    assert figures[0]["requests_per_second"] == {"value": 1234.5, "low": None, "high": None}
    (cell,) = json.loads(called("show", where, "--json", IDS[1]).output)["cells"]
    assert cell["id"] == IDS[1]


@pytest.mark.parametrize("command", ["show", "merge", "compare"])
@pytest.mark.parametrize(
    ("write", "words"),
    [
        (None, "holds no run"),
        (b"", "is not the record of a run"),
        (b'{"format": 7}', "has format 7; this wsgiproof reads format 2"),
        (b'{"format": 2}', "is not the record of a run"),
    ],
)
def test_what_is_no_run_is_one_line(
    command: str, write: bytes | None, words: str, tmp_path: Path
) -> None:
    if write is not None:
        (tmp_path / "results.json").write_bytes(write)
    more: dict[str, list[str | Path]] = {
        "show": [],
        "merge": ["--output", tmp_path / "out"],
        "compare": [tmp_path],
    }
    assert words in refused(command, tmp_path, *more[command])
    assert not (tmp_path / "out").exists()


# Reports in files


def test_reports_can_be_made_of_a_recorded_run(tmp_path: Path) -> None:
    where = saved(tmp_path / "1", run_record(FAILED, EMBEDDED))
    junit, summary = tmp_path / "new" / "junit.xml", tmp_path / "summary.md"
    done = called("show", where, "--junit", junit, "--summary", summary)
    assert done.exit_code == 1
    assert f"the directory {junit.parent} did not exist, and was made for junit.xml" in done.output
    (suite,) = JUnitXml.fromfile(str(junit))
    assert (suite.tests, suite.failures) == (2, 1)
    assert summary.read_text().startswith("## wsgiproof: 1 of 2 cells failed\n")


def test_merge_writes_reports_and_the_summary_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = tmp_path / "step.md"
    step.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    where = saved(tmp_path / "1", run_record(DAEMON))
    assert called("show", where).exit_code == 0
    assert step.read_text() == "before\n", "show tells what was told before"
    junit = tmp_path / "junit.xml"
    called("merge", where, "--output", tmp_path / "whole", "--junit", junit)
    assert step.read_text().startswith("before\n## wsgiproof: 1 cell passed\n")
    assert junit.exists()


@pytest.mark.parametrize("option", ["--junit", "--summary"])
def test_a_report_that_can_not_be_written_is_one_line(option: str, tmp_path: Path) -> None:
    where = saved(tmp_path / "1", run_record(DAEMON))
    for bad in (where, where / "results.json" / "x"):
        assert f"{bad} can't be written: " in refused("show", where, option, bad)


def test_a_job_summary_that_can_not_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    with pytest.raises(CannotRun, match=r"\(GITHUB_STEP_SUMMARY\) can't be written"):
        write_reports(run_record(DAEMON), None, None, print)


def test_a_report_replaces_what_a_link_points_to(tmp_path: Path) -> None:
    real, link = tmp_path / "real.xml", tmp_path / "link.xml"
    real.write_text("old")
    link.symlink_to(real)
    write_reports(run_record(DAEMON), link, None, print)
    assert link.is_symlink()
    assert real.read_bytes().startswith(b"<?xml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.xml", "real.xml"]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """As any device must be. Never tried on a real one: as root, a failure would destroy it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_reports(run_record(DAEMON), None, pipe, print)
        assert pipe.is_fifo()
        assert os.read(reader, 1 << 16).startswith(b"## wsgiproof: 1 cell passed")
    finally:
        os.close(reader)


# Help


@pytest.mark.parametrize(
    ("command", "codes"),
    [("show", ["0", "1", "2", "3", *ALWAYS]), ("merge", ["0", "1", "2", "3", *ALWAYS]),
     ("compare", ["0", "1", "2", *ALWAYS])],
)  # fmt: skip
def test_the_help_has_examples_and_exit_codes(command: str, codes: list[str]) -> None:
    text = CliRunner().invoke(cli, [command, "--help"], prog_name="wsgiproof").output
    lines = [line.strip() for line in text.splitlines()]
    told = [line.split()[0] for line in lines[lines.index("Exit codes:") + 1 :]]
    assert told == codes
    examples = [line.split()[1:] for line in lines if line.startswith("wsgiproof ")]
    assert len(examples) >= 2
    for name, *arguments in examples:
        words = [word.strip("'") for word in arguments]
        every_command()[name].make_context(name, words).close()
