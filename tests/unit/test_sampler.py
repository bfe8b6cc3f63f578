"""The memory of a process is read after all of its interpreters have collected, or not at all."""

from __future__ import annotations

import os
from collections import Counter
from types import SimpleNamespace

import pytest

from wsgiproof.experiment.commands import Commands
from wsgiproof.experiment.sampler import Sampler
from wsgiproof.load.target import Target
from wsgiproof.observe.answers import MemoryMetrics

OLD, NEW = os.getppid(), os.getpid()
"""Two processes that there are."""


class Load:
    """Answers each request for memory, and with the process and the blocks that are next."""

    unexpected = 0

    def __init__(self, answers: list[tuple[int, int]]) -> None:
        self._answers = iter(answers)
        self.commands = Commands("secret")
        self.targets = [
            self.commands.target(f"http://127.0.0.1:1/interpreter{number}") for number in (1, 2)
        ]
        self.answers = SimpleNamespace(served=Counter({OLD: 600}))

    def ask(self, targets: list[Target]) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(pid=pid, memory=MemoryMetrics(blocks=blocks, malloc=None))
            for pid, blocks in (next(self._answers) for _ in targets)
        ]


def blocks(*answers: tuple[int, int]) -> dict[int, int | None]:
    """Return the blocks of each process of which memory is known."""
    sampler = Sampler.__new__(Sampler)
    vars(sampler).update(_load=Load([*answers]), _processes=1, _threads=15)
    return {one.pid: one.blocks for one in sampler.memory()}


def test_the_least_of_all_interpreters_counts() -> None:
    assert blocks((OLD, 1300), (OLD, 1000)) == {OLD: 1000}


@pytest.mark.parametrize("first", [OLD, NEW], ids=["the old one", "the new one"])
def test_a_process_that_was_replaced_in_between_has_no_memory(first: int) -> None:
    second = NEW if first == OLD else OLD
    assert blocks((first, 1300), (second, 700)) == {}
