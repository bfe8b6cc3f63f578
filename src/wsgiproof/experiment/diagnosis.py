"""The phase ``diagnosis``: more load shows whether a suspected count leaks, and through what."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise

from wsgiproof.experiment.load import Load
from wsgiproof.experiment.sampler import Sampler
from wsgiproof.judge.growth import LEAST_STEPS
from wsgiproof.judge.resources import Resource, Resources, total
from wsgiproof.load.target import Target
from wsgiproof.observe.answers import measured
from wsgiproof.records.observed import Attribution, CacheTrial, Confirmation, ObjectGrowth, Sample
from wsgiproof.records.plan import LoadPlan

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
_LEAST, _MOST = 40, 400
"""The limits of the requests to one URL."""


def confirm(
    resources: Resources,
    suspects: Mapping[str, int],
    first: Sample,
    load: Load,
    fill: Callable[[], Sample],
    plan: LoadPlan,
    stop: Callable[[], bool],
    *,
    alone: bool = False,
) -> tuple[tuple[Confirmation, ...], tuple[Sample, ...]]:
    """Measure how far each suspected count keeps growing while all pools are full.

    ``suspects`` are checks, each with the requests that rule out a leak if it does not grow in
    them. ``first`` is a sample with all pools full; ``fill`` fills them again and returns another.
    The load ends as soon as each count has either not grown in these requests or has grown often
    enough to be a leak, or when ``stop()`` is true. If ``alone``, there is one request at a time.
    Return the growth, and all samples after ``first``.
    """
    samples = [first]
    needed = max(suspects.values())
    size = math.ceil(needed / _PARTS)
    while len(samples) <= _MOST_PARTS and not load.hopeless() and not stop():
        load.mixed(size, 1 if alone else plan.connections)
        samples.append(fill())
        done = size * (len(samples) - 1)
        if all(_decided(resources[check], samples, done >= needed) for check in suspects):
            break
    others = samples[1:]
    confirmations = tuple(
        Confirmation(
            check=check,
            requests=samples[-1].requests - first.requests,
            units=total(resources[check], samples[-1]) - total(resources[check], first),
            alone=alone,
        )
        for check in suspects
        if others
    )
    return confirmations, tuple(others)


def _decided(resource: Resource, samples: Sequence[Sample], enough: bool) -> bool:
    """Return whether a count has not grown in ``enough`` requests, or has grown often enough."""
    totals = [total(resource, one) for one in samples]
    rises = sum(later > earlier for earlier, later in pairwise(totals))
    return rises >= LEAST_STEPS or (enough and totals[-1] <= totals[0])


def cache_trial(
    target: Target,
    load: Load,
    sampler: Sampler,
    plan: LoadPlan,
    processes: int,
    stop: Callable[[], bool],
) -> CacheTrial:
    """Fill any cache behind ``target`` with requests to it alone, and then measure memory.

    A cache that gets one entry from each request is full after the plan's ``cache_entries``, in
    each of the ``processes``. The trial ends early when ``stop()`` is true.
    """
    sent = 0
    while (full := _full(target, load, plan, processes)) is None:
        if sent >= _MOST_TO_FILL or load.hopeless() or stop():
            return CacheTrial(url=target.url, full=(), readings=())
        load.to(target, plan.round, plan.connections)
        sent += plan.round
    readings = [sampler.memory()]
    for _ in range(_TRIAL_READINGS):
        if load.hopeless() or stop():
            break
        load.to(target, processes * _TRIAL_REQUESTS // _TRIAL_READINGS, plan.connections)
        readings.append(sampler.memory())
    return CacheTrial(url=target.url, full=full, readings=tuple(readings))


def _full(target: Target, load: Load, plan: LoadPlan, processes: int) -> tuple[int, ...] | None:
    """Return the processes that have answered enough requests to ``target``, once all have."""
    served = Counter[int]()
    for one in load.answers.identities():
        if one.url == target.url:
            served[one.pid] += one.answers
    full = tuple(pid for pid, answers in served.items() if answers >= _MARGIN * plan.cache_entries)
    return full if len(full) >= processes else None


def object_growth(load: Load, sampler: Sampler) -> tuple[ObjectGrowth, ...]:
    """Measure of which types each interpreter has more objects after some requests."""
    sampler.object_growth("begin")
    served = load.answers.served.copy()
    load.mixed(_OBJECT_GROWTH_REQUESTS, len(load.targets))
    growth: dict[str, ObjectGrowth] = {}
    if load.hopeless():
        return ()
    for answer in sampler.object_growth("end"):
        # An interpreter that answers twice has reported everything in the first answer.
        growth.setdefault(
            answer.token,
            ObjectGrowth(
                pid=answer.pid,
                application_group=answer.application_group or "",
                requests=load.answers.served[answer.pid] - served[answer.pid],
                types=measured(answer.object_growth, "object_growth").types,
            ),
        )
    return tuple(growth.values())


def attribute(
    resources: Resources,
    rates: dict[str, float],
    load: Load,
    sampler: Sampler,
    phase: str,
    connections: int,
) -> tuple[Attribution, ...]:
    """Measure how far each leaking count grows while one URL alone gets all requests.

    ``rates`` are the checks that found a leak, each with its units per request. ``connections`` is
    how many requests are in flight: some leaks need a request that is alone.
    """
    requests = _enough(rates.values())
    attributions = []
    before = sampler.read(phase)
    for target in load.targets:
        if load.hopeless():
            break
        load.to(target, requests, connections)
        after = sampler.read(phase)
        attributions += [
            Attribution(
                check=check,
                url=target.url,
                requests=requests,
                units=total(resources[check], after) - total(resources[check], before),
            )
            for check in rates
        ]
        before = after
    return tuple(attributions)


def _enough(rates: Collection[float]) -> int:
    slowest = min(rates)
    return _MOST if slowest <= 0 else min(_MOST, max(_LEAST, math.ceil(_UNITS / slowest)))
