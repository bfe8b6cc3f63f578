"""How much load a cell gets, its phases and its deadlines."""

from __future__ import annotations

import math
from enum import StrEnum

import msgspec

MISSED = 0.0045
"""The probability with which one look misses a leak of a plan's sensitivity. There may be several,
each after more requests: all together miss one in a hundred."""
_REQUESTS_A_SECOND = 50.0
"""Of a slow machine that does something else as well; a usual one serves ten times as many."""
_SECONDS_OF_AN_END = 3.0
"""For a process to start, to be used and to end."""
_OTHER_SECONDS = 300.0
"""For all else: starts and stops, waits, restarts, and a diagnosing pass."""


def least_requests(sensitivity: int) -> int:
    """Return the requests in which a leak of one unit in ``sensitivity`` leaves none with the
    probability of a miss."""
    return math.ceil(-math.log(MISSED) * sensitivity)


class PhaseName(StrEnum):
    """The phases of an experiment, in their order."""

    START = "start"
    """Before the first phase, while the server starts."""
    WARM_UP = "warm-up"
    PARALLEL = "parallel"
    SERIAL = "serial"
    COOL_DOWN = "cool-down"
    EXTRA_LOAD = "extra-load"
    """More load, followed by another cool-down, if the judge could not decide."""
    DIAGNOSIS = "diagnosis"
    FAILOVER = "failover"
    """Members of the deployment are killed, paused and stepped down, under load."""
    RESTART = "restart"
    """Apache restarts gracefully, under load."""
    RELOAD = "reload"
    """The script is touched, so that mod_wsgi replaces its daemon process."""
    TRIALS = "trials"
    """Processes start, use every interpreter in every thread, and end, again and again."""
    IDLE = "idle"
    """The server is watched for a long time without a request."""
    STOP = "stop"


REPLACING = frozenset({PhaseName.RESTART, PhaseName.RELOAD})
"""The phases in which wsgiproof has processes replaced under load."""
ENDING = frozenset({*REPLACING, PhaseName.TRIALS, PhaseName.STOP})
"""The phases in which processes end because wsgiproof wants them to."""


class ExtraPhase(StrEnum):
    """The optional phases, in addition to load and stop."""

    RESTART = PhaseName.RESTART.value
    RELOAD = PhaseName.RELOAD.value
    FAILOVER = PhaseName.FAILOVER.value
    TRIALS = PhaseName.TRIALS.value
    IDLE = PhaseName.IDLE.value


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How much load there is, and all deadlines. It is recorded because the judge reads it."""

    parallel: int
    """Requests of the parallel phase."""
    serial: int
    """Requests of the serial phase."""
    connections: int
    """Requests in flight at once in the parallel phase."""
    extra_requests: int = 0
    """Requests that may be added at most, if the judge can't decide yet."""
    sensitivity: int = 0
    """Requests are added until a leak of one unit in this many would have shown with a probability
    of 99 %. 0: they are not added for that."""
    warm_up: int = 250
    """Requests between filling the pools and the first sample."""
    round: int
    """Requests between two samples, at most; the first rounds are shorter."""
    memory_every: int = 250
    """Requests between two memory samples, at least: a memory sample takes extra requests."""
    request_deadline: float = 30.0
    """Seconds after which a request without an answer counts as hung."""
    start_deadline: float = 30.0
    """Seconds within which the first requests have to be answered."""
    stop_deadline: float = 15.0
    """Seconds within which all processes have to end after a stop."""
    stop_patience: float = 0.8
    """Seconds after a stop at which the stacks of a process that stands still are read; of one that
    works, after twice as many. Apache kills its daemon processes 3 seconds into a stop, and on a
    busy machine it takes a second to read the stacks of one."""
    disconnect_timeout: float = 5.0
    """Seconds after a stop within which the deployment has to see the connections close."""
    cool_down: float = 1.5
    """Seconds without a request after the load, in which pools get back what was borrowed."""
    drain: float = 0.0
    """Seconds without a request, at most, after which what has grown is called a leak. Something
    that lives for less ends in them. 0: there was no such wait."""
    cache_entries: int = 0
    """Entries that a cache may have: memory has to grow for as many requests to one interpreter."""
    phases: tuple[ExtraPhase, ...] = ()
    """The optional phases of the cell."""
    restarts: int = 1
    """Graceful restarts in a row, and reloads in a row, in their phases."""
    fault_seconds: float = 3.0
    """Seconds for which members of the deployment are paused or down, in phase ``failover``."""
    recovery_deadline: float = 15.0
    """Seconds after a new primary within which every request has to be answered again. Each monitor
    checks within ``heartbeatFrequencyMS``, 10 seconds, and the check takes time (specification of
    server discovery and monitoring)."""
    settle_deadline: float = 25.0
    """Seconds within which counts then have to fall to their baseline."""
    restart_deadline: float = 15.0
    """Seconds within which replaced processes have to end after a restart."""
    crash_bound: float = 0.2
    """The probability with which an end of a process may crash unseen: in phase ``trials``
    processes end until a higher one would have shown with a probability of 95 %."""
    idle_seconds: float = 30.0
    """Seconds for which the phase ``idle`` watches a server without a request."""
    expect_status: tuple[int, ...] = ()
    """Statuses that are right beside those of success (200 to 299)."""
    expect_body: str = ""
    """A regular expression that the body of each answer has to match."""
    max_seconds: float | None = None
    """Seconds after which the load ends early; None: never."""
    seed: int = 1
    """The seed of the random choice of URLs."""
    max_files: float = 1.0
    """Files that 100 requests may leave behind without a finding."""
    max_file_growth: float | None = None
    """Bytes per request by which files may grow; None: any number."""
    max_slowdown: float = 2.0
    """How many times as long the last requests may take as the first ones."""
    max_latency: float | None = None
    """Seconds that a request may take; None: up to the deadline."""

    @property
    def most_seconds(self) -> float:
        """How long a cell takes at most, on a slow machine: a CI system may end what takes longer.

        It is an estimate with a wide margin, and no deadline of the cell itself.
        """
        requests = self.warm_up + self.parallel + self.serial + self.extra_requests
        load = requests / _REQUESTS_A_SECOND
        phases = 0.0
        if ExtraPhase.TRIALS in self.phases:
            phases += _SECONDS_OF_AN_END * math.log(0.05) / math.log(1 - self.crash_bound)
        if ExtraPhase.IDLE in self.phases:
            phases += self.idle_seconds
        if {ExtraPhase.RESTART, ExtraPhase.RELOAD} & {*self.phases}:
            phases += 2 * self.restarts * self.restart_deadline
        if ExtraPhase.FAILOVER in self.phases:
            phases += 4 * (self.fault_seconds + self.recovery_deadline + self.settle_deadline)
        return _OTHER_SECONDS + phases + min(load, self.max_seconds or load)
