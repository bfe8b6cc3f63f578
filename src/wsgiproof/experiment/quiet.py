"""The phases without load: an idle server, and its stop."""

from __future__ import annotations

import time

from wsgiproof.experiment.state import State
from wsgiproof.observe.processor_waits import EndingWatch, ProcessorWaits
from wsgiproof.records.observed import Stop

_SAMPLES = 6
"""Samples of phase ``idle``, after the first."""
_AFTER_PAUSE = 2
"""Requests for each URL at the end of phase ``idle``."""
_DISCONNECT_STEP = 0.02


def watch_idle(state: State) -> None:
    """Make no requests for a long time, and take samples at intervals."""
    if state.aborted:
        return
    began = time.monotonic()
    for number in range(_SAMPLES + 1):
        state.progress(number, _SAMPLES)
        due = began + state.plan.idle_seconds * number / _SAMPLES
        time.sleep(max(0.0, due - time.monotonic()))
        state.idle_samples.append(state.sampler.read_idle(state.phase))
    # The first request after a long pause may find connections closed, or take long.
    state.load.mixed(_AFTER_PAUSE * len(state.load.targets), 1)


def stop(state: State) -> None:
    """Stop the server, and wait until the backend has seen its connections close."""
    plan = state.plan
    state.progress(0, 1)
    with ProcessorWaits(state.server.living()) as waits:
        watch = EndingWatch(waits, plan.stop_patience, state.server.role)

        def follow(waited: float) -> None:
            if watch.is_due(waited, state.server.living()):
                state.stack_collector.take_ending(state.phase)

        stopped = state.server.stop(plan.stop_deadline, follow)
    limit = time.monotonic() + plan.disconnect_timeout
    left = state.sampler.connections()
    while left and time.monotonic() < limit:
        time.sleep(_DISCONNECT_STEP)
        left = state.sampler.connections()
    state.stop = Stop(
        seconds=stopped.seconds,
        leftover=stopped.leftover,
        connections_left=left,
        processor_waits=waits.noticeable(),
    )
