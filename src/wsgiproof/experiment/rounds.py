"""The phases of load: rounds of requests with a sample after each, and quiet in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from wsgiproof.experiment.load import rounds
from wsgiproof.experiment.pools import (
    first_use,
    hold_all,
    race,
    remember_full,
    warm_newcomers,
)
from wsgiproof.experiment.sampler import FILLED
from wsgiproof.experiment.state import State
from wsgiproof.judge import leak_load, memory
from wsgiproof.judge.resources import Resource
from wsgiproof.records.observed import Sample
from wsgiproof.records.plan import PhaseName

_MOST_BURSTS = 20
_DRAIN_STEP = 0.5
"""Seconds between two looks at the counts in a drain."""
_COOL_DOWN_STEP = 0.25
"""The same in a cool-down, which is over at once in most cells."""
_CHANCE = 0.25
"""More requests may decide if they are at least this share of what is likely to."""


def warm_up(state: State) -> None:
    """Send bursts until every interpreter of every process has served; fill pools and caches.

    Each burst holds as many requests inside as there are worker threads, so that every worker
    thread has its own connection and the pool of every interpreter is full.
    """
    load, plan = state.load, state.plan
    # An application may make its clients in its first request. If the pools are not filled once
    # more at the end of the warm-up, a second burst finds them.
    least = 2 if state.workers_vary else 1
    processes, _ = state.workers
    race(state, load.targets, processes)
    for burst in range(1, _MOST_BURSTS + 1):
        state.progress(burst, _MOST_BURSTS)
        for target in load.targets:
            if burst == 1:
                first_use(state, target, processes)
            else:
                hold_all(state, target)
            if load.hopeless():
                break
        if load.answers.succeeded == 0:
            state.aborted = "no request of the first burst was answered correctly"
        else:
            state.aborted = load.hopeless()
        if state.aborted:
            return
        if burst >= least and _saturated(state):
            break
    warm_newcomers(state)
    state.sampler.read(state.phase, memory=True)  # loads what the measurement itself needs
    load.mixed(plan.warm_up, plan.connections)
    warm_newcomers(state)
    remember_full(state)
    if state.workers_vary:
        # Only counts of processes that have been in use for so long can be compared, and a short
        # load is over before.
        time.sleep(FILLED)
    state.sample(memory=True)


def _saturated(state: State) -> bool:
    processes, threads = state.workers
    workers = state.load.answers.workers()
    return len(workers) == len(state.load.targets) and all(
        len(served) >= processes and min(served.values()) >= threads for served in workers.values()
    )


def work(state: State, requests: int, connections: int, *, fill: bool = True) -> None:
    """Make ``requests`` requests in rounds, with a sample after each round.

    The load ends early if the judge is already certain of a leak. ``fill`` says whether the pools
    of processes that have started meanwhile are filled.
    """
    done = 0
    for size in rounds(requests, state.plan.round):
        if state.aborted or state.decided_early or _over_budget(state, requests - done):
            return
        if fill:
            warm_newcomers(state)
        state.progress(done, requests)
        state.load.mixed(size, connections)
        done += size
        state.sample(memory=state.load.answers.requests >= state.memory_due)
        state.decided_early = _certain_leak(state)


def _certain_leak(state: State) -> str:
    """Return what certainly leaks, as a sentence; empty if nothing does.

    Growth beyond any pool has to be there after a drain, and to continue in another round.
    """
    if state.outlived_drain is False or not (grown := _beyond_any_pool(state)):
        return ""
    if not state.plan.drain:
        return grown
    if state.outlived_drain:
        return f"{grown}, and still there after {state.plan.drain:g} seconds without a request"
    drain(state, lambda sample: not _beyond_any_pool(state, sample))
    state.sample(memory=False)
    state.outlived_drain = bool(_beyond_any_pool(state))
    return ""


def _beyond_any_pool(state: State, *now: Sample) -> str:
    samples = (*state.samples, *now)
    return leak_load.certain_leak(state.resources, samples, len(state.load.targets), *state.workers)


def _over_budget(state: State, left: int) -> bool:
    """Return whether the time is over with ``left`` requests of this phase to go."""
    if state.time_is_up():
        state.budget_exhausted = (
            f"the limit of {state.plan.max_seconds:g} s was reached with {left:,} requests of "
            f"the {state.phase} phase to go"
        )
    return bool(state.budget_exhausted)


def cool_down(state: State) -> None:
    """Make no requests for a while, and take a sample of what the server still holds.

    It need not wait where the server holds no more than before the load.
    """
    if state.aborted:
        return
    state.progress(0, 1)
    every = has_returned((*state.resources.values(),), state.samples[0], False)
    state.read_until(every, state.plan.cool_down, _COOL_DOWN_STEP)
    state.sample(memory=True)
    if not state.plan.drain or state.decided_early or state.aborted:
        return
    observed = state.observed()
    growing = leak_load.growing(state.resources, observed)
    memory_grows = memory.seems_to_grow(observed)
    if growing or memory_grows:
        drain(state, has_returned(growing, state.samples[0], memory_grows))
        state.sample(memory=True)


def may_be_temporary(state: State) -> bool:
    """Return whether only a drain can tell if memory that has grown is still in use.

    There is no drain after a count was found to leak, since what leaks takes memory, too.
    """
    if state.load_is_over or not state.plan.drain:
        return False
    observed = state.observed()
    return memory.has_grown(observed) and not leak_load.leak_rates(state.resources, observed)


def drain_memory(state: State) -> None:
    """Drain, and read what memory is in use then."""
    state.progress(0, 1)
    drain(state, lambda now: False)  # to read memory takes requests
    state.sample(memory=True)


def drain(state: State, over: Callable[[Sample], bool]) -> None:
    """Make no requests for as long as the plan's drain, or until ``over()`` is true.

    Then each interpreter gets a request, so that it can drop what has expired.
    """
    state.read_until(over, state.plan.drain, _DRAIN_STEP)
    state.sampler.touch()


def has_returned(
    growing: Sequence[Resource], before: Sample, memory_grows: bool
) -> Callable[[Sample], bool]:
    """Return what ends a drain: the counts are back. Memory takes requests to read."""
    return lambda now: not memory_grows and leak_load.have_returned(growing, before, now)


def extra_requests(state: State) -> int:
    """Return how many more requests may decide what the judge can't decide yet.

    0 if nothing is undecided, if something certainly leaks, or if the requests that may still be
    added have no chance to decide. What is likely to be needed is an estimate, so fewer requests
    are added, too.
    """
    if state.load_is_over:
        return 0
    resources, observed = state.resources, state.observed()
    unsure = {
        *leak_load.to_confirm(resources, observed),
        *leak_load.to_confirm_alone(resources, observed),
    }
    leaking = leak_load.leak_rates(resources, observed).keys() - unsure
    to_try = memory.seems_to_grow(observed) and not state.cache_trials
    if leaking or to_try or memory.grows(observed):
        return 0
    added = sum(one.requests for one in state.phases if one.name == PhaseName.EXTRA_LOAD)
    left = state.plan.extra_requests - added
    needed = (*leak_load.more_to_decide(resources, observed), memory.more_to_decide(observed))
    in_any_case = (*leak_load.more_to_show(resources, observed), memory.more_to_read(observed))
    return max(affordable(needed, left), min(left, max(in_any_case)))


def extra_load(state: State, requests: int) -> None:
    """Make extra requests.

    Where memory has to be read more often, processes that come and go have to stay. They do if
    there are few connections, and no burst for which Apache starts others.
    """
    if state.workers_vary and memory.more_to_read(state.observed()):
        work(state, requests, state.few, fill=False)
    else:
        work(state, requests, state.plan.connections)


def affordable(needed: Iterable[int], left: int) -> int:
    """Return how many requests to add if at most ``left`` may be, and ``needed`` are likely to do.

    ``needed`` are estimates, so fewer requests may do, too, if they are not far fewer.
    """
    return max((min(more, left) for more in needed if left >= _CHANCE * more), default=0)
