"""The phase ``diagnosis``: more load shows whether a suspected count leaks, and through what."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise

import msgspec

from wsgiproof.experiment.load import MOST_FILLS
from wsgiproof.experiment.pools import fill_pools, read_full, remember_full
from wsgiproof.experiment.rounds import drain, has_returned
from wsgiproof.experiment.state import State
from wsgiproof.judge import count_decisions, leak_load, memory
from wsgiproof.judge.growth import LEAST_STEPS, LeakStatus
from wsgiproof.judge.resources import growth
from wsgiproof.load.target import Target
from wsgiproof.observe.answers import measured
from wsgiproof.records.observed import (
    Attribution,
    CacheTrial,
    Confirmation,
    ObjectGrowth,
    Sample,
    SocketOrigin,
)

_OBJECT_GROWTH_REQUESTS = 200
_TRIAL_REQUESTS = 1000
"""Requests to each process in a cache trial, after the cache would be full."""
_TRIAL_READINGS = 10
_MARGIN = 1.05
"""How many times a cache's entries are requested, since not every request may add one."""
_MOST_TO_FILL = 24_000
"""Requests to fill the caches of one URL, at most; four processes take 20,000."""
_UNITS = 8
"""The load on each URL is enough for this many leaked units."""
_PARTS = 4
"""The pools are filled again after each of so many parts of the requests that rule out a leak."""
_MOST_PARTS = 8
"""Parts at most, if a count grows and has not grown often enough."""
_DRAINS = 3
"""Times that load is added and drained again, at most, if growth was temporary."""
_ENOUGH_TO_DRAIN = 3000
"""Such a load is twice the one before it, up to these requests. What is left after a drain varies
by 25 kB where requests open clients, which is more than a few hundred requests may leave."""
_AGED = 250
"""Requests that a process has to have answered, as many as those of a warm-up."""
_MOST_TO_SETTLE = 6000
"""Requests until all processes have, at most."""
_MOST_SETTLED = 5
"""How many times the requests that rule out a leak processes that stay get, at most."""
_LEAST, _MOST = 40, 400
"""The limits of the requests to one URL."""


def fill_again(state: State) -> None:
    """Fill all pools as at the end of the warm-up: they show now what they have lost."""
    if not state.aborted:
        state.progress(0, 1)
        remember_full(state)


def confirm_growth(state: State) -> None:
    """If a count grows that may be a pool, fill all pools and see whether it keeps growing.

    Some pools fill only when requests happen to overlap.
    """
    if state.load_is_over:
        return
    _drain_again(state)
    _settle(state)
    for alone in (False, True):
        observed = state.observed()
        suspected = leak_load.to_confirm_alone if alone else leak_load.to_confirm
        # What has been confirmed as a leak is one, whatever requests that are alone would show.
        leaking = leak_load.leak_rates(state.resources, observed)
        confirmed = {one.check for one in state.confirmations if one.check in leaking}
        suspects = {
            check: least
            for check, least in suspected(state.resources, observed).items()
            if check not in confirmed
        }
        if suspects:
            state.progress(0, 1)
            _confirm(state, suspects, alone=alone)


def _drain_again(state: State) -> None:
    """If a part of some growth was temporary, add load and compare what is there after drains.

    The first value is that of the cool-down.
    """
    state.drained = state.samples[-1:]
    size = (state.plan.parallel + state.plan.serial) // 2
    for _ in range(_DRAINS):
        observed = state.observed()
        growing = leak_load.to_drain(state.resources, observed)
        memory_grows = memory.to_drain(observed)
        if not (growing or memory_grows) or state.aborted or state.time_is_up():
            break
        state.progress(0, 1)
        state.load.mixed(size, state.few)
        size = max(size, min(2 * size, _ENOUGH_TO_DRAIN))
        drain(state, has_returned(growing, state.drained[0], memory_grows))
        state.drained.append(state.sampler.read(state.phase, memory=True))
        state.aborted = state.load.hopeless()
    if len(state.drained) == 1:
        state.drained = []


def _settle(state: State) -> None:
    """If a count of processes that come and go has grown, see whether it grows while they stay.

    They stay if there are no more requests at once than one of them can answer. What a process
    opens in its first requests, it has opened by then.
    """
    if not (needed := leak_load.to_settle(state.resources, state.observed())):
        return
    state.progress(0, 1)
    fill_pools(state)
    sent = 0
    while not _have_aged(state) and sent < _MOST_TO_SETTLE and not _is_over(state):
        state.load.mixed(state.plan.round, state.few)
        sent += state.plan.round
    state.settled.append(state.sampler.read(state.phase))
    left = _MOST_SETTLED * _PARTS
    while not _is_over(state):
        if left and leak_load.to_settle(state.resources, state.observed()):
            state.load.mixed(math.ceil(needed / _PARTS), state.few)
            left -= 1
        elif _is_drained(state.settled) or not leak_load.growing(state.resources, state.observed()):
            break
        else:
            drain(state, has_returned((*state.resources.values(),), state.settled[0], False))
        state.settled.append(state.sampler.read(state.phase))
    state.aborted = state.load.hopeless()


def _is_drained(samples: Sequence[Sample]) -> bool:
    return len(samples) > 1 and samples[-1].requests == samples[-2].requests


def _is_over(state: State) -> bool:
    return bool(state.load.hopeless()) or state.time_is_up()


def _have_aged(state: State) -> bool:
    """Return whether each worker has answered enough requests to have opened what it ever will."""
    return all(state.load.answers.served[pid] >= _AGED for pid in state.living_workers())


def _confirm(state: State, suspects: Mapping[str, int], *, alone: bool) -> None:
    """Measure how far each suspected count keeps growing while all pools are full.

    ``suspects`` are checks, each with the requests that rule out a leak if it does not grow in
    them. The load ends as soon as each count has either not grown in these requests or has grown
    often enough to be a leak, or when the time is over. If ``alone``, there is one request at a
    time.
    """
    samples = [read_full(state, MOST_FILLS)]
    size = math.ceil(max(suspects.values()) / _PARTS)
    while len(samples) <= _MOST_PARTS and not state.load.hopeless() and not state.time_is_up():
        state.load.mixed(size, 1 if alone else state.few)
        samples.append(read_full(state))
        if all(_decided(state, check, samples, least) for check, least in suspects.items()):
            break
    if len(samples) == 1:
        return
    growing = [one for check in suspects if growth(one := state.resources[check], samples)[1] > 0]
    if growing and state.plan.drain and not _is_over(state):
        # What lives for some seconds was opened by the latest requests, and is no leak.
        drain(state, has_returned(growing, samples[0], False))
        samples.append(read_full(state))
    grown = {check: growth(state.resources[check], samples) for check in suspects}
    state.confirmations += tuple(
        Confirmation(check=check, requests=requests, units=units, alone=alone)
        for check, (requests, units) in grown.items()
    )
    state.full_pools += samples[1:]


def _decided(state: State, check: str, samples: Sequence[Sample], least: int) -> bool:
    """Return whether a count has not grown in ``least`` requests, or grows without a doubt."""
    resource = state.resources[check]
    requests, units = growth(resource, samples)
    if units <= 0:
        return requests >= least
    if sum(growth(resource, pair)[1] > 0 for pair in pairwise(samples)) < LEAST_STEPS:
        return False
    full_pools = (*state.full_pools, *samples[1:])
    observed = msgspec.structs.replace(state.observed(), full_pools=full_pools)
    decision = count_decisions.decision_of(resource, observed)
    return decision is None or decision.status is not LeakStatus.UNDECIDED


def try_caches(state: State) -> None:
    """If memory grows as a cache does that is not full, see whether it continues when it is.

    One URL after the other gets enough requests to fill a cache of its interpreters, until memory
    grows behind one. There is no trial after a count was found to leak, since what leaks takes
    memory, too.
    """
    if state.load_is_over:
        return
    observed = state.observed()
    if leak_load.leak_rates(state.resources, observed) or not memory.to_try(observed):
        return
    for target in state.load.targets:
        state.progress(0, 1)
        trial = _cache_trial(state, target)
        state.cache_trials.append(trial)
        state.aborted = state.load.hopeless()
        if state.aborted or not trial.full or memory.trial_continues(trial, observed):
            return


def _cache_trial(state: State, target: Target) -> CacheTrial:
    """Fill any cache behind ``target`` with requests to it alone, and then measure memory.

    A cache that gets one entry from each request is full after the plan's ``cache_entries``, in
    each process. The trial ends early when the time is over.
    """
    load, plan = state.load, state.plan
    sent = 0
    while (full := _full(state, target)) is None:
        if sent >= _MOST_TO_FILL or load.hopeless() or state.time_is_up():
            return CacheTrial(url=target.url, full=(), readings=())
        load.to(target, plan.round, state.few)
        sent += plan.round
    readings = [state.sampler.memory()]
    for _ in range(_TRIAL_READINGS):
        if load.hopeless() or state.time_is_up():
            break
        part = len(state.living_workers()) * _TRIAL_REQUESTS // _TRIAL_READINGS
        load.to(target, part, state.few)
        readings.append(state.sampler.memory())
    return CacheTrial(url=target.url, full=full, readings=tuple(readings))


def _full(state: State, target: Target) -> tuple[int, ...] | None:
    """Return the processes that have answered enough requests to ``target``, once all have.

    Where processes come and go, half of those that live now are enough.
    """
    served = Counter[int]()
    for one in state.load.answers.identities():
        if one.url == target.url:
            served[one.pid] += one.answers
    least = _MARGIN * state.plan.cache_entries
    full = tuple(pid for pid, answers in served.items() if answers >= least)
    if not state.workers_vary:
        return full if len(full) >= state.workers[0] else None
    living = state.living_workers()
    full = tuple(pid for pid in full if pid in living)
    return full if full and 2 * len(full) >= len(living) else None


def diagnose(state: State) -> None:
    """If something leaks, find out with a little more load what it is, and in which URL."""
    if state.aborted:
        return
    observed = state.observed()
    rates = leak_load.leak_rates(state.resources, observed)
    if rates:
        state.progress(0, 1)
        with _socket_origins(state, rates):
            state.attributions = _attributions(state, rates)
    if memory.grows(observed):
        state.progress(0, 1)
        state.object_growth = _object_growth(state)


def _object_growth(state: State) -> tuple[ObjectGrowth, ...]:
    """Measure of which types each interpreter has more objects after some requests, and which
    operations of the subject leave memory."""
    load = state.load
    state.sampler.object_growth("begin")
    served = load.answers.served.copy()
    load.mixed(_OBJECT_GROWTH_REQUESTS, len(load.targets))
    found: dict[str, ObjectGrowth] = {}
    if load.hopeless():
        return ()
    for answer in state.sampler.object_growth("end"):
        # An interpreter that answers twice has reported everything in the first answer.
        counts = measured(answer.object_growth, "object_growth")
        found.setdefault(
            answer.token,
            ObjectGrowth(
                pid=answer.pid,
                application_group=answer.application_group or "",
                requests=load.answers.served[answer.pid] - served[answer.pid],
                types=counts.types,
                operations=counts.operations,
            ),
        )
    return tuple(found.values())


@contextmanager
def _socket_origins(state: State, rates: Collection[str]) -> Iterator[None]:
    """Remember where sockets are opened in the block, if a count leaks that takes some.

    A pool that has lost some of its connections opens others when it is filled.
    """
    if not any(state.resources[check].takes_sockets for check in rates):
        yield
        return
    fill_pools(state)
    state.sampler.socket_origins("begin")
    yield
    if state.load.hopeless():
        return
    fill_pools(state)
    for answer in state.sampler.socket_origins("end"):
        for stack, sockets in measured(answer.socket_origins, "socket_origins").opened:
            # An interpreter that answers twice has reported everything in the first answer.
            state.socket_origins[answer.token, stack] = SocketOrigin(
                pid=answer.pid,
                application_group=answer.application_group or "",
                stack=stack,
                sockets=sockets,
            )


def _attributions(state: State, rates: Mapping[str, float]) -> tuple[Attribution, ...]:
    """Measure how far each leaking count grows while one URL alone gets all requests.

    ``rates`` are the checks that found a leak, each with its units per request. Some leaks need a
    request that is alone.
    """
    alone = any(one.alone for one in state.confirmations)
    requests = _enough(rates.values())
    attributions = []
    before = state.sampler.read(state.phase)
    for target in state.load.targets:
        if state.load.hopeless():
            break
        state.load.to(target, requests, 1 if alone else state.few)
        after = state.sampler.read(state.phase)
        attributions += [
            Attribution(
                check=check,
                url=target.url,
                requests=requests,
                units=growth(state.resources[check], [before, after])[1],
            )
            for check in rates
        ]
        before = after
    return tuple(attributions)


def _enough(rates: Collection[float]) -> int:
    slowest = min(rates)
    return _MOST if slowest <= 0 else min(_MOST, max(_LEAST, math.ceil(_UNITS / slowest)))
