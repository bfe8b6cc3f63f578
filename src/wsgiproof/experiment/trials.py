"""The phase ``trials``: processes start, use every interpreter in every thread, and end.

What happens at the end of a process does not happen each time, and one look can't tell. So there
are as many ends as the judge needs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import pairwise

from wsgiproof.experiment.pools import first_use, race
from wsgiproof.experiment.state import State
from wsgiproof.judge.process_ends import in_use, more_ends
from wsgiproof.observe.processor_waits import EndingWatch, ProcessorWaits
from wsgiproof.records.observed import Replacement, Role, Sample
from wsgiproof.records.plan import PhaseName
from wsgiproof.server.configuration import ApacheConf

_STEP = 0.01
_BUSY = 2.2
"""Seconds for which processes wait for a processor in the serial phase, for each second of the
workers' own processor time. On an otherwise idle machine with two processors it is 0.5 to 0.8, and
1.2 to 1.7 with two cells at a time."""
_FEW = 4
"""Processes that may end at the same time on a busy machine."""
_MOST_TIMES = 3
"""How many times as many processes as are needed may end."""
_MOST_USES = 3
"""How often new processes are used at most, until each has been."""


def try_ends(state: State) -> None:
    """Replace all processes until enough have ended or will at the stop, or enough have crashed.

    An end that says nothing, since Apache killed a process that had no time, is followed by
    another.
    """
    done = 0
    at_once = trials_at_once(state.trials_at_once, state.samples)
    planned = more = _more(state)
    while more and done < _MOST_TIMES * planned:
        if state.aborted or state.time_is_up():
            break
        state.progress(done, done + more)
        restarts = math.ceil(more / at_once)
        conf = state.server.configure(math.ceil(more / restarts))
        state.trials.append(_replace(state))
        if state.trials[-1].leftover:
            state.aborted = "processes did not end at a restart"
        else:
            _use_all(state, conf)
            state.aborted = state.load.hopeless()
        done += max(1, len(state.living_workers()))
        state.log.read(state.phase)
        more = _more(state)
    state.server.configure(1)  # the configuration that is kept is the cell's


def trials_at_once(most: int, samples: Sequence[Sample]) -> int:
    """Return how many processes run, and end, at the same time.

    Apache kills what has not ended after three seconds. On a busy machine many that end together
    do not get the processor time that they need until then, and the last of them end at the stop,
    after which no other can follow. A machine is busy if other programs took the processors in the
    serial phase, in which one request is made after the other.
    """
    waited = cpu = 0.0
    for before, after in pairwise(samples):
        if after.phase == PhaseName.SERIAL and before.work and after.work:
            work = after.work.since(before.work)
            waited += work.waited
            cpu += work.cpu
    return min(_FEW, most) if waited > _BUSY * cpu else most


def _more(state: State) -> int:
    """Return how many more processes are needed, beside those that will end at the stop."""
    observed = state.observed()
    return max(0, more_ends(observed) - len(in_use(observed).intersection(state.living_workers())))


def _replace(state: State) -> Replacement:
    """Have all processes replaced, without a request in flight."""
    plan = state.plan
    living = state.server.living().items()
    replaced = tuple(pid for pid, role in living if role is not Role.PARENT)
    leftover = replaced
    requested = time.monotonic()
    with ProcessorWaits(replaced) as waits:
        watch = EndingWatch(waits, plan.stop_patience, state.server.role)
        state.server.replace_all()
        while leftover and (waited := time.monotonic() - requested) < plan.restart_deadline:
            if watch.is_due(waited, leftover):
                state.stack_collector.take_staying(state.phase, leftover)
            time.sleep(_STEP)
            now = state.server.service.living()
            leftover = tuple(pid for pid in leftover if pid in now)
    return Replacement(
        phase=state.phase,
        time=requested,
        seconds=time.monotonic() - requested,
        replaced=replaced,
        leftover=leftover,
        processor_waits=waits.noticeable(),
    )


def _use_all(state: State, conf: ApacheConf) -> None:
    """Use all new processes. Of several with the same URLs, one that is late may get no request."""
    for _ in range(_MOST_USES):
        _use(state, conf)
        if state.load.hopeless() or in_use(state.observed()).issuperset(state.living_workers()):
            return


def _use(state: State, conf: ApacheConf) -> None:
    """Use every interpreter of every new process in all of its threads at once."""
    for urls in conf.locations():
        targets = [
            state.load.commands.target(url, counted_as=main)
            for url, main in zip(urls, state.server.urls, strict=True)
        ]
        race(state, targets, conf.workers)
        for target in targets:
            first_use(state, target, conf.workers, occupy=None)
