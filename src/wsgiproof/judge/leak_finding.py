"""How a leak is reported: what leaked, how fast, by which requests, and from where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from wsgiproof.judge.finding import count
from wsgiproof.judge.growth import CONFIDENCE, CountDecision
from wsgiproof.judge.resources import Resource, workers
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import Attribution, Observed, Sample, SocketOrigin

_CERTAIN_UNITS = 3
"""Units that the requests to one URL leave behind before that URL is named."""
_MOST_ORIGINS = 4


def finding(resource: Resource, decision: CountDecision, observed: Observed) -> Finding:
    """Return the finding on a leak."""
    assert decision.rate is not None
    attributions = [one for one in observed.attributions if one.check == resource.check]
    return Finding(
        check=resource.check,
        seen=(
            f"{_units(resource, decision)} leaked in "
            f"{requests_of(decision)}{_alone(decision)}, {decision.rate.describe()}"
            f"{_still_there(observed)}{_where(attributions)}{_origin(resource, observed)}"
        ),
        meaning=resource.meaning,
        action=resource.action,
        evidence=(
            *_kinds(resource, observed.samples),
            *(
                f"with all pools full: {one.units:+} in {count(one.requests, 'request')}"
                for one in observed.confirmations
                if one.check == resource.check
            ),
            *(
                f"{one.url} alone: {one.units:+} in {count(one.requests, 'request')}"
                for one in attributions
            ),
            *_origins(resource, observed),
            *(one.describe() for one in decision.growing[:4]),
        ),
    )


def requests_of(decision: CountDecision) -> str:
    """Return ``804 requests to 31 processes that came and went``."""
    to = ""
    if decision.processes:
        to = f" to {count(decision.processes, 'process', 'processes')} that came and went"
    elif decision.settled:
        to = " to processes that stayed"
    return f"{count(decision.requests, 'request')}{to}"


def _still_there(observed: Observed) -> str:
    """Return for how long there was no request before the units were counted; empty if unknown."""
    seconds = max(
        (
            after.time - before.time
            for before, after in pairwise(observed.samples)
            if before.requests == after.requests
        ),
        default=0.0,
    )
    if not observed.plan.drain or seconds < observed.plan.drain:
        return ""
    return f", still there {seconds:.0f} seconds later"


def _units(resource: Resource, decision: CountDecision) -> str:
    """Return how many units leaked, with the name of the count if the resource has several."""
    unit = resource.by_name.get(decision.growing[0].what, resource.unit)
    return count(decision.units, unit, resource.plurals.get(unit))


def _alone(decision: CountDecision) -> str:
    return " that were alone in their process" if decision.alone else ""


def _where(attributions: Sequence[Attribution]) -> str:
    """Return the URLs, and so the interpreters, whose requests leak, if that is significant.

    A count that grows by itself, without requests, grows during the requests to any URL.
    """
    leaking = [one for one in attributions if one.units > 0]
    if not leaking:
        return ""
    if len(leaking) == len(attributions):
        certain = min(one.units for one in leaking) >= _CERTAIN_UNITS
        return ", in every interpreter" if certain else ""
    requests = sum(one.requests for one in attributions)
    share = sum(one.requests for one in leaking) / requests
    if share ** sum(one.units for one in leaking) > 1 - CONFIDENCE:
        return ""
    return f", by requests to {' and '.join(one.url.rpartition('/')[2] for one in leaking)} alone"


def _origin(resource: Resource, observed: Observed) -> str:
    """Return the innermost call that opened sockets which are still open, most of them."""
    origins = _socket_origins(resource, observed)
    if not origins:
        return ""
    most = max(origins, key=lambda one: one.sockets)
    return (
        f"; sockets that were opened meanwhile and stay open come from {most.stack.split(' < ')[0]}"
    )


def _origins(resource: Resource, observed: Observed) -> Iterator[str]:
    """Yield where sockets were opened that are still open, for the evidence."""
    for one in _socket_origins(resource, observed)[:_MOST_ORIGINS]:
        opened = count(one.sockets, "socket")
        yield f"pid {one.pid} {one.application_group} opened {opened} that stay open: {one.stack}"


def _socket_origins(resource: Resource, observed: Observed) -> Sequence[SocketOrigin]:
    return observed.socket_origins if resource.takes_sockets else ()


def _kinds(resource: Resource, samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return which kinds of descriptors grew, for the evidence."""
    if resource.by_process != "descriptors":
        return ()
    first, last = samples[0], samples[-1]
    growth = _by_kind(last)
    growth.subtract(_by_kind(first))
    more = [f"{kind} {units:+}" for kind, units in growth.most_common() if units > 0]
    return (f"by kind: {', '.join(more)}",) if more else ()


def _by_kind(sample: Sample) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for reading in workers(sample.processes):
        kinds.update(reading.kinds)
    return kinds
