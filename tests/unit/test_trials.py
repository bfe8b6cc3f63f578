"""How many processes end at the same time on a busy machine."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.factories import POINTS, reading, samples
from wsgiproof.experiment.trials import trials_at_once
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


@pytest.mark.parametrize(("serial", "at_once"), [(0.6, 12), (1.8, 12), (2.6, 4), (9.0, 4)])
def test_waiting_in_the_serial_phase_makes_them_fewer(serial: float, at_once: int) -> None:
    assert trials_at_once(12, sampled(parallel=3.5, serial=serial)) == at_once
    assert trials_at_once(1, sampled(parallel=3.5, serial=serial)) == 1


def test_processes_wait_for_each_other_in_the_parallel_phase() -> None:
    assert trials_at_once(12, sampled(parallel=20.0, serial=0.6)) == 12


def test_nothing_is_known_without_a_serial_phase() -> None:
    rows = sampled(parallel=20.0, serial=9.0)
    for known in (
        [],
        [row for row in rows if row.phase != PhaseName.SERIAL],
        [msgspec.structs.replace(row, work=None) for row in rows],
    ):
        assert trials_at_once(12, known) == 12
