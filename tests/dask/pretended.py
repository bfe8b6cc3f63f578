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

from wsgiproof.records.directory import save
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.parcel import PackedFile, pack
from wsgiproof.run.executors.dask_worker import Sealed
from wsgiproof.run.executors.host import Order, Survey

NOWHERE = "this host has no Python 2.1"


def answer(kind: str, request: Sealed, topic: str) -> tuple[str, Any]:
    """Answer as :func:`wsgiproof.run.executors.dask_worker.ask` does."""
    content = request.value()
    if kind == "survey":
        orders, _ = content
        facts = {"name": f"host-{os.getpid()}", "system": "Linux"}
        reasons = tuple(NOWHERE if o.job.spec.home == "nowhere" else "" for o in orders)
        return "done", Survey(facts=facts, reasons=reasons, missing=())
    assert isinstance(content, Order)
    return _run(content)


def _run(order: Order) -> tuple[str, Any]:
    job, notes = order.job, Path(order.job.spec.home or "/nonexistent")
    if notes.is_dir():
        with (notes / job.cell.id).open("a") as file:
            file.write(f"{os.getpid()}\n")
    control = job.cell.control
    if control == "kill-worker" or (control == "kill-worker-once" and _lines(notes, job) == 1):
        os.kill(os.getpid(), signal.SIGKILL)
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
