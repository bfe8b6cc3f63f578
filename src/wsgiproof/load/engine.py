"""Many requests: as many at a time as there are connections, at a constant rate, or all at once.

Each of these hands every :class:`Response` to ``on_response`` as it is complete, and keeps none.
Whatever ``pick``, ``on_response`` or ``stop`` raises ends the run: requests in flight are dropped,
and the exception comes out as it is. So does Ctrl-C, and never amid one of these.
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
"""More than we have open besides."""
_ASK_EVERY = 0.1
"""Seconds after which a paced run asks again whether to stop, though no answer has come."""
_GRACE = 0.05
"""Seconds by which the last requests of a paced run may be late: epoll counts milliseconds."""


def _never() -> bool:
    return False


def make_room(connections: int) -> None:
    """Let this process have as many descriptors as this many connections take.

    Raises CannotRun if the hard limit is lower.
    """
    wanted = connections + _OWN_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise CannotRun(
            f"{connections} connections take {wanted} descriptors, and this process may have "
            f"{hard}; raise `ulimit -Hn` or use fewer connections"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def parallel(
    pick: Callable[[], Target],
    *,
    requests: int | None,
    connections: int,
    timeout: float,
    on_response: Callable[[Response], None],
    stop: Callable[[], bool] = _never,
    seconds: float = math.inf,
) -> None:
    """Exactly ``requests`` requests, at most ``connections`` of them in flight at any time.

    Each goes to what ``pick()`` returns and has ``timeout`` seconds. A connection is kept for the
    next request if the target says so. Once ``stop()`` is true, or ``seconds`` have passed, no
    further request is started, and those in flight are finished. ``requests`` None: no limit.
    Raises UsageError when ``connections`` is less than one.
    """
    _check(connections)
    left = math.inf if requests is None else requests
    ends = time.monotonic() + seconds
    with connection_pool(timeout) as these:
        while True:
            while these.in_flight < connections and left > 0:
                if stop() or time.monotonic() >= ends:
                    left = 0
                    break
                left -= 1
                these.begin(pick())
            if left <= 0:
                these.no_more()
            if not these.in_flight:
                return
            for response in these.wait():
                on_response(response)


def paced(
    pick: Callable[[], Target],
    *,
    rate: float,
    requests: int | None,
    connections: int,
    timeout: float,
    on_response: Callable[[Response], None],
    stop: Callable[[], bool] = _never,
    seconds: float = math.inf,
) -> int:
    """:func:`parallel`, but ``rate`` requests fall due each second, whatever the server does.

    The time of each is counted from when it was due, so a server that stalls is seen to delay all
    that fell due meanwhile ("coordinated omission" hides them). One that finds all connections busy
    is late; return how many were not sent at all by the end of ``seconds``.
    """
    _check(connections)
    due_in_time = math.inf if seconds == math.inf else math.ceil(rate * seconds)
    most = due_in_time if requests is None else min(requests, due_in_time)
    number = 0
    started = time.monotonic()
    with connection_pool(timeout) as these:
        while True:
            now = time.monotonic()
            over = number >= most or stop() or now > started + seconds + _GRACE
            due = math.inf if over else started + number / rate
            if due <= now and these.in_flight < connections:
                these.begin(pick(), since=due)
                number += 1
                continue
            if over:
                these.no_more()
                if not these.in_flight:
                    break
            full = these.in_flight >= connections
            for response in these.wait(until=now + _ASK_EVERY if full else due):
                on_response(response)
    return 0 if most == math.inf or stop() else int(most) - number


def burst(
    targets: Sequence[Target], timeout: float, on_response: Callable[[Response], None]
) -> None:
    """One request to each of ``targets``, all at the same time."""
    with connection_pool(timeout) as these:
        for target in targets:
            these.begin(target)
        these.no_more()
        while these.in_flight:
            for response in these.wait():
                on_response(response)


def _check(connections: int) -> None:
    if connections < 1:
        raise UsageError(f"{connections} connections can't carry a request; give at least 1")
