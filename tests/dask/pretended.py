"""What a worker of Dask runs in tests: it answers at once, without Apache.

The control of a cell says what happens to it, and its ``home`` is a directory for notes.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import msgspec

from wsgiproof.audit.elsewhere import Tried
from wsgiproof.records.audit import Outcome, Result
from wsgiproof.records.cell import InterpreterKind
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.parcel import PackedFile, pack
from wsgiproof.records.writing import save
from wsgiproof.run.executors.dask_worker import Sealed
from wsgiproof.run.executors.host import Survey
from wsgiproof.run.executors.ordered_cell import CellOrder
from wsgiproof.run.executors.ordered_distribution import DistributionOrder

_SENT: dict[str, bytes] = {}
"""The files that this worker has got."""
_FULL: list[str] = []
"""The cell that has filled the disk of this worker."""
NOWHERE = "this host has no Python 2.1"


def answer(kind: str, request: Sealed, topic: str) -> tuple[str, Any]:
    """Answer as :func:`wsgiproof.run.executors.dask_worker.ask` does."""
    content = request.value()
    if kind == "survey":
        orders, files = content
        facts = {"name": f"host-{os.getpid()}", "system": "Linux"}
        reasons = tuple(NOWHERE if _asks_for(o) == "nowhere" else _full() for o in orders)
        missing = tuple(one for one in files if one.digest not in _SENT)
        return "done", Survey(facts=facts, reasons=reasons, missing=missing)
    if kind == "store":
        file, text = content
        if file.digest in _SENT:
            return "failed", "a file was sent twice"
        _SENT[file.digest] = text
        return "done", None
    if isinstance(content, DistributionOrder):
        return _try(content)
    assert isinstance(content, CellOrder)
    return _run(content)


def _asks_for(order: CellOrder | DistributionOrder) -> str:
    if isinstance(order, DistributionOrder):
        return order.lot.python.version
    return order.job.spec.home


def _full() -> str:
    return "only 1 MB are free" if _FULL else ""


def _try(order: DistributionOrder) -> tuple[str, Any]:
    """The version of a distribution says what happens to it."""
    one = order.distribution
    if one.version == "kill-worker":
        os.kill(os.getpid(), signal.SIGKILL)
    if one.version == "damaged":
        return "done", b"{}"
    if one.version == "another":
        one = msgspec.structs.replace(one, name="another")
    results = [
        Result(name=one.name, version=one.version, kind=kind, outcome=Outcome.WORKS)
        for kind in (InterpreterKind.MAIN, *order.lot.request.kinds)
    ]
    return "done", msgspec.json.encode(Tried(judged=(results[0], tuple(results[1:]))))


def _run(order: CellOrder) -> tuple[str, Any]:
    job, notes = order.job, Path(order.job.spec.home or "/nonexistent")
    if notes.is_dir():
        with (notes / job.cell.id).open("a") as file:
            file.write(f"{os.getpid()}\n")
    if any(one.digest not in _SENT for one in order.files.values()):
        return "failed", "a file was not sent"
    control = job.cell.control
    if control == "kill-worker" or (control == "kill-worker-once" and _lines(notes, job) == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if control == "fill-disk-once" and _lines(notes, job) == 1:
        _FULL.append(job.cell.id)
    if _FULL:
        return "failed", _full()
    if control == "raise":
        raise RuntimeError("as Dask logs it")
    if control == "damaged":
        stray = PackedFile(("..", "..", "x"), zlib.compress(b"from a worker"))
        return "done", msgspec.msgpack.encode([stray])
    if control == "wait":
        time.sleep(300)
    with tempfile.TemporaryDirectory() as scratch:
        cell = Path(scratch) / "cell"
        cell.mkdir()
        save(job.record(Verdict.PASS, "it answered"), cell / "cell.json")
        (cell / "error.log").write_text("a line\n")
        return "done", pack(Path(scratch))


def _lines(notes: Path, job: Any) -> int:
    return len((notes / job.cell.id).read_text().splitlines())
