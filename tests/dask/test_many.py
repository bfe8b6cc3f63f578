"""Two thousand cells that are answered at once: what a cell costs the client."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from tests.dask import pretended
from tests.dask.test_cluster import Seen, job
from tests.unit.factories import run_record
from wsgiproof.config.model import Config
from wsgiproof.records.reading import ignore_note, load_run
from wsgiproof.records.writing import Results, make_output
from wsgiproof.report.html.page import leave_page
from wsgiproof.run.executors.base import run_jobs
from wsgiproof.run.executors.dask_cells import Cells
from wsgiproof.run.executors.dask_cluster import DaskCluster, connected
from wsgiproof.subjects.registry import rules_of

CELLS = 2000
_MEMORY = 300 << 20


def test_the_client_stays_small(tmp_path: Path) -> None:
    output = make_output(tmp_path / "out")
    jobs = [job(number) for number in range(CELLS)]
    planned = tuple(one.cell.id for one in jobs)
    with connected("local", 2) as client:
        cells = Cells(Config(), output, Seen())
        executor = DaskCluster(client, cells, ignore_note, function=pretended.answer)
        results = Results(run_record(planned=planned), output)
        before, started = psutil.Process().memory_info().rss, time.monotonic()
        carried = saved = 0.0
        used = time.process_time()
        for record in run_jobs(jobs, executor):
            carried += time.process_time() - used
            used = time.process_time()
            results.add(record)
            saved += time.process_time() - used
            used = time.process_time()
        wall = time.monotonic() - started
        results.finish()
    grown = psutil.Process().memory_info().rss - before
    run = load_run(output)
    assert len({one.cell.id for one in run.cells}) == CELLS
    used = time.process_time()
    page = leave_page(run, rules_of, output)
    report = time.process_time() - used
    print(  # noqa: T201 - this is what the test is for
        f"{CELLS} cells in {wall:.0f} s; a cell costs the client {carried / CELLS * 1000:.1f} ms, "
        f"and {saved / CELLS * 1000:.1f} ms for results.json; {grown >> 20} MiB more; the page of "
        f"{page.stat().st_size >> 10} KiB in {report:.1f} s"
    )
    assert grown < _MEMORY
