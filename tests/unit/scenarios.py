"""Three failing cells that people meet: PyO3 in a sub interpreter, a leak in four processes, and
the shutdown crash of finding 1. Each is a recorded or a clean cell with its fault put in."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec

from tests.cells import CELL, cell_with
from tests.unit import factories
from tests.unit.factories import RULES
from wsgiproof.judge.verdict import judge_record
from wsgiproof.records.cell import Cell, Mode
from wsgiproof.records.observed import Event, Identity, Role, Sample
from wsgiproof.records.run import CellRecord
from wsgiproof.subjects.pymongo.axes import Topology

_TESTS = Path(__file__).parent.parent
_PLANTED = "planted by wsgiproof: fail-to-import"
_REFUSED = (
    "PyO3 modules do not yet support subinterpreters, see https://github.com/PyO3/pyo3/issues/576"
)
_CRASHING = 3
"""Of four processes."""
_PYMONGO = "/env/lib/python3.11/site-packages/pymongo"
_FATAL = f"""
Fatal Python error: Segmentation fault

Thread 0x00007fb456f3c780 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 1132 in _wait_for_tstate_lock
  File "{_PYMONGO}/periodic_executor.py", line 251 in join
  File "{_PYMONGO}/periodic_executor.py", line 334 in _shutdown_executors
  File "{_PYMONGO}/synchronous/monitor.py", line 496 in _shutdown_resources

Extension modules: bson._cbson, pymongo._cmessage (total: 2)"""


def pyo3() -> CellRecord:
    """An application that imports an extension written with PyO3."""
    (path,) = (_TESTS / "corpus").glob("*-fail-to-import-*.json.gz")
    text = gzip.decompress(path.read_bytes()).decode().replace(_PLANTED, _REFUSED)
    record = msgspec.json.decode(text, type=CellRecord)
    return _judged(record, cell_with(record.cell, control=""))


def leak_in_four_processes() -> CellRecord:
    """15 blocks of Python's allocator for each request, in each of four embedded processes."""
    pids = range(200, 204)
    readings = [[factories.reading(pid) for pid in pids]] * factories.POINTS
    clean = factories.observed(
        identities=tuple(factories.identity(url, pid) for pid in pids for url in (1, 2)),
        samples=tuple(_growing(one, 15) for one in factories.samples(readings)),
        workers=(4, 1),
        events=(
            *(factories.born(pid, Role.WORKER) for pid in pids),
            *(factories.died(pid, exit=0) for pid in pids),
        ),
    )
    cell = cell_with(CELL, mode=Mode.EMBEDDED)
    embedded = tuple(msgspec.structs.replace(one, process_group="") for one in clean.identities)
    return factories.record(msgspec.structs.replace(clean, identities=embedded), cell)


def crash_at_stop() -> CellRecord:
    """Processes that crash as mod_wsgi 6.1.1 destroys sub interpreters with PyMongo's threads."""
    path = _TESTS / "browser" / "cells" / "standalone-embedded.json.gz"
    record = msgspec.json.decode(gzip.decompress(path.read_bytes()), type=CellRecord)
    seen = record.observed
    assert seen is not None
    pids = {one.pid for one in seen.samples[-1].memory}
    crashing = sorted(pids)[:_CRASHING]
    changed = msgspec.structs.replace(
        seen,
        identities=tuple(map(_with_mod_wsgi, seen.identities)),
        events=tuple(_crashed(one) if one.pid in crashing else one for one in seen.events),
        fatal_traces=tuple(f"pid {pid}:{_FATAL.replace(chr(10), ' ', 1)}" for pid in crashing),
    )
    cell = cell_with(record.cell, mod_wsgi="6.1.1")
    rerun = record.rerun.replace("5.0.2", "6.1.1")
    return _judged(
        msgspec.structs.replace(record, observed=changed, rerun=rerun),
        cell,
    )


def _judged(record: CellRecord, cell: Cell) -> CellRecord:
    assert cell.value("topology") == Topology.STANDALONE
    renamed = msgspec.structs.replace(record, cell=cell, directory=f"cells/{cell.id}")
    return judge_record(renamed, RULES)


def _growing(sample: Sample, blocks: int) -> Sample:
    memory = tuple(
        msgspec.structs.replace(
            one, blocks=150_000 + blocks * one.requests + (one.pid * one.requests) % 7
        )
        for one in sample.memory
    )
    return msgspec.structs.replace(sample, memory=memory)


def _crashed(event: Event) -> Event:
    if event.kind == "born" or event.phase != "stop":
        return event
    return msgspec.structs.replace(event, signal=11, exit=None)


def _with_mod_wsgi(one: Identity) -> Identity:
    return msgspec.structs.replace(one, mod_wsgi="6.1.1")
