"""Cells on a Dask cluster: real workers, which answer at once."""

from __future__ import annotations

import http.client
import logging
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import msgspec
import psutil
import pytest

from tests.cells import CELL, cell_with
from tests.dask import pretended
from tests.unit.test_resume import job as planned
from wsgiproof.config.model import Config
from wsgiproof.errors import CannotRun, UsageError
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.reading import load_run, read_cells
from wsgiproof.records.run import CellRecord
from wsgiproof.records.writing import make_output
from wsgiproof.run.cell import Job, NullWatcher
from wsgiproof.run.executors import dask_cluster
from wsgiproof.run.executors.base import run_jobs
from wsgiproof.run.executors.dask_cells import Cells
from wsgiproof.run.executors.dask_cluster import DaskCluster, connected
from wsgiproof.run.executors.dask_worker import Sealed

SECRET = "a-password-that-nobody-may-see"


class Seen(NullWatcher):
    """Takes down what a user would see."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.finished: list[str] = []
        self.steps: list[str] = []

    def begin(self, cells: Sequence[Cell], output: Path, slots: int) -> None:
        raise AssertionError("it is the session that begins")

    def cell_started(self, cell: Cell) -> None:
        self.started.append(cell.id)

    def step(self, cell: Cell, text: str) -> None:
        self.steps.append(text)

    def cell_finished(self, record: CellRecord) -> None:
        self.finished.append(record.cell.id)


def job(number: int, *, control: str = "", home: str = "") -> Job:
    one = planned(number, backend=f"mongodb://user:{SECRET}@10.0.0.9/")
    cell = msgspec.structs.replace(
        cell_with(CELL, pymongo=f"4.{number}"), control=control, python_name=f"3.12-{number}"
    )
    spec = msgspec.structs.replace(one.spec, home=home)
    return msgspec.structs.replace(one, cell=cell, spec=spec)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return make_output(tmp_path / "out")


def cluster(client: Any, output: Path, seen: Seen | None = None) -> DaskCluster[Job, CellRecord]:
    notes: list[str] = []
    cells = Cells(Config(), output, seen or Seen())
    return DaskCluster(client, cells, notes.append, function=pretended.answer)


def test_each_cell_is_run_once_and_its_files_come_back(
    client: Any, output: Path, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    jobs = [job(number, home=str(notes)) for number in range(30)]
    seen = Seen()
    executor = cluster(client, output, seen)
    records = list(run_jobs(jobs, executor))
    ids = {one.cell.id for one in jobs}
    assert {one.cell.id for one in records} == ids
    assert len(records) == len(ids) == len(seen.finished)
    assert sorted(seen.started) == sorted(seen.finished)
    pids = [(notes / id).read_text().split() for id in ids]
    assert all(len(one) == 1 for one in pids)
    assert {name for (name,) in pids} == {name.removeprefix("host-") for name in executor.hosts()}
    assert len(executor.hosts()) == 2
    by_id = {one.cell.id: one for one in jobs}
    for record in records:
        one = by_id[record.cell.id]
        assert (record.inputs, record.rerun, record.cell) == (one.inputs, one.rerun, one.cell)
        assert record.host["name"] in executor.hosts()
        assert read_cells(output / record.directory) == [record]
        assert (output / record.directory / "error.log").read_text() == "a line\n"
    assert sorted(path.name for path in output.iterdir()) == ["cells"]


def test_a_file_is_sent_once_to_each_worker(client: Any, tmp_path: Path) -> None:
    app, notes = tmp_path / "site.py", list[str]()
    app.write_text(f"# {tmp_path}\n")
    jobs = [
        msgspec.structs.replace(one, cell=msgspec.structs.replace(one.cell, app=str(app)))
        for one in map(job, range(10))
    ]
    for number in range(3):
        cells = Cells(Config(), make_output(tmp_path / str(number)), Seen())
        executor = DaskCluster(client, cells, notes.append, function=pretended.answer)
        assert {one.verdict for one in run_jobs(jobs, executor)} == {Verdict.PASS}
    assert notes == [], "a worker refuses what it has already, and a cell whose file it has not"


def test_a_cell_that_was_lost_with_its_worker_is_tried_elsewhere(
    client: Any, output: Path, tmp_path: Path
) -> None:
    once, always, healthy = (
        job(number, control=control, home=str(tmp_path))
        for number, control in enumerate(("kill-worker-once", "kill-worker", ""))
    )
    executor = cluster(client, output)
    records = {one.cell.id: one for one in run_jobs([once, always, healthy], executor)}
    assert len(records) == 3
    assert records[healthy.cell.id].verdict is Verdict.PASS
    saved = records[once.cell.id]
    assert (saved.verdict, len(saved.tries)) == (Verdict.PASS, 1)
    assert "was lost" in saved.tries[0]
    given_up = records[always.cell.id]
    assert (given_up.verdict, len(given_up.tries)) == (Verdict.ERROR, 2)
    workers = (tmp_path / always.cell.id).read_text().split()
    assert len(workers) == len(set(workers)) == 3, "at most twice elsewhere"
    assert len(list((output / "tries").iterdir())) == 3


def test_a_worker_whose_disk_is_full_costs_one_cell_and_gets_no_more(
    client: Any, output: Path, tmp_path: Path
) -> None:
    full = job(0, control="fill-disk-once", home=str(tmp_path))
    others = [job(number, home=str(tmp_path)) for number in range(1, 12)]
    executor = cluster(client, output)
    records = {one.cell.id: one for one in run_jobs([full, *others], executor)}
    assert {one.verdict for one in records.values()} == {Verdict.PASS}
    assert [one.cell for one in records.values() if one.tries] == [full.cell]
    (why,) = records[full.cell.id].tries
    assert why.endswith("only 1 MB are free")
    client.restart()  # they forget that one of them is full


def test_a_cell_that_can_run_nowhere_is_an_error_at_once(client: Any, output: Path) -> None:
    nowhere, other = job(0, home="nowhere"), job(1)
    records = {one.cell.id: one for one in run_jobs([nowhere, other], cluster(client, output))}
    record = records[nowhere.cell.id]
    assert record.verdict is Verdict.ERROR
    assert pretended.NOWHERE in record.reason
    assert record.reason.startswith("no worker can run this cell: host-")
    assert read_cells(output / record.directory) == [record]
    assert records[other.cell.id].verdict is Verdict.PASS


def test_a_damaged_archive_is_no_result_and_writes_nothing(client: Any, output: Path) -> None:
    (record,) = run_jobs([job(0, control="damaged")], cluster(client, output))
    assert record.verdict is Verdict.ERROR
    assert "an archive of a cell names" in record.reason
    assert not (output.parent / "x").exists()
    assert not (output / "x").exists()


def test_no_log_and_no_dashboard_shows_what_a_cell_is_given(client: Any, output: Path) -> None:
    (record,) = run_jobs([job(0, control="raise")], cluster(client, output))
    assert record.verdict is Verdict.ERROR
    logs = str(client.get_worker_logs()) + str(client.get_scheduler_logs())
    assert "Compute Failed" in logs, "Dask logs a function that fails"
    assert SECRET not in logs
    assert SECRET not in str(client.get_events())
    assert SECRET not in repr(Sealed(SECRET))
    for path in output.rglob("*"):
        assert not path.is_file() or SECRET not in path.read_text()


def test_closing_the_results_cancels_what_runs(client: Any, output: Path) -> None:
    jobs = [job(0), *(job(number, control="wait") for number in range(1, 4))]
    with closing(run_jobs(jobs, cluster(client, output))) as records:
        assert next(records).verdict is Verdict.PASS
        started = time.monotonic()
    assert time.monotonic() - started < 60
    assert not [path for path in (output / "cells").iterdir() if path.name != jobs[0].cell.id]
    client.restart()  # they would sleep on, since the pretended function looks at nothing


def test_three_hundred_cells_leave_nothing_in_memory(client: Any, output: Path) -> None:
    cells = 300
    executor = cluster(client, output)
    before = psutil.Process().memory_info().rss
    for record in run_jobs([job(number) for number in range(cells)], executor):
        assert record.verdict is Verdict.PASS
    assert psutil.Process().memory_info().rss - before < 100 << 20
    keys = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
    assert keys <= 4


@pytest.mark.parametrize(
    ("worker", "why"),
    [
        ({"host": {"python": "3.11.2.final.0"}, "packages": {"wsgiproof": "1.0"}}, ""),
        ({"host": {"python": "3.11.3.final.0"}, "packages": {"wsgiproof": "1.0"}},
         "runs on Python 3.11.3, and this on 3.11.2"),
        ({"host": {"python": "3.11.2.final.0"}, "packages": {"wsgiproof": "0.9"}},
         "has wsgiproof 0.9, and this is 1.0"),
        ({"host": {"python": "3.11.2.final.0"}, "packages": {}}, "has no wsgiproof"),
        ("it did not answer", "does not say which versions it has"),
    ],
)  # fmt: skip
def test_other_versions_are_refused_in_one_line(
    client: Any, output: Path, monkeypatch: pytest.MonkeyPatch, worker: Any, why: str
) -> None:
    ours = {"host": {"python": "3.11.2.final.0"}, "packages": {"wsgiproof": "1.0"}}
    (address, other) = client.nthreads()
    versions = {"client": ours, "workers": {address: worker, other: ours}}
    monkeypatch.setattr(client, "get_versions", lambda packages: versions)
    if not why:
        assert cluster(client, output).slots == 2
        return
    with pytest.raises(CannotRun, match=f"the worker {address} {why}"):
        cluster(client, output)


def test_bad_addresses_and_schedulers_that_are_gone() -> None:
    with pytest.raises(UsageError, match="give 'local', or the address"), connected("a b", 1):
        pass
    with (
        pytest.raises(CannotRun, match="no Dask scheduler answers at tcp://127"),
        connected("tcp://127.0.0.1:1", 1),
    ):
        pass


def test_dask_prints_nothing_on_the_terminal(client: Any) -> None:
    names = logging.root.manager.loggerDict
    loggers = [one for one in names if one.startswith(("distributed", "tornado"))]
    assert {"distributed.client", "tornado.application"} <= set(loggers)
    assert [one for one in loggers if logging.getLogger(one).isEnabledFor(logging.ERROR)] == []


def test_the_end_of_the_scheduler_keeps_what_has_ended(output: Path) -> None:
    jobs = [job(0), job(1, control="wait")]
    with connected("local", 1) as client:
        executor = cluster(client, output)
        records = run_jobs(jobs, executor)
        assert next(records).cell == jobs[0].cell
        (scheduler,) = [
            one
            for one in psutil.Process().children()
            if "wsgiproof.run.executors.dask_local" in " ".join(one.cmdline())
            and client.scheduler.address.rpartition(":")[2]
            in {str(conn.laddr.port) for conn in one.net_connections() if conn.status == "LISTEN"}
        ]
        below = scheduler.children(recursive=True)
        scheduler.kill()
        with pytest.raises(CannotRun, match="the Dask scheduler is gone"):
            next(records)
    _, alive = psutil.wait_procs(below, timeout=60)
    assert not alive
    assert load_run(output).cells[0].cell == jobs[0].cell
    assert not (output / "tries").exists(), "no worker has lost the other cell"


def test_nobody_else_can_use_the_local_cluster(client: Any) -> None:
    import distributed

    port = client.scheduler.address.rpartition(":")[2]
    other = distributed.Security.temporary()
    for address, security in (
        (f"tls://127.0.0.1:{port}", other),
        (f"tcp://127.0.0.1:{port}", None),
    ):
        with pytest.raises(OSError):
            distributed.Client(address, security=security, timeout=5, set_as_default=False)


def test_a_worker_that_does_not_answer_gets_no_cells(
    client: Any, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "_PREPARED_WITHIN", 2.0)
    asleep = [
        client.submit(time.sleep, 300, workers=[address], pure=False, key=f"busy-{number}")
        for number, address in enumerate(client.scheduler_info()["workers"])
    ]
    with pytest.raises(CannotRun, match=r"no worker can be used: .* did not answer in 2 s"):
        list(run_jobs([job(1)], cluster(client, output)))
    del asleep
    client.restart()


def test_nobody_can_read_about_a_local_cluster_by_http(client: Any) -> None:
    """Dask's own HTTP server would show any local user the workers and what they do."""
    listening = {
        one.laddr
        for process in psutil.Process().children(recursive=True)
        for one in process.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN
    }
    assert len(listening) >= 2, "the scheduler and the worker"
    for address, port in listening:
        assert address == "127.0.0.1"
        assert port != 8787, "another cluster of this machine has that"
        for path in ("/info/main/workers.html", "/json/counts.json", "/metrics", "/health"):
            with pytest.raises((OSError, http.client.HTTPException)):
                urlopen(f"http://127.0.0.1:{port}{path}", timeout=10)
