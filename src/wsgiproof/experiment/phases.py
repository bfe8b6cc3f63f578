"""Runs the phases of one cell, and takes samples while there are no requests.

This module is the table of contents: it decides when load runs and when resources are read.
:mod:`wsgiproof.judge` decides what they mean, from the
:class:`~wsgiproof.records.observed.Observed` that :func:`run_experiment` returns. It is also asked
in between whether it is already certain, and what to measure again.
"""

from __future__ import annotations

from wsgiproof.experiment.context import Experiment
from wsgiproof.experiment.diagnosis import confirm_growth, diagnose, fill_again, try_caches
from wsgiproof.experiment.failover import fail_over
from wsgiproof.experiment.quiet import stop, watch_idle
from wsgiproof.experiment.restarts import reload, restart
from wsgiproof.experiment.rounds import (
    cool_down,
    drain_memory,
    extra_load,
    extra_requests,
    may_be_temporary,
    warm_up,
    work,
)
from wsgiproof.experiment.state import State
from wsgiproof.experiment.trials import try_ends
from wsgiproof.records.observed import Observed
from wsgiproof.records.plan import ExtraPhase, PhaseName


def run_experiment(experiment: Experiment) -> Observed:
    """Put the server under load according to the plan, stop it, and return all measurements.

    A phase does nothing once the experiment is aborted; a phase of load also if it is decided early
    or out of time.
    """
    plan = experiment.plan
    state = State(experiment)
    with state.in_phase(PhaseName.WARM_UP):
        warm_up(state)
    with state.in_phase(PhaseName.PARALLEL):
        work(state, plan.parallel, plan.connections)
    with state.in_phase(PhaseName.SERIAL):
        work(state, plan.serial, 1)
    with state.in_phase(PhaseName.COOL_DOWN):
        cool_down(state)
    _add_load(state)
    with state.in_phase(PhaseName.DIAGNOSIS):
        fill_again(state)
        confirm_growth(state)
        try_caches(state)
    if state.cache_trials:  # what was growing in steps has stopped, now that all caches are full
        _add_load(state)
    with state.in_phase(PhaseName.DIAGNOSIS):
        diagnose(state)
    if ExtraPhase.FAILOVER in plan.phases:
        with state.in_phase(PhaseName.FAILOVER):
            fail_over(state)
    if ExtraPhase.IDLE in plan.phases:
        with state.in_phase(PhaseName.IDLE):
            watch_idle(state)
    if ExtraPhase.RESTART in plan.phases:
        with state.in_phase(PhaseName.RESTART):
            restart(state)
    if ExtraPhase.RELOAD in plan.phases:
        with state.in_phase(PhaseName.RELOAD):
            reload(state)
    if ExtraPhase.TRIALS in plan.phases:
        with state.in_phase(PhaseName.TRIALS):
            try_ends(state)
    state.stack_collector.settle()  # so that the stop begins with its phase
    with state.in_phase(PhaseName.STOP):
        stop(state)
    return state.observed(complete=True)


def _add_load(state: State) -> None:
    """Add load, and cool down after it, as long as it may decide what is undecided.

    If memory is undecided even then, a drain may tell whether its growth was temporary.
    """
    while more := extra_requests(state):
        with state.in_phase(PhaseName.EXTRA_LOAD):
            extra_load(state, more)
        with state.in_phase(PhaseName.COOL_DOWN):
            cool_down(state)
    if may_be_temporary(state):
        with state.in_phase(PhaseName.COOL_DOWN):
            drain_memory(state)
