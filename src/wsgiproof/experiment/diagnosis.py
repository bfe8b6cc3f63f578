"""The diagnosing pass: where something seems to leak, more load shows whether it does, and what."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

from wsgiproof.experiment.load import Load
from wsgiproof.experiment.sampler import Sampler
from wsgiproof.judge.growth import LEAST_STEPS
from wsgiproof.judge.leaks import RESOURCES, total
from wsgiproof.records import Attribution, Confirmation, LoadPlan, ObjectGrowth

_CENSUS_REQUESTS = 200
_UNITS = 8
"""How many leaked units to wait for, for each URL."""
_LEAST, _MOST = 40, 400
"""Requests to one URL, whatever the rate is."""


def confirm(
    suspects: Mapping[str, int],
    load: Load,
    sampler: Sampler,
    plan: LoadPlan,
    phase: str,
    stop: Callable[[], bool],
) -> tuple[Confirmation, ...]:
    """How far each suspected count goes on growing, all pools being full.

    ``suspects`` are checks with the requests after which it is plain that nothing leaks. It is
    over as soon as each of them has grown by enough to be a leak, or when ``stop()`` is true.
    """
    before = sampler.read(phase)
    found: dict[str, Confirmation] = {}
    done, most = 0, max(suspects.values())
    while done < most and not load.hopeless() and not stop():
        size = min(plan.round, most - done)
        load.mixed(size, plan.connections)
        done += size
        after = sampler.read(phase)
        for check in suspects:
            units = total(RESOURCES[check], after) - total(RESOURCES[check], before)
            found[check] = Confirmation(check=check, requests=done, units=units)
        if all(one.units >= LEAST_STEPS for one in found.values()):
            break
    return tuple(found.values())


def object_growth(load: Load, sampler: Sampler) -> tuple[ObjectGrowth, ...]:
    """Of which types each interpreter has more objects after some requests."""
    sampler.object_growth("begin")
    served = load.answers.served.copy()
    load.mixed(_CENSUS_REQUESTS, len(load.targets))
    grown: dict[str, ObjectGrowth] = {}
    if load.hopeless():
        return ()
    for answer in sampler.object_growth("end"):
        if answer.object_growth is not None:
            # A process that two of the requests met has told all to the first.
            grown.setdefault(
                answer.interpreter,
                ObjectGrowth(
                    pid=answer.pid,
                    application_group=answer.application_group or "",
                    requests=load.answers.served[answer.pid] - served[answer.pid],
                    types=answer.object_growth.types,
                ),
            )
    return tuple(grown.values())


def attribute(
    rates: dict[str, float], load: Load, sampler: Sampler, phase: str
) -> tuple[Attribution, ...]:
    """How far each leaking count grows while one URL alone is asked.

    ``rates`` are the checks that found a leak, with the units per request that they saw.
    """
    requests = _enough(rates.values())
    attributions = []
    before = sampler.read(phase)
    for target in load.targets:
        if load.hopeless():
            break
        load.to(target, requests)
        after = sampler.read(phase)
        attributions += [
            Attribution(
                check=check,
                url=target.url,
                requests=requests,
                units=total(RESOURCES[check], after) - total(RESOURCES[check], before),
            )
            for check in rates
        ]
        before = after
    return tuple(attributions)


def _enough(rates: Collection[float]) -> int:
    slowest = min(rates)
    return _MOST if slowest <= 0 else min(_MOST, max(_LEAST, math.ceil(_UNITS / slowest)))
