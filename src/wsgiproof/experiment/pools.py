"""Fills the pools of all interpreters of all processes, and says when they are full."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import cycle, islice

from wsgiproof.experiment.load import until_full
from wsgiproof.experiment.state import State
from wsgiproof.judge.leak_load import have_returned
from wsgiproof.load.target import Target
from wsgiproof.records.observed import Sample

_HOLD = 0.15
"""Seconds that the requests of a burst wait for each other, if there is not a thread for each."""
_HELD_SO = 16
"""Requests for which that is long enough; more of them take longer to arrive."""
_OCCUPY = 0.04
"""Seconds for which each of them then keeps a connection to the backend busy, at least."""
_CLOSING = 1.0
"""Seconds to wait for what requests have closed; less than any pool keeps what is idle."""
_CLOSING_STEP = 0.1
_FILLS = 3
"""How often the pools are filled at most before they count as full."""


def race(state: State, targets: Sequence[Target], processes: int) -> None:
    """Make the first requests to all interpreters of new processes, if these requests load them.

    They come at the same time, one for each worker thread, so that threads race for making an
    interpreter and for loading the application in it.
    """
    if state.server.lazy:
        _, threads = state.workers
        racing = [*islice(cycle(targets), processes * threads)]
        state.load.burst(racing, state.plan.start_deadline)


def first_use(state: State, target: Target, processes: int, occupy: float | None = _OCCUPY) -> None:
    """Use one interpreter of ``processes`` new processes, in all of their worker threads at once.

    The requests may have to wait until the application is loaded. A process that has loaded it
    waits for the others: otherwise it would answer their requests, too. It does not if there may be
    fewer processes.
    """
    deadline = state.plan.start_deadline
    hold = deadline if state.server.uniform and not state.workers_vary else None
    _hold(state, target, processes, deadline, hold=hold, occupy=occupy)


def hold_all(state: State, target: Target) -> None:
    """Hold as many requests to one URL inside as there are worker threads.

    They wait for each other, and each then keeps a connection busy.
    """
    processes, _ = state.workers
    _hold(state, target, processes, state.plan.request_deadline)


def _hold(
    state: State,
    target: Target,
    processes: int,
    deadline: float,
    *,
    hold: float | None = None,
    occupy: float | None = _OCCUPY,
) -> None:
    _, threads = state.workers
    commands = state.load.commands
    if processes == 1:
        held = commands.on(target, together=threads, occupy=occupy)
    else:
        hold = hold or _HOLD * max(1.0, processes * threads / _HELD_SO)
        until = time.monotonic() + hold
        held = commands.on(target, until=until, gather=processes * threads, occupy=occupy)
    state.load.burst([held] * (processes * threads), deadline)


def fill_pools(state: State) -> None:
    """Fill the pools of every interpreter once."""
    for target in state.load.targets:
        hold_all(state, target)


def read_full(state: State, most: int = _FILLS) -> Sample:
    """Fill all pools, unless requests only fail, and return a sample.

    ``most`` is how often they are filled at most; once where processes come and go, since then a
    count that stays the same says nothing.
    """

    def fill() -> None:
        if not state.load.hopeless():
            fill_pools(state)

    until_full(fill, state.sampler.pools, 1 if state.workers_vary else most)
    return _read_closed(state)


def _read_closed(state: State) -> Sample:
    """Return a sample, once its counts are at most those of the first filling or after a second.

    What requests have closed is not gone at once: threads of a client close its other connections
    later, on a busy machine much later. What a pool holds, or has lost, stays.
    """
    pooled = [one for one in state.resources.values() if one.pooled]

    def closed(now: Sample) -> bool:
        return not state.full_pools or have_returned(pooled, state.full_pools[0], now)

    return state.read_until(closed, _CLOSING, _CLOSING_STEP)


def remember_full(state: State) -> None:
    """Read the counts with all pools full, to compare them with those of another time.

    Where processes come and go with the load, they can't be compared.
    """
    if not state.workers_vary:
        state.full_pools.append(read_full(state))


def warm_newcomers(state: State) -> None:
    """Fill the pools of processes that have started since, as those of the first were."""
    workers = {*state.living_workers()}
    if state.warmed and workers - state.warmed:
        fill_pools(state)
    state.warmed |= workers
