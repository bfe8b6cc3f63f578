"""A run on two hosts in the middle of which something dies, stops or loses its network."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.dask.network import PORT, Host, scheduler, until
from wsgiproof.records.directory import load_run
from wsgiproof.records.judgement import Verdict

ADDRESS = f"tcp://127.0.0.1:{PORT}"
CELLS = [
    *("--no-config", "--topology", "none", "--mod-wsgi", "5.0.2", "--pymongo", "4.20.0"),
    *("--mode", "daemon", "--mode", "embedded", "--interpreter", "main"),
    *("--interpreter", "shared-gil"),
]
LOAD = ["-n", "1000", "--extra-requests", "0", "--phases", "none"]
NUMBER = 4
DIRECTORY = Path("/tmp/wsgiproof-dask")
"""It is kept for the next time, since filling the caches takes minutes."""
GONE_WITHIN = 15.0
"""Seconds after which no process of a cell may be left."""
RUN_DEADLINE = 1800.0

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces, as root")


class Cluster:
    """Two hosts and a scheduler."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.stack = stack
        self.scheduler = stack.enter_context(scheduler(directory / "scheduler.log"))
        self.hosts = [Host(1, directory), Host(2, directory)]
        _warm([host.cache for host in self.hosts])
        for host in self.hosts:
            host.open(stack)

    def restart_scheduler(self) -> None:
        self.scheduler = self.stack.enter_context(scheduler(self.directory / "scheduler.log"))

    def run(self, output: Path, *more: str) -> subprocess.Popen[str]:
        command = [
            *(sys.executable, "-m", "wsgiproof", "run", *CELLS, *LOAD, "--output", str(output)),
            *more,
        ]
        if "--resume" in more:
            del command[command.index("--output") : command.index("--output") + 2]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "WSGIPROOF_CACHE": str(self.hosts[0].cache)},
        )  # fmt: skip

    def busy(self) -> bool:
        """Whether a server runs on each host."""
        return all(any("apache2" in one for one in host.of_cells()) for host in self.hosts)

    def left(self) -> list[str]:
        return [one for host in self.hosts for one in host.of_cells()]


def _warm(caches: list[Path]) -> None:
    """Build in each cache what the cells need: a namespace has no way to the package index."""
    for cache in caches:  # one after the other: the second finds the downloads of the first
        subprocess.run(
            [sys.executable, "-m", "wsgiproof", "build", "cells", *CELLS],
            env={**os.environ, "WSGIPROOF_CACHE": str(cache)},
            check=True,
            capture_output=True,
        )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    DIRECTORY.mkdir(mode=0o711, exist_ok=True)
    with ExitStack() as stack:
        yield Cluster(DIRECTORY, stack)


def finished(run: subprocess.Popen[str]) -> tuple[int, str]:
    text, _ = run.communicate(timeout=RUN_DEADLINE)
    return run.returncode, text


def check_whole(output: Path) -> None:
    """Every cell once, and with a verdict."""
    record = load_run(output)
    assert record.complete
    assert Counter(one.cell.id for one in record.cells) == Counter(record.planned)
    assert len(record.planned) == NUMBER
    bad = [one.reason for one in record.cells if one.verdict in (Verdict.ERROR, Verdict.SKIPPED)]
    assert bad == []


def test_two_workers_share_the_cells(cluster: Cluster, tmp_path: Path) -> None:
    code, text = finished(cluster.run(tmp_path / "out", "--dask", ADDRESS))
    assert code in (0, 1), text
    check_whole(tmp_path / "out")
    record = load_run(tmp_path / "out")
    assert all(one.host["name"] for one in record.cells)
    until(lambda: not cluster.left(), GONE_WITHIN, str(cluster.left()))


def test_a_worker_that_is_killed_costs_its_cell_once(cluster: Cluster, tmp_path: Path) -> None:
    run = cluster.run(tmp_path / "out", "--dask", ADDRESS)
    until(cluster.busy, 600, "no server")
    victim = cluster.hosts[0]
    os.kill(victim.worker(), signal.SIGKILL)
    until(lambda: not victim.of_cells() or cluster.busy(), GONE_WITHIN, str(victim.of_cells()))
    code, text = finished(run)
    assert code in (0, 1), text
    check_whole(tmp_path / "out")
    tries = [one.tries for one in load_run(tmp_path / "out").cells if one.tries]
    assert len(tries) == 1
    assert "was lost" in tries[0][0]


def test_a_worker_that_stops_for_a_while_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    run = cluster.run(tmp_path / "out", "--dask", ADDRESS)
    until(cluster.busy, 600, "no server")
    stopped = cluster.hosts[1].worker()
    os.kill(stopped, signal.SIGSTOP)
    time.sleep(20)
    os.kill(stopped, signal.SIGCONT)
    code, text = finished(run)
    assert code in (0, 1), text
    check_whole(tmp_path / "out")


def test_a_link_that_is_cut_and_mended(cluster: Cluster, tmp_path: Path) -> None:
    run = cluster.run(tmp_path / "out", "--dask", ADDRESS)
    until(cluster.busy, 600, "no server")
    cluster.hosts[1].cut()
    time.sleep(60)
    cluster.hosts[1].mend()
    code, text = finished(run)
    assert code in (0, 1), text
    check_whole(tmp_path / "out")
    until(lambda: not cluster.left(), GONE_WITHIN, str(cluster.left()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_end_of_the_client_leaves_nothing(
    cluster: Cluster, tmp_path: Path, number: signal.Signals
) -> None:
    run = cluster.run(tmp_path / "out", "--dask", ADDRESS)
    until(cluster.busy, 600, "no server")
    run.send_signal(number)
    until(lambda: not cluster.left(), GONE_WITHIN, str(cluster.left()))
    code, text = finished(run)
    assert code == (130 if number is signal.SIGINT else -9), text
    assert "Traceback" not in text


def test_the_end_of_the_scheduler_keeps_the_cells_and_resume_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    run = cluster.run(tmp_path / "out", "--dask", ADDRESS)
    until(lambda: list((tmp_path / "out" / "cells").glob("*/cell.json")), 900, "no cell")
    cluster.scheduler.kill()
    until(lambda: not cluster.left(), 3 * GONE_WITHIN, str(cluster.left()))
    code, text = finished(run)
    assert code == 3, text
    assert "the Dask scheduler is gone" in text
    kept = {one.cell.id: one for one in load_run(tmp_path / "out").cells}
    assert kept
    code, text = finished(cluster.run(tmp_path / "out", "--resume", str(tmp_path / "out")))
    assert code in (0, 1), text
    check_whole(tmp_path / "out")
    after = {one.cell.id: one for one in load_run(tmp_path / "out").cells}
    assert {id: after[id] for id in kept} == kept
