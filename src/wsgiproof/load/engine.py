"""Send many requests: a fixed number at a time, at a constant rate, or all at once.

Each function passes every :class:`Response` to ``on_response`` when it is complete, and keeps none.
An exception of ``pick``, ``on_response`` or ``stop`` ends the run: requests in flight are dropped,
and the exception is raised unchanged. Ctrl-C does the same, but never interrupts one of pool
callbacks.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Sequence

from wsgiproof.errors import CannotRun, UsageError
from wsgiproof.load.connection_pool import connection_pool
from wsgiproof.load.response import Response
from wsgiproof.load.target import Target

_OWN_DESCRIPTORS = 64
"""Descriptors for everything besides connections."""
_ASK_EVERY = 0.1
"""Seconds after which a paced run calls ``stop`` again although no response has arrived."""
_GRACE = 0.05
"""Seconds by which the last requests of a paced run may be late: epoll counts in milliseconds."""


def _never() -> bool:
    return False


def raise_descriptor_limit(connections: int) -> None:
    """Raise this process's descriptor limit to what this number of connections needs.

    Raises CannotRun if the hard limit is lower.
    """
    needed = connections + _OWN_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise CannotRun(
            f"{connections} connections need {needed} descriptors, but this process may have only "
            f"{hard}: raise `ulimit -Hn` or use fewer connections"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def parallel(
    pick: Callable[[], Target],
    *,
    requests: int | None,
    connections: int,
    timeout: float,
    on_response: Callable[[Response], object],
    stop: Callable[[], bool] = _never,
    seconds: float = math.inf,
) -> None:
    """Send exactly ``requests`` requests, with at most ``connections`` in flight at any time.

    Each request goes to the target that ``pick()`` returns and has ``timeout`` seconds. A
    connection is kept for the next request if the target allows it. Once ``stop()`` is true, or
    ``seconds`` have passed, no further request is started, and those in flight are finished. With
    ``requests`` None there is no limit. Raises UsageError if ``connections`` is less than one.
    """
    _check(connections)
    left = math.inf if requests is None else requests
    ends = time.monotonic() + seconds
    with connection_pool(timeout) as pool:
        while True:
            while pool.in_flight < connections and left > 0:
                if stop() or time.monotonic() >= ends:
                    left = 0
                    break
                left -= 1
                pool.begin(pick())
            if left <= 0:
                pool.no_more()
            if not pool.in_flight:
                return
            for response in pool.wait():
                on_response(response)


def paced(
    pick: Callable[[], Target],
    *,
    rate: float,
    requests: int | None,
    connections: int,
    timeout: float,
    on_response: Callable[[Response], object],
    stop: Callable[[], bool] = _never,
    seconds: float = math.inf,
) -> int:
    """Send ``rate`` requests each second, whatever the server does; otherwise as :func:`parallel`.

    The latency of a request is measured from when it was due, so a stalled server shows as a delay
    of all requests that were due meanwhile ("coordinated omission" would hide them). A request is
    sent late if all connections are busy. Returns the number of requests that were not sent by the
    end of ``seconds``.
    """
    _check(connections)
    due_in_time = math.inf if seconds == math.inf else math.ceil(rate * seconds)
    total = due_in_time if requests is None else min(requests, due_in_time)
    number = 0
    started = time.monotonic()
    with connection_pool(timeout) as pool:
        while True:
            now = time.monotonic()
            over = number >= total or stop() or now > started + seconds + _GRACE
            due = math.inf if over else started + number / rate
            if due <= now and pool.in_flight < connections:
                pool.begin(pick(), since=due)
                number += 1
                continue
            if over:
                pool.no_more()
                if not pool.in_flight:
                    break
            full = pool.in_flight >= connections
            for response in pool.wait(until=now + _ASK_EVERY if full else due):
                on_response(response)
    return 0 if total == math.inf or stop() else int(total) - number


def burst(
    targets: Sequence[Target], timeout: float, on_response: Callable[[Response], object]
) -> None:
    """Send one request to each of ``targets``, all at the same time."""
    with connection_pool(timeout) as pool:
        for target in targets:
            pool.begin(target)
        pool.no_more()
        while pool.in_flight:
            for response in pool.wait():
                on_response(response)


def _check(connections: int) -> None:
    if connections < 1:
        raise UsageError(f"{connections} connections can't carry a request: give at least 1")
