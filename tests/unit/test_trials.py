"""Whether a machine is too busy for many processes to end at the same time."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.factories import POINTS, reading, samples
from wsgiproof.experiment.trials import machine_is_busy
from wsgiproof.records.observed import Sample, Work
from wsgiproof.records.plan import PhaseName


def sampled(parallel: float, serial: float) -> list[Sample]:
    """Samples of rounds with a second of the workers' processor time each, and so many seconds of
    waiting for a processor."""
    rows, waited = [], 0.0
    for number, row in enumerate(samples([[reading()]] * POINTS)):
        waited += serial if row.phase == PhaseName.SERIAL else parallel
        work = Work(serving=float(number), cpu=float(number), waited=waited)
        rows.append(msgspec.structs.replace(row, work=work))
    assert {PhaseName.PARALLEL, PhaseName.SERIAL} <= {row.phase for row in rows}
    return rows


@pytest.mark.parametrize(("serial", "busy"), [(0.6, False), (1.4, False), (1.6, True), (9.0, True)])
def test_waiting_in_the_serial_phase_tells(serial: float, busy: bool) -> None:
    assert machine_is_busy(sampled(parallel=3.5, serial=serial)) is busy


def test_processes_wait_for_each_other_in_the_parallel_phase() -> None:
    assert not machine_is_busy(sampled(parallel=20.0, serial=0.6))


def test_nothing_is_known_without_a_serial_phase() -> None:
    assert not machine_is_busy([])
    rows = sampled(parallel=20.0, serial=9.0)
    assert not machine_is_busy([row for row in rows if row.phase != PhaseName.SERIAL])
    assert not machine_is_busy([msgspec.structs.replace(row, work=None) for row in rows])
