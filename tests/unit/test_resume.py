"""Going on with a run: what is kept, what is run again, and that nothing is lost or doubled."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tests.cells import CELL, cell_with
from tests.unit.factories import observed, record, run_record
from wsgiproof.errors import UsageError
from wsgiproof.provision.toolchain import BuildSpec, Python, Source
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.plan import LoadPlan
from wsgiproof.records.reading import check_planned, load_run, reopen_output
from wsgiproof.records.run import CellRecord, Excluded, RunRecord
from wsgiproof.records.writing import Results, keep, make_output, save
from wsgiproof.run.cell import Job, put_aside
from wsgiproof.run.session import _until_failure, split

PYTHON = Python(
    version="3.12.1", path="/p", prefix="/", shared=True, headers=True, stdlib="/l",
    free_threaded=False, name="3.12",
)  # fmt: skip
PARTS = BuildSpec(
    python=PYTHON,
    mod_wsgi=Source(version="5.0.2"),
    packages={"pymongo": Source(version="4.20.0")},
)
KEPT = (Verdict.PASS, Verdict.KNOWN, Verdict.FAIL, Verdict.INCONCLUSIVE)
ENDINGS = ("", "-1", "-1-1", "x4")
"""Of names, such that one cell is called as a try of another might be."""


def job(number: int, **changes: Any) -> Job:
    cell = cell_with(CELL, mongodb=f"m{ENDINGS[number % 4]}", pymongo=f"4.{number}")
    made = Job(
        cell=cell, spec=PARTS, backend="mongodb://127.0.0.1/", rerun="wsgiproof run",
        plan=LoadPlan(parallel=1, serial=1, connections=1, round=1), inputs=f"inputs-{number}",
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def ended(one: Job, verdict: Verdict, reason: str = "", **changes: Any) -> CellRecord:
    made = CellRecord(
        cell=one.cell, verdict=verdict, reason=reason, rerun=one.rerun, inputs=one.inputs,
        directory=f"cells/{one.cell.id}", tries=one.tries,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def files(directory: Path) -> Mapping[str, bytes]:
    found = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def directory_of(one: Job, output: Path) -> Path:
    return output / "cells" / one.cell.id


# What may lie there of one cell

BROKEN = {
    "empty": {},
    "cut off in the middle": {"cell.json": b'{"format": 2, "cell": {"pyth', "error.log": b"x"},
    "empty record": {"cell.json": b""},
    "not written yet": {"cell.json.part": b'{"format": 2', "httpd.conf": b"x"},
    "no UTF-8": {"cell.json": b'"\xff"'},
    "another format": {"cell.json": b'{"format": 99}'},
    "no record": {"cell.json": b'{"format": 2}'},
}
STATES = (
    some.just(("nothing", ""))
    | some.tuples(some.sampled_from(Verdict), some.sampled_from(["same", "other"]))
    | some.sampled_from([(state, "") for state in BROKEN])
)
TRIED = some.lists(some.sampled_from(["same", "other", "cut off in the middle"]), max_size=3)


def lay(one: Job, state: tuple[str, str], tried: Sequence[str], output: Path) -> None:
    """Leave of ``one`` what an earlier run may have left, after tries that ended in error."""
    for number, kind in enumerate(tried):
        leave(one, (Verdict.ERROR, kind) if kind not in BROKEN else (kind, ""), output, number)
        put_aside(directory_of(one, output), output)
    leave(one, state, output, len(tried))


def leave(one: Job, state: tuple[str, str], output: Path, number: int) -> None:
    what, inputs = state
    directory = directory_of(one, output)
    if what == "nothing":
        return
    if what in BROKEN:
        directory.mkdir(parents=True)
        for name, content in BROKEN[what].items():
            (directory / name).write_bytes(content)
        return
    left = ended(one, Verdict(what), f"reason {number}")
    if inputs == "other":
        left = msgspec.structs.replace(left, inputs="others")
    keep(left, output)
    (directory / "error.log").write_text(f"log {number}")


@settings(deadline=None, derandomize=True, max_examples=80)
@given(some.lists(some.tuples(STATES, TRIED), max_size=5))
def test_what_is_there_and_what_is_left_are_all_jobs(
    left_behind: list[tuple[tuple[str, str], list[str]]],
) -> None:
    jobs = [job(number) for number in range(len(left_behind))]
    with tempfile.TemporaryDirectory(prefix="wsgiproof-test-") as scratch:
        output = Path(scratch)
        for one, (state, tried) in zip(jobs, left_behind, strict=True):
            lay(one, state, tried, output)
        before = files(output / "tries")
        done, left = split(jobs, output)

        kept = {record.cell.id for record in done}
        assert [one.cell for one in jobs if one.cell.id in kept] == [one.cell for one in done]
        assert [one.cell for one in jobs if one.cell.id not in kept] == [one.cell for one in left]
        after = files(output / "tries")
        assert {name: after[name] for name in before} == before, "a try is never written over"
        for one, (state, tried) in zip(jobs, left_behind, strict=True):
            check(one, state, tried, done, left, output)
        assert split(jobs, output) == (done, left), "to look again changes nothing"


def check(
    one: Job,
    state: tuple[str, str],
    tried: Sequence[str],
    done: Sequence[CellRecord],
    left: Sequence[Job],
    output: Path,
) -> None:
    what, inputs = state
    reasons = tuple(f"reason {number}" for number, kind in enumerate(tried) if kind == "same")
    aside = output / "tries" / f"{one.cell.id}-{len(tried) + 1}"
    if what in KEPT and inputs == "same":
        (record,) = (record for record in done if record.cell == one.cell)
        assert record == ended(one, Verdict(what), f"reason {len(tried)}")
        assert directory_of(one, output).is_dir()
        return
    (again,) = (job for job in left if job.cell == one.cell)
    assert not directory_of(one, output).exists()
    if (what, inputs) == (Verdict.ERROR, "same"):
        reasons = (*reasons, f"reason {len(tried)}")
        assert (aside / "error.log").read_text() == f"log {len(tried)}"
    else:
        assert not aside.exists(), "only what ended in error is a try"
    assert again == msgspec.structs.replace(one, tries=reasons)


def test_a_try_is_not_forgotten_where_the_next_one_is_cut_off(tmp_path: Path) -> None:
    one = job(0)
    keep(ended(one, Verdict.ERROR, "no mongod"), tmp_path)
    _, (again,) = split([one], tmp_path)
    assert again.tries == ("no mongod",)
    leave(one, ("cut off in the middle", ""), tmp_path, 0)
    _, (again,) = split([one], tmp_path)
    assert again.tries == ("no mongod",)
    keep(ended(again, Verdict.ERROR, "no Apache"), tmp_path)
    _, (again,) = split([one], tmp_path)
    assert again.tries == ("no mongod", "no Apache")
    assert len(list((tmp_path / "tries").iterdir())) == 2
    keep(ended(again, Verdict.PASS), tmp_path)
    (done,), left = split([one], tmp_path)
    assert (done.tries, left) == (("no mongod", "no Apache"), [])


def test_only_the_directory_of_a_run_can_be_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no run: it has no results\.json"):
        reopen_output(tmp_path)
    (tmp_path / "results.json").write_text('{"format": 99}')
    with pytest.raises(UsageError, match="has format 99; this wsgiproof reads format 2"):
        reopen_output(tmp_path)


# --fail-fast


class Given:
    """Records as they come, and whether their iterator was closed."""

    def __init__(self, records: Sequence[CellRecord]) -> None:
        self.given = 0
        self.closed = False
        self._records = records

    def __call__(self) -> Generator[CellRecord, None, None]:
        try:
            for one in self._records:
                self.given += 1
                yield one
        finally:
            self.closed = True


@settings(deadline=None, derandomize=True, max_examples=60)
@given(some.lists(some.sampled_from([*KEPT, Verdict.ERROR]), max_size=6), some.randoms())
def test_the_first_failure_is_the_last_that_is_run(verdicts: list[Verdict], order: Any) -> None:
    jobs = [job(number) for number in range(len(verdicts))]
    records = [ended(one, verdict) for one, verdict in zip(jobs, verdicts, strict=True)]
    order.shuffle(records)  # several run at once, and end as they like
    source = Given(records)
    with tempfile.TemporaryDirectory(prefix="wsgiproof-test-") as scratch:
        output = Path(scratch)
        made = list(_until_failure(source(), jobs, output))
        seen = [one.verdict for one in records]
        ran = seen.index(Verdict.FAIL) + 1 if Verdict.FAIL in seen else len(seen)
        assert made[:ran] == records[:ran]
        assert (source.given, source.closed) == (ran, True)
        assert {one.cell.id for one in made} == {one.cell.id for one in jobs}
        assert len(made) == len(jobs)
        for skipped in made[ran:]:
            assert skipped.verdict is Verdict.SKIPPED
            assert "--fail-fast" in skipped.reason
            assert (output / skipped.directory / "cell.json").is_file()
        _, left = split([one for one in jobs if one.cell in [s.cell for s in made[ran:]]], output)
        assert [one.tries for one in left] == [()] * (len(jobs) - ran), "and resumed, they are run"


# What is written is what is read

_TEXTS = some.text(max_size=20)
_RECORDS = some.builds(
    lambda reason, verdict, tries, seen: record(
        seen, verdict=verdict, reason=reason, tries=tuple(tries), inputs="abc"
    ),
    _TEXTS,
    some.sampled_from(Verdict),
    some.lists(_TEXTS, max_size=2),
    some.builds(
        lambda text, number: observed(budget_exhausted=text, fatal_traces=(text,), requests=number),
        _TEXTS,
        some.integers(0, 2**60),
    ),
)
_RUNS = some.builds(
    lambda cells, excluded, host, command: run_record(
        *(
            msgspec.structs.replace(one, cell=cell, directory=f"cells/{cell.id}")
            for one, cell in zip(cells, (job(number).cell for number in range(3)), strict=False)
        ),
        excluded=tuple(Excluded(axes={"mode": text}, reason=text) for text in excluded),
        host=host,
        command=command,
        planned=("never came",),
    ),
    some.lists(_RECORDS, max_size=3),
    some.lists(_TEXTS, max_size=2),
    some.dictionaries(_TEXTS, _TEXTS, max_size=2),
    _TEXTS,
)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(_RUNS)
def test_a_run_is_read_as_it_was_written(run: RunRecord) -> None:
    with tempfile.TemporaryDirectory(prefix="wsgiproof-test-") as scratch:
        output = make_output(Path(scratch) / "out")
        begun = msgspec.structs.replace(run, cells=(), complete=False, finished=None)
        results = Results(begun, output)
        assert load_run(output) == begun
        for number, cell in enumerate(run.cells, 1):
            (output / cell.directory).mkdir(parents=True)
            save(cell, output / cell.directory / "cell.json")
            results.add(cell)
            so_far = load_run(output)
            assert so_far == msgspec.structs.replace(begun, cells=run.cells[:number])
        whole = results.finish()
        assert whole.complete
        assert whole.finished
        assert load_run(output) == whole
        assert whole == msgspec.structs.replace(run, finished=whole.finished)


def test_a_run_is_not_resumed_without_some_of_its_cells(tmp_path: Path) -> None:
    output = make_output(tmp_path / "out")
    jobs = [job(number) for number in range(3)]
    ids = [one.cell.id for one in jobs]
    Results(run_record(planned=tuple(ids), command="wsgiproof run --mode daemon"), output)
    check_planned(output, ids)
    check_planned(output, [*ids, "another"])
    with pytest.raises(UsageError, match=f"has 1 of 3 cells .* such as {ids[1]}: .*--mode daemon"):
        check_planned(output, [ids[0], ids[2]])
    (output / "results.json").unlink()
    check_planned(output, ids[:1])  # nobody knows what was planned
