"""A run on two hosts in the middle of which something dies, stops or loses its network."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.dask.cluster import GONE_WITHIN, SHORT, Cluster, finished, load_whole
from tests.dask.network import ADDRESS, until
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.sent import describe_file, path_of
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.reading import load_run

APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"works"]
"""
LOAD = ("-n", "1000", "--extra-requests", "0", "--phases", "none")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces, as root")


@pytest.fixture(scope="module")
def machines() -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(stack)


@pytest.fixture
def cluster(machines: Cluster) -> Cluster:
    machines.restore()
    return machines


def test_two_workers_share_the_cells(cluster: Cluster, tmp_path: Path) -> None:
    code, text = finished(cluster.run("--output", str(tmp_path / "out"), *LOAD, "--dask", ADDRESS))
    assert code in (0, 1), text
    record = load_whole(tmp_path / "out")
    assert {one.host["name"] for one in record.cells} == {"machine1", "machine2"}
    assert "The cells ran on machine1, machine2" in text
    until(lambda: not cluster.left(), GONE_WITHIN, cluster.left)


def test_a_worker_that_is_killed_costs_its_cell_once(cluster: Cluster, tmp_path: Path) -> None:
    run = cluster.run("--output", str(tmp_path / "out"), *LOAD, "--dask", ADDRESS)
    until(cluster.busy, 600, cluster.left)
    victim = cluster.hosts[0]
    os.kill(victim.worker(), signal.SIGKILL)
    until(lambda: not victim.of_cells() or cluster.busy(), GONE_WITHIN, victim.of_cells)
    code, text = finished(run)
    assert code in (0, 1), text
    tries = [one.tries for one in load_whole(tmp_path / "out").cells if one.tries]
    assert len(tries) == 1
    assert "was lost" in tries[0][0]


def test_a_worker_that_stops_for_a_while_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    run = cluster.run("--output", str(tmp_path / "out"), *LOAD, "--dask", ADDRESS)
    until(cluster.busy, 600, cluster.left)
    stopped = cluster.hosts[1].worker()
    os.kill(stopped, signal.SIGSTOP)
    time.sleep(20)
    os.kill(stopped, signal.SIGCONT)
    code, text = finished(run)
    assert code in (0, 1), text
    load_whole(tmp_path / "out")


def test_a_link_that_is_cut_and_mended(cluster: Cluster, tmp_path: Path) -> None:
    run = cluster.run("--output", str(tmp_path / "out"), *LOAD, "--dask", ADDRESS)
    until(cluster.busy, 600, cluster.left)
    cluster.hosts[1].cut()
    time.sleep(60)
    cluster.hosts[1].mend()
    code, text = finished(run)
    assert code in (0, 1), text
    load_whole(tmp_path / "out")
    until(lambda: not cluster.left(), GONE_WITHIN, cluster.left)


def test_an_application_travels_once_to_each_host(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = tmp_path / "site.py"
    app.write_text(f"# {tmp_path}\n{APPLICATION}")

    def stamps() -> list[int]:
        found = []
        for host in cluster.hosts:
            monkeypatch.setenv("WSGIPROOF_CACHE", str(host.cache))
            place = path_of(describe_file(str(app)), Cache())
            assert place.read_text() == app.read_text()
            found.append(place.stat().st_ctime_ns)
        return found

    for name in ("first", "second"):
        output = tmp_path / name
        code, text = finished(
            cluster.run("--output", str(output), *SHORT, "--app", str(app), "--dask", ADDRESS)
        )
        assert code in (0, 1), text
        load_whole(output)
        if name == "first":
            before = stamps()
    assert stamps() == before


def test_the_first_cell_that_fails_stops_all_others(cluster: Cluster, tmp_path: Path) -> None:
    app, output = tmp_path / "site.py", tmp_path / "out"
    app.write_text("def application(environ, start_response):\n    raise RuntimeError\n")
    code, text = finished(
        cluster.run(
            "--output", str(output), *SHORT, "--app", str(app), "--fail-fast", "--dask", ADDRESS
        )
    )
    assert code == 1, text
    verdicts = Counter(one.verdict for one in load_run(output).cells)
    assert verdicts == {Verdict.FAIL: 1, Verdict.SKIPPED: 3}
    until(lambda: not cluster.left(), GONE_WITHIN, cluster.left)


@pytest.fixture
def small_disk(cluster: Cluster) -> Iterator[Path]:
    """A disk of its own for the temporary files of the second host."""
    host = cluster.hosts[1]
    host.kill()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "none", str(host.tmp)], check=True)
    try:
        host.tmp.chmod(0o711)
        cluster.restore()
        yield host.tmp
    finally:
        host.kill()
        subprocess.run(["umount", str(host.tmp)], check=True)


def test_a_worker_whose_disk_is_full_costs_its_cells_once(
    cluster: Cluster, small_disk: Path, tmp_path: Path
) -> None:
    run = cluster.run("--output", str(tmp_path / "out"), *LOAD, "--dask", ADDRESS)
    until(cluster.busy, 600, cluster.left)
    with suppress(OSError), (small_disk / "large").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))
    code, text = finished(run)
    assert code in (0, 1), text
    record = load_whole(tmp_path / "out")
    tries = [why for one in record.cells for why in one.tries]
    assert len(tries) == 1, "the worker is asked again what it can do, and gets no more"
    assert tries[0].startswith("machine2 ")
    assert f"MB are free at {small_disk}" in tries[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_end_of_the_client_leaves_nothing(
    cluster: Cluster, tmp_path: Path, number: signal.Signals
) -> None:
    run = cluster.run("--output", str(tmp_path / "out"), *LOAD, "--dask", ADDRESS)
    until(cluster.busy, 600, cluster.left)
    run.send_signal(number)
    until(lambda: not cluster.left(), GONE_WITHIN, cluster.left)
    code, text = finished(run)
    assert code == (130 if number is signal.SIGINT else -9), text
    assert "Traceback" not in text


def test_the_end_of_the_scheduler_keeps_the_cells_and_resume_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    run = cluster.run("--output", str(tmp_path / "out"), *LOAD, "--dask", ADDRESS)
    until(lambda: list((tmp_path / "out" / "cells").glob("*/cell.json")), 900, cluster.left)
    cluster.scheduler.kill()
    until(lambda: not cluster.left(), 3 * GONE_WITHIN, cluster.left)
    code, text = finished(run)
    assert code == 3, text
    assert text.splitlines()[-1].startswith("wsgiproof: the Dask scheduler is gone")
    assert "distributed" not in text
    kept = {one.cell.id: one for one in load_run(tmp_path / "out").cells}
    assert kept
    code, text = finished(cluster.run("--resume", str(tmp_path / "out"), *LOAD))
    assert code in (0, 1), text
    after = {one.cell.id: one for one in load_whole(tmp_path / "out").cells}
    assert {id: after[id] for id in kept} == kept
