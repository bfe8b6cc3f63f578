"""A cluster of two workers and a scheduler, each on a machine of its own, and runs on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Literal

from tests.dask.network import ADDRESS, Host, Scheduler, until
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.reading import load_run
from wsgiproof.records.run import RunRecord

CELLS = (
    *("--no-config", "--topology", "none", "--mod-wsgi", "5.0.2", "--pymongo", "4.20.0"),
    *("--mode", "daemon", "--mode", "embedded", "--interpreter", "main"),
    *("--interpreter", "shared-gil"),
)
SHORT = ("-n", "60", "--extra-requests", "0", "--phases", "none")
"""The least load of a cell."""
DIRECTORY = Path("/tmp/wsgiproof-dask")
"""It is kept for the next time, since filling the caches takes minutes."""
GONE_WITHIN = 15.0
"""Seconds after which no process of a cell may be left."""
RUN_DEADLINE = 1800.0
_JOIN_DEADLINE = 180.0


class Cluster:
    """Two hosts and a scheduler."""

    def __init__(self, stack: ExitStack) -> None:
        DIRECTORY.mkdir(mode=0o711, exist_ok=True)
        self.scheduler = Scheduler(0, DIRECTORY)
        self.hosts = [Host(number, DIRECTORY, self.scheduler) for number in (1, 2)]
        for host in self.hosts:  # in turn: the second finds what the first has downloaded
            warm(host.cache)
        for machine in (self.scheduler, *self.hosts):
            machine.open(stack)
        self.restore()

    def restore(self) -> None:
        """Start what has ended, and wait until both workers have joined."""
        if not self.scheduler.runs():
            self.scheduler.start()
        for host in self.hosts:
            host.mend()
        self._await_workers(self.hosts)

    def leave_one(self) -> None:
        """Kill the second host, and wait until the scheduler knows that."""
        self.hosts[1].kill()
        self._await_workers(self.hosts[:1])

    def _await_workers(self, hosts: Sequence[Host]) -> None:
        """Wait until the workers are those of these hosts, and start them where they have ended:
        they do so with their scheduler, but not at once."""
        import distributed

        def joined() -> bool:
            for host in hosts:
                if not host.runs():
                    host.start()
            return len(client.nthreads()) == len(hosts)

        with distributed.Client(ADDRESS, timeout=_JOIN_DEADLINE, set_as_default=False) as client:
            until(joined, _JOIN_DEADLINE, client.nthreads)

    def run(
        self, *options: str, tmp: str = "/tmp", output: int | IO[str] = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """Start ``wsgiproof run`` with the cells; ``tmp`` is for the temporary files of that."""
        return subprocess.Popen(
            [sys.executable, "-m", "wsgiproof", "run", *CELLS, *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "WSGIPROOF_CACHE": str(self.hosts[0].cache), "TMPDIR": tmp},
        )

    def busy(self) -> bool:
        """Whether a server runs on each host."""
        return all(any("apache2" in one for one in host.of_cells()) for host in self.hosts)

    def left(self) -> list[str]:
        """The processes of cells on all hosts."""
        return [one for host in self.hosts for one in host.of_cells()]


def warm(cache: Path, *options: str) -> None:
    """Build in a cache what the cells need: a namespace has no way to the package index."""
    subprocess.run(
        [sys.executable, "-m", "wsgiproof", "build", "cells", *CELLS, *options],
        env={**os.environ, "WSGIPROOF_CACHE": str(cache)},
        check=True,
        capture_output=True,
    )


def finished(run: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end of a run; return its exit code and what it has written."""
    text, _ = run.communicate(timeout=RUN_DEADLINE)
    return run.returncode, text


Flaw = Literal["lost", "twice", "errors"]


def flaws(record: RunRecord) -> list[tuple[Flaw, str]]:
    """What a result lacks: each planned cell has to be there once, with a verdict."""
    times = Counter(one.cell.id for one in record.cells)
    found: list[tuple[Flaw, str]] = [("lost", id) for id in record.planned if not times[id]]
    if not record.complete:
        found.append(("lost", "the run is not complete"))
    found += [("twice", id) for id, number in times.items() if number > 1]
    found += [
        ("errors", f"{one.cell.id}: {one.verdict}: {one.reason}")
        for one in record.cells
        if one.verdict in (Verdict.ERROR, Verdict.SKIPPED)
    ]
    return found


def load_whole(output: Path) -> RunRecord:
    """Return the record of a run that is whole."""
    record = load_run(output)
    assert flaws(record) == []
    return record
