"""Sockets to the backend that the backend does not have any more."""

from __future__ import annotations

from collections import Counter

from wsgiproof.judge.finding import count
from wsgiproof.records.observed import Role, Sample

CLOSED_BY_PEER = "CLOSE_WAIT"
"""The state of a socket whose other end was closed, and which the process has not closed."""


def abandoned(sample: Sample) -> int | None:
    """Return how many sockets the workers have to the backend that it does not have.

    The larger of two numbers: the sockets in ``/proc`` less those that the backend counts, and the
    sockets that the backend has closed. None if the backend or ``/proc`` was not read.
    """
    sockets = 0
    for one in sample.processes:
        if one.role is not Role.WORKER:
            continue
        if one.connections is None:
            return None
        sockets += one.connections
    known = sample.connections
    if known is None:
        return None
    return max(0, sockets - known, _states(sample)[CLOSED_BY_PEER])


def describe(sample: Sample) -> str:
    """Return the sockets in ``/proc`` by state, and those of the backend, for the evidence."""
    states = ", ".join(f"{number} {state}" for state, number in sorted(_states(sample).items()))
    known = sample.connections
    return (
        f"sockets of the workers to the deployment: {states or 'none'}; the deployment has "
        f"{'an unknown number' if known is None else count(known, 'connection')}"
    )


def _states(sample: Sample) -> Counter[str]:
    states: Counter[str] = Counter()
    for one in sample.processes:
        if one.role is Role.WORKER:
            states.update(one.states)
    return states
