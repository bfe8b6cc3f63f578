"""Whose answers those of a server are, and how many requests are added."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from tests.unit.factories import RESOURCES, observed, reading, samples
from tests.unit.test_memory import kept, slowing
from wsgiproof.experiment.rounds import affordable, extra_load, may_be_temporary
from wsgiproof.experiment.state import State, foreign_processes
from wsgiproof.process.environ import child_environment
from wsgiproof.process.service import Service
from wsgiproof.records.observed import Observed


def test_a_living_process_that_is_not_below_the_server_is_a_stranger(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    command = ["sh", "-c", "sleep 30 & echo $! > child; wait"]
    log, events = tmp_path / "log", tmp_path / "events"
    with Service(
        command, name="sh", log=log, events=events, cwd=tmp_path, env=child_environment()
    ) as service:
        child = tmp_path / "child"
        while not child.exists() or not child.read_text().endswith("\n"):
            time.sleep(0.01)
        served = {service.pid, int(child.read_text()), gone.pid, os.getpid()}
        assert foreign_processes(served, service) == (os.getpid(),)
        assert foreign_processes(served - {os.getpid()}, service) == ()


def test_fewer_requests_than_are_likely_to_decide_are_added_too_but_not_far_fewer() -> None:
    # Four processes of 3.8 asked for 2,292 more each, and 575 did.
    assert affordable((4 * 2292,), 4500) == 4500
    assert affordable((300, 4 * 2292), 4500) == 4500
    assert affordable((300, 100_000), 4500) == 300
    assert affordable((100_000,), 4500) == affordable((300,), 0) == affordable((), 4500) == 0


@pytest.mark.parametrize(
    ("vary", "readings", "connections", "filled"),
    [(True, 5, 1, False), (True, 21, 8, True), (False, 5, 8, True)],
)
def test_processes_that_come_and_go_stay_while_memory_has_to_be_read_more_often(
    vary: bool, readings: int, connections: int, filled: bool
) -> None:
    """They stay if Apache has no reason to start others: neither many connections nor a burst."""
    made: list[tuple[int, int]] = []
    state = SimpleNamespace(
        workers_vary=vary,
        few=1 if vary else 8,
        plan=SimpleNamespace(connections=8, round=25),
        observed=lambda: observed(samples=samples([[reading(200)]] * readings)),
        living_workers=lambda: [200, 201],
        warmed={200},
        aborted="",
        decided_early="",
        budget_exhausted="",
        outlived_drain=False,
        time_is_up=lambda: False,
        progress=lambda done, total: None,
        sample=lambda memory: None,
        memory_due=0,
        load=SimpleNamespace(
            targets=(),
            answers=SimpleNamespace(requests=0),
            mixed=lambda size, connections: made.append((size, connections)),
        ),
    )
    extra_load(cast(State, state), 40)
    assert made == [(25, connections), (15, connections)]
    assert (201 in state.warmed) is filled


def test_memory_that_may_be_temporary_is_drained_unless_the_load_is_over_or_a_count_leaks() -> None:
    def asked(seen: Observed, *, drain: float = 6.0, over: bool = False) -> bool:
        state = SimpleNamespace(
            plan=SimpleNamespace(drain=drain),
            load_is_over=over,
            resources=RESOURCES,
            observed=lambda: seen,
        )
        return may_be_temporary(cast(State, state))

    growing = kept(slowing, slowing(3000))
    assert asked(growing)
    assert not asked(growing, drain=0.0)
    assert not asked(growing, over=True)
    assert not asked(kept(slowing, slowing(250)))
    leak = tuple(
        msgspec.structs.replace(one, processes=(reading(threads=25 + 10 * number),))
        for number, one in enumerate(growing.samples)
    )
    assert not asked(msgspec.structs.replace(growing, samples=leak))
