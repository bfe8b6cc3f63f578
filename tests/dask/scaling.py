"""The same cells on this machine alone, on one worker, and on two: what differs, and how long each
takes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tests.dask.cluster import DIRECTORY, Cluster, finished, load_whole, warm
from tests.dask.network import ADDRESS
from wsgiproof.records.run import CellRecord, RunRecord

MATRICES = {
    4: (),
    24: ("--pymongo", "4.19.0", "--mpm", "prefork", "--mpm", "worker", "--mpm", "event"),
}
"""What is added to :data:`tests.dask.cluster.CELLS`, by the number of cells."""


class Measured(msgspec.Struct, frozen=True):
    """A run of the cells."""

    where: str
    seconds: float
    record: RunRecord
    output: Path


def measure(cluster: Cluster, number: int, requests: int) -> Iterator[Measured]:
    """Yield a run on this machine, one on one worker and one on two. The caches are filled before
    any of them."""
    matrix = MATRICES[number]
    options = ("-n", str(requests), "--extra-requests", "0", "--phases", "none", *matrix)
    for host in cluster.hosts:
        warm(host.cache, *matrix)
    with_dask = ("--dask", ADDRESS)
    yield _run(cluster, "this machine", "local", *options, "--jobs", "1")
    cluster.leave_one()
    yield _run(cluster, "one worker", "one", *options, *with_dask)
    cluster.restore()
    yield _run(cluster, "two workers", "two", *options, *with_dask)


def _run(cluster: Cluster, where: str, name: str, *options: str) -> Measured:
    output = DIRECTORY / f"scaling-{name}"
    shutil.rmtree(output, ignore_errors=True)
    began = time.monotonic()
    code, text = finished(cluster.run("--output", str(output), *options))
    seconds = time.monotonic() - began
    if code not in (0, 1):
        raise RuntimeError(f"exit code {code}: {text}")
    return Measured(where, seconds, load_whole(output), output)


def differences(one: Measured, other: Measured) -> list[str]:
    """Return in what the records of two runs are not equal in kind: a figure may differ, and what
    is measured, checked and kept of a cell may not."""
    theirs = {record.cell.id: record for record in other.record.cells}
    ours = {record.cell.id: record for record in one.record.cells}
    found = [f"{id} is not in both" for id in {*ours} ^ {*theirs}]
    for id in {*ours} & {*theirs}:
        here, there = _kind(ours[id], one), _kind(theirs[id], other)
        found += [
            f"{id}: {name} is {there[name]} on {other.where}, and {here[name]} on {one.where}"
            for name in here
            if here[name] != there[name]
        ]
    return found


def _kind(record: CellRecord, run: Measured) -> dict[str, Any]:
    """Return what has to be the same of a cell wherever it runs. Ports are not, and what a machine
    has as a whole is not counted if other programs use it, too."""
    seen = record.observed
    assert seen is not None
    directory = run.output / record.directory
    return {
        "the cell": record.cell,
        "the digest of its inputs": record.inputs,
        "the command that runs it": record.rerun,
        "the packages": record.packages,
        "the load": seen.plan,
        "the URLs": [urlsplit(one).path for one in seen.urls],
        "the phases": [one.name for one in seen.phases],
        "the checks": sorted(one.check for one in record.checks),
        "the interpreters": {
            (urlsplit(one.url).path, one.application_group) for one in seen.identities
        },
        "the steps": sorted(record.timings),
        "the files": sorted(str(path.relative_to(directory)) for path in directory.rglob("*.conf")),
    }
