"""``wsgiproof show --rejudge``: recorded cells are judged again, and none is changed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from tests.cells import CELL, cell_with
from tests.unit.factories import RULES, observed, reading, record, samples
from wsgiproof.analysis.rejudge import RejudgedCell, differences, rejudge
from wsgiproof.cli import cli
from wsgiproof.errors import UsageError
from wsgiproof.judge.verdict import judge_record
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.run import CellRecord
from wsgiproof.records.writing import save
from wsgiproof.subjects.registry import rules_of

LEAKING = observed(samples=samples([[reading(threads=20 + 5 * number)] for number in range(26)]))
ERROR = record(
    cell=cell_with(CELL, pymongo="4.19.0"),
    verdict=Verdict.ERROR,
    reason="mongod did not start",
    checks=(),
    findings=(),
    observed=None,
)


def saved(directory: Path, *records: CellRecord) -> Path:
    """A run's output directory with these cells."""
    for one in records:
        cell = directory / "cells" / one.cell.id
        cell.mkdir(parents=True)
        save(one, cell / "cell.json")
    return directory


def judged(where: Path) -> Result:
    return CliRunner().invoke(cli, ["show", "--rejudge", str(where)])


def content(directory: Path) -> Mapping[Path, tuple[bytes, int]]:
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file()
    }


def passed_then(seen: Any = LEAKING, **cell: Any) -> CellRecord:
    """A record that says that all was well, as an older judge may have said."""
    changed = cell_with(CELL, **cell)
    fresh = record(seen, cell=changed)
    checks = tuple(msgspec.structs.replace(one, verdict=Verdict.PASS) for one in fresh.checks)
    return msgspec.structs.replace(
        fresh, verdict=Verdict.PASS, reason="14 checks", checks=checks, findings=()
    )


def test_what_was_judged_by_this_judge_comes_out_the_same(tmp_path: Path) -> None:
    done = judged(saved(tmp_path, record()))
    assert done.exit_code == 0
    assert CELL.id in done.output
    assert "Judged again: 1 cell, 1 pass." in done.output
    assert "Each check of each cell has the verdict that was recorded." in done.output
    assert f"Results: {tmp_path}" in done.output


def test_what_comes_out_otherwise_is_said_by_check(tmp_path: Path) -> None:
    where = saved(tmp_path, record(cell=cell_with(CELL, mod_wsgi="5.0.1")))
    saved(tmp_path, passed_then())
    before = content(where)
    done = judged(where)
    assert done.exit_code == 1
    assert "  threads: 125 threads leaked in 3,000 requests" in done.output
    assert "Different from the record:" in done.output
    assert f"  {CELL.id}  threads: pass in the record, fail now" in done.output.splitlines()
    assert done.output.count(" in the record, ") == 1, "the other cell failed before"
    assert content(where) == before, "nothing is written"


def test_a_cell_that_could_not_run_stays_as_it_is(tmp_path: Path) -> None:
    done = judged(saved(tmp_path, ERROR, record()))
    assert done.exit_code == 3
    assert "mongod did not start" in done.output
    assert "the verdict that was recorded." in done.output
    assert judge_record(ERROR, RULES) == ERROR


@pytest.mark.parametrize("part", ["", "cells/{}", "cells/{}/cell.json"])
def test_a_run_a_cell_and_a_record_can_be_named(part: str, tmp_path: Path) -> None:
    where = saved(tmp_path, record(LEAKING)) / part.format(CELL.id)
    (again,) = rejudge(where, rules_of)
    assert again.recorded == again.now == record(LEAKING)


def test_one_cell_of_a_run_can_be_judged_again(tmp_path: Path) -> None:
    other = cell_with(CELL, pymongo="4.19.0")
    where = saved(tmp_path, record(), record(LEAKING, cell=other))
    arguments = ["show", "--rejudge", str(where)]
    for pattern, code, line in (("*4.19*", 1, "1 fail"), (CELL.id, 0, "1 pass")):
        done = CliRunner().invoke(cli, [*arguments, pattern])
        assert (done.exit_code, f"Judged again: 1 cell, {line}." in done.output) == (code, True)
    with pytest.raises(UsageError, match=r"no recorded cell in .* matches 'nothing'; there is py"):
        CliRunner().invoke(cli, [*arguments, "nothing"], catch_exceptions=False)


def test_only_the_judgement_is_new(tmp_path: Path) -> None:
    old = passed_then()
    now = judge_record(old, RULES)
    fields = {
        name for name in CellRecord.__struct_fields__ if getattr(now, name) != getattr(old, name)
    }
    assert fields == {"verdict", "reason", "checks", "findings"}
    assert now.findings == record(LEAKING).findings


def test_a_check_that_was_not_there_yet_is_a_difference() -> None:
    new = record()
    old = msgspec.structs.replace(new, checks=new.checks[1:])
    assert list(differences(RejudgedCell(recorded=old, now=new))) == [
        "responses: missing in the record, pass now"
    ]


# What is wrong with the argument takes one line


def refused(where: Path) -> str:
    with pytest.raises(UsageError) as caught:
        rejudge(where, rules_of)
    message = str(caught.value)
    assert str(where) in message
    assert "\n" not in message
    return message


def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere").endswith("does not exist")


def test_a_directory_without_cells(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    assert "holds no recorded cell" in refused(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"no JSON", b"\xff\xfe\x00", b"[]", b"{}", b'{"format": 2, "cells": []}']
)
def test_what_is_no_record_of_a_cell(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    path.write_bytes(content)
    assert "is not the record of a cell" in refused(path)


def test_a_record_of_another_shape(tmp_path: Path) -> None:
    path = saved(tmp_path, record()) / "cells" / CELL.id / "cell.json"
    path.write_bytes(path.read_bytes().replace(b'"prefork"', b'"spoon"'))
    assert "spoon" in refused(path)


def test_a_record_of_another_format_is_named_before_anything_else_of_it(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    path.write_bytes(b'{"format": 3, "cell": {}}')
    assert refused(path).endswith("has format 3; this wsgiproof reads format 2")


def test_a_record_that_goes_away_or_is_a_directory(tmp_path: Path) -> None:
    where = saved(tmp_path, record())
    path = where / "cells" / CELL.id / "cell.json"
    shutil.rmtree(path.parent)
    path.mkdir(parents=True)
    with pytest.raises(UsageError, match="not a regular file"):
        rejudge(where, rules_of)
