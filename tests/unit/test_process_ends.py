"""How often a process goes wrong at its end, and how often it may at most."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from tests.cells import CELL, cell_with
from tests.unit.factories import (
    BORN,
    PARENT_ENDED,
    WORKER,
    born,
    died,
    identity,
    line,
    observed,
    used,
)
from wsgiproof.judge.lifecycle import crash
from wsgiproof.judge.process_ends import (
    ENOUGH_CRASHES,
    binomial_limits,
    bound_of,
    ends_needed,
    more_ends,
    process_ends,
)
from wsgiproof.records.observed import LogLine, Observed, Replacement, Role

Way = dict[str, Any]
"""How a process ended: its exit status, or its signal."""
CLEAN: Way = {"exit": 0}
CRASH: Way = {"signal": signal.SIGSEGV}
KILLED: Way = {"signal": signal.SIGKILL}


def replaced(*pids: int, waited: float = 0.0) -> Replacement:
    """A restart of phase ``trials`` that replaces these processes."""
    waits = dict.fromkeys(pids, waited) if waited else {}
    return Replacement(
        phase="trials", time=27.0, seconds=1.0, replaced=pids, leftover=(), processor_waits=waits
    )


def in_trials(*ends: Way, crash_bound: float = 0.2) -> Observed:
    """A record whose phase ``trials`` ended a process in each of these ways."""
    pids = range(300, 300 + len(ends))
    events = [
        event
        for pid, end in zip(pids, ends, strict=True)
        for event in (born(pid, Role.WORKER), died(pid, phase="trials", **end))
    ]
    seen = observed(events=tuple(events), trials=(replaced(*pids),), identities=used(*pids))
    plan = msgspec.structs.replace(seen.plan, crash_bound=crash_bound)
    return msgspec.structs.replace(seen, plan=plan)


# What counts


def test_an_end_is_clean_or_a_crash_or_a_hang() -> None:
    ends = process_ends(in_trials(CLEAN, {"signal": signal.SIGTERM}, CRASH, {"exit": 1}, KILLED))
    assert (len(ends.clean), len(ends.crashed), len(ends.hung)) == (2, 2, 1)


def test_the_stop_is_an_end_as_well() -> None:
    ends = process_ends(observed(events=(*BORN, died(WORKER, **CRASH), PARENT_ENDED)))
    assert ends.crashed == (WORKER,)


def test_a_process_that_was_killed_before_it_had_time_to_end_says_nothing() -> None:
    pid = 300
    seen = observed(
        events=(born(pid, Role.WORKER), died(pid, phase="trials", **KILLED)),
        trials=(replaced(pid, waited=2.5),),
    )
    assert process_ends(seen).total == 0


@pytest.mark.parametrize(
    "said",
    [
        "[wsgi:info] [pid 300:tid 301] mod_wsgi (pid=300): Aborting process 'subject'.",
        "[wsgi:crit] [pid 300:tid 301] Shutdown timeout expired; aborting daemon process "
        "'subject'.",
    ],
)
def test_a_process_that_mod_wsgi_aborted_before_it_had_time_to_end_says_nothing(said: str) -> None:
    def after(waited: float, *lines: str) -> Observed:
        return observed(
            events=(born(300, Role.WORKER), died(300, phase="trials", exit=255)),
            trials=(replaced(300, waited=waited),),
            log=tuple(LogLine(phase="trials", text=one) for one in lines),
        )

    assert process_ends(after(2.5, said)).total == 0
    assert process_ends(after(0.0, said)).crashed == (300,)
    assert process_ends(after(2.5)).crashed == (300,), "it has exited so by itself"
    assert process_ends(after(2.5, said.replace("300", "400"))).crashed == (300,)


def test_an_unknown_status_says_nothing() -> None:
    assert process_ends(in_trials({})).total == 0


@pytest.mark.parametrize(
    ("mod_wsgi", "pid", "status", "clean"),
    [("3.5", 300, 255, 1), ("3.5", 301, 255, 0), ("3.5", 300, 1, 0), ("4.9.4", 300, 255, 0)],
    ids=["its usual end", "another process", "another status", "a newer mod_wsgi"],
)
def test_before_mod_wsgi_4_a_process_that_has_ended_python_exits_with_255(
    mod_wsgi: str, pid: int, status: int, clean: int
) -> None:
    seen = in_trials({"exit": status})
    seen = msgspec.structs.replace(
        seen,
        identities=tuple(
            msgspec.structs.replace(one, mod_wsgi=mod_wsgi) for one in seen.identities
        ),
        log=(line(f"mod_wsgi (pid={pid}): Python has shutdown.", source="-:info"),),
    )
    ends = process_ends(seen)
    assert (len(ends.clean), len(ends.crashed)) == (clean, 1 - clean)
    crashed = crash(cell_with(CELL, mod_wsgi=mod_wsgi), seen).findings
    assert len(crashed) == 1 - clean


@pytest.mark.parametrize(("served", "clean"), [((1, 2), 1), ((1,), 0), ((2,), 0), ((), 0)], ids=str)
def test_a_good_end_of_a_process_that_was_not_in_use_says_nothing(
    served: tuple[int, ...], clean: int
) -> None:
    """Most of what crashes at the end of a process was made by its requests."""
    seen = in_trials(CLEAN)
    told = (*used(), *(identity(url, 300) for url in served))
    assert len(process_ends(msgspec.structs.replace(seen, identities=told)).clean) == clean


@pytest.mark.parametrize(("way", "crashed", "hung"), [(CRASH, 1, 0), (KILLED, 0, 1)])
def test_a_bad_end_counts_though_the_process_was_not_in_use(
    way: Way, crashed: int, hung: int
) -> None:
    ends = process_ends(msgspec.structs.replace(in_trials(way), identities=used()))
    assert (len(ends.crashed), len(ends.hung)) == (crashed, hung)


def test_processes_of_other_groups_have_other_interpreters() -> None:
    """A configuration of the user's own may give each URL processes of its own."""
    told = (identity(1, 300), identity(2, 301))
    seen = msgspec.structs.replace(in_trials(CLEAN, CLEAN), identities=told)
    assert process_ends(seen).clean == (300, 301)


def test_what_was_not_to_end_is_no_end() -> None:
    """It is a crash all the same, whatever the rate of crashes at ends is."""
    seen = observed(events=(*BORN, died(WORKER, phase="parallel", **CRASH)))
    assert process_ends(seen).total == 0


BEGINS = {
    "5.0.2": "mod_wsgi (pid=300): Destroying interpreters.",
    "6.1.1": "Destroying Python sub-interpreters in daemon process 'subject'.",
}


@pytest.mark.parametrize("said", BEGINS.values(), ids=BEGINS)
@pytest.mark.parametrize(("pid", "ends"), [(300, (300,)), (301, ())])
def test_what_apache_no_longer_needs_was_to_end(said: str, pid: int, ends: tuple[int, ...]) -> None:
    events = (*BORN, born(300, Role.WORKER), died(300, phase="parallel", **CRASH))
    text = f"[Fri Nov 27 08:50:54.552959 2026] [wsgi:info] [pid {pid}:tid {pid}] {said}"
    seen = observed(events=events, log=(LogLine(phase="parallel", text=text),))
    assert process_ends(seen).crashed == ends


@pytest.mark.parametrize("role", [Role.FRONTEND, Role.PARENT, Role.HELPER])
def test_only_processes_that_ran_python_count(role: Role) -> None:
    events = (born(300, role), died(300, role=role, phase="stop", **CRASH))
    assert process_ends(observed(events=events)).total == 0


# Bounds and intervals


@pytest.mark.parametrize(("bound", "needed"), [(0.78, 2), (0.2, 14), (0.1, 29), (0.01, 299)])
def test_so_many_good_ends_exclude_a_probability(bound: float, needed: int) -> None:
    assert ends_needed(bound) == needed
    assert (1 - bound) ** needed <= 0.05 < (1 - bound) ** (needed - 1)
    assert bound_of(needed) <= bound < bound_of(needed - 1)


def test_nothing_is_excluded_by_no_end() -> None:
    assert bound_of(0) == 1


@pytest.mark.parametrize(
    ("number", "total", "low", "high"),
    [(8, 20, 0.191, 0.639), (0, 14, 0.0, 0.232), (14, 14, 0.768, 1.0), (1, 2, 0.0126, 0.987)],
)
def test_limits_are_those_of_the_tables(number: int, total: int, low: float, high: float) -> None:
    assert binomial_limits(number, total) == pytest.approx((low, high), abs=0.001)


def test_a_rate_reads_as_a_sentence() -> None:
    ends = process_ends(in_trials(*[CRASH] * 8, *[CLEAN] * 12))
    assert ends.rate(8, "crashed") == (
        "8 of 20 process ends crashed, 40 % (95 %: 19 to 64 %)"  # as SciPy says
    )
    good = process_ends(in_trials(*[CLEAN] * 14))
    assert good.rate(0, "hung") == "none of 14 process ends hung: under 19.3 % each (95 %)"


# When there are enough


def test_ends_are_needed_until_there_are_enough() -> None:
    assert [more_ends(in_trials(*[CLEAN] * ends)) for ends in (0, 3, 14, 20)] == [14, 11, 0, 0]


def test_a_smaller_bound_takes_more_ends() -> None:
    assert more_ends(in_trials(CLEAN, crash_bound=0.01)) == 298


def test_one_crash_is_not_enough_to_say_how_often() -> None:
    assert more_ends(in_trials(CRASH)) == 13
    assert more_ends(in_trials(*[CRASH] * ENOUGH_CRASHES, crash_bound=0.01)) == 0


def simulated(rate: float, bound: float, chance: random.Random) -> tuple[int, int]:
    """Return the crashes and the ends of one cell, whose ends come four at a time."""
    needed, crashed, total = ends_needed(bound), 0, 0
    while total < needed and crashed < ENOUGH_CRASHES:
        size = min(4, needed - total)
        crashed += sum(chance.random() < rate for _ in range(size))
        total += size
    return crashed, total


def coverage(rate: float, bound: float, cells: int) -> float:
    """Return the share of cells whose interval has the true rate in it."""
    chance = random.Random(f"{rate} {bound}")
    inside = 0
    known: dict[tuple[int, int], tuple[float, float]] = {}
    for number, total in (simulated(rate, bound, chance) for _ in range(cells)):
        if (number, total) not in known:
            known[number, total] = binomial_limits(number, total)
        low, high = known[number, total]
        inside += low <= rate <= high
    return inside / cells


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("bound", [0.2, 0.01])
def test_intervals_hold_the_true_rate_also_if_crashes_end_the_trials(
    rate: float, bound: float
) -> None:
    assert coverage(rate, bound, cells=2000) >= 0.94


@pytest.mark.parametrize("bound", [0.2, 0.05, 0.01])
def test_a_crash_that_is_as_likely_as_the_bound_passes_in_one_cell_of_twenty(bound: float) -> None:
    chance = random.Random(str(bound))
    cells = [simulated(bound, bound, chance) for _ in range(4000)]
    assert passed(cells) / len(cells) <= 0.06


def passed(cells: Iterable[tuple[int, int]]) -> int:
    """Return how many cells saw no crash."""
    return sum(not crashed for crashed, _ in cells)
