"""What is read with all pools full is what pools have, and not what requests still close."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import cast

from tests.unit.factories import RESOURCES, reading, samples
from wsgiproof.experiment.pools import read_full
from wsgiproof.experiment.state import State
from wsgiproof.judge.resources import total
from wsgiproof.records.observed import Sample

DESCRIPTORS = RESOURCES["descriptors"]


def with_descriptors(number: int) -> Sample:
    return samples([[reading(descriptors=number)]])[0]


class Counts:
    """The counts of a server, one value after the other; the last one stays."""

    def __init__(self, values: Iterator[int]) -> None:
        self._values = values
        self._last = 0

    def pools(self) -> dict[str, int | None]:
        return {}

    def read(self, phase: str) -> Sample:
        self._last = next(self._values, self._last)
        return with_descriptors(self._last)


def full(*values: int, first: int | None) -> int:
    """Return the descriptors of a filling after a ``first`` one."""
    state = SimpleNamespace(
        resources=RESOURCES,
        full_pools=[] if first is None else [with_descriptors(first)],
        load=SimpleNamespace(hopeless=lambda: "", targets=()),
        sampler=Counts(iter(values)),
        workers_vary=False,
        phase="diagnosis",
    )
    state.read_until = partial(State.read_until, cast(State, state))
    return total(DESCRIPTORS, read_full(cast(State, state)))


def test_what_is_still_being_closed_is_waited_for() -> None:
    assert full(43, 43, 20, 13, 12, first=13) == 13


def test_what_a_pool_has_lost_stays() -> None:
    assert full(43, 21, first=13) == 21


def test_a_first_filling_is_read_as_it_is() -> None:
    assert full(43, 13, first=None) == 43


def test_counts_as_in_the_first_filling_are_read_once() -> None:
    assert full(13, 12, first=13) == 13
