"""Whole runs to look at, made of recorded cells: as they were, or again under other axes."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import cycle, product
from pathlib import Path

import msgspec

from tests.cells import CELL, cell_with
from tests.unit.factories import RULES, run_record
from wsgiproof.judge.verdict import judge_record
from wsgiproof.records.cell import Cell, Mode, Mpm
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.run import CellRecord, Excluded, RunRecord
from wsgiproof.records.writing import save
from wsgiproof.subjects.pymongo.axes import Topology

HERE = Path(__file__).parent / "cells"
CORPUS = Path(__file__).parent.parent / "corpus"
CLEAN = (
    "standalone-daemon",
    "replica-set-daemon",
    "standalone-embedded",
    "replica-set-embedded",
)
"""A run as it was, by 'run --mod-wsgi 5.0.2 --pymongo 4.20.0 -n 300'."""
FAULTY = (
    "leak-connection",
    "leak-memory",
    "leak-thread",
    "crash-in-request",
    "hang-in-request",
    "leak-descriptor",
)
"""And with 'run --control NAME'."""
_OTHERS = (
    "crash-at-exit-9010169a",
    "log-traceback-ed8edf2d",
    "embedded-prefork-shared-gil-073dacd8",
)
"""Of the corpus: the ends of their names. The last one was in doubt."""
_PYTHONS = ("3.9.19", "3.10.14", "3.11.9", "3.12.3", "3.13.0")
_MOD_WSGIS = ("4.9.4", "5.0.0", "5.0.2", "6.0.0", "6.1.1")
_PYMONGOS = ("4.19.0", "4.20.0")
_EVERY = 7
"""Of the cells of a large run, one in so many is a faulty one."""


@cache
def recorded(end: str) -> CellRecord:
    """A recorded cell, of here or of the corpus, as it is judged today."""
    (path,) = [*HERE.glob(f"{end}.json.gz"), *CORPUS.glob(f"*-{end}.json.gz")]
    return judge_record(
        msgspec.json.decode(gzip.decompress(path.read_bytes()), type=CellRecord), RULES
    )


def passing() -> RunRecord:
    """A run in which everything passed."""
    return run_record(*map(recorded, CLEAN))


def failing() -> RunRecord:
    """A run with leaks, crashes and hangs."""
    return run_record(*map(recorded, FAULTY))


def large(cells: int) -> RunRecord:
    """Recorded cells again, under so many other axes, with some of every verdict."""
    every = [*_axes()]
    kept = sorted(random.Random(1).sample(range(len(every)), cells))
    return run_record(*_large([every[at] for at in kept]), excluded=_EXCLUDED)


def left(record: RunRecord, directory: Path) -> Path:
    """The directory that this run would have left, with what is read of it."""
    for cell in record.cells:
        where = directory / cell.directory
        where.mkdir(parents=True)
        save(cell, where / "cell.json")
        (where / "httpd.conf").write_text(f"# The Apache of cell {cell.cell.id}\nListen 80\n")
        (where / "error.log").write_text("[pid 1] nothing of note\n")
    save(record.to_json(), directory / "results.json")
    return directory


_EXCLUDED = tuple(
    Excluded(axes={"python": python, "mod_wsgi": "4.9.4"}, reason="4.9.4 does not support it")
    for python in ("3.12.3", "3.13.0")
)


def _axes() -> Iterator[Cell]:
    topologies = (Topology.STANDALONE, Topology.REPLICA_SET)
    axes = product(_PYTHONS, _MOD_WSGIS, _PYMONGOS, Mode, topologies, Mpm)
    for python, mod_wsgi, pymongo, mode, topology, mpm in axes:
        yield cell_with(
            CELL,
            python=python,
            mod_wsgi=mod_wsgi,
            pymongo=pymongo,
            topology=topology,
            mode=mode,
            mpm=mpm,
        )


def _large(cells: Iterable[Cell]) -> Iterator[CellRecord]:
    clean, faulty = cycle(map(recorded, CLEAN)), cycle(map(recorded, FAULTY + _OTHERS))
    for number, cell in enumerate(cells):
        taken = next(faulty) if number % _EVERY == 0 else next(clean)
        yield _otherwise(_again(taken, cell), number)


def _again(taken: CellRecord, cell: Cell) -> CellRecord:
    return msgspec.structs.replace(taken, cell=cell, directory=f"cells/{cell.id}")


def _otherwise(record: CellRecord, number: int) -> CellRecord:
    """A few that could not be run, or were not to be."""
    if number % 41 == 3:
        return msgspec.structs.replace(
            record, verdict=Verdict.ERROR, reason="Apache did not start: no reason", checks=(),
            findings=(), observed=None,
        )  # fmt: skip
    if number % 53 == 4:
        return msgspec.structs.replace(
            record, verdict=Verdict.SKIPPED, reason="not run, because --fail-fast was given",
            checks=(), findings=(), observed=None,
        )  # fmt: skip
    return record
