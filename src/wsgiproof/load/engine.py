"""Many requests: as many at a time as there are connections, at a constant rate, or all at once.

Each of these hands every :class:`Response` to ``on_response`` as it is complete, and keeps none.
Whatever ``pick``, ``on_response`` or ``stop`` raises ends the run: requests in flight are dropped,
and the exception comes out as it is.
"""

from __future__ import annotations

import asyncio
import math
import resource
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

import msgspec
import uvloop

from wsgiproof.errors import CannotRun, UsageError
from wsgiproof.load.http import KeptAlive, Response, Target, fetch

T = TypeVar("T")

_OWN_DESCRIPTORS = 64
"""More than we have open besides."""
_GRACE = 0.05
"""Seconds by which the last requests of a paced run may be late: timers count milliseconds."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` on a new uvloop and return its result; Ctrl-C cancels it and cleans up first."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        main = _ended_by_sigterm(main)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main)
    finally:
        main.close()  # Ctrl-C may have come before it was ever started


async def _ended_by_sigterm(main: Coroutine[Any, Any, T]) -> T:
    """Do for SIGTERM what asyncio's runner does for SIGINT, but for one that is ignored.

    An exception that a signal raises just anywhere may come up in a method that the loop calls; it
    would be taken for the end of that connection then, and go no further.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    terminated = False

    def end(*_: object) -> None:
        nonlocal terminated
        terminated = True
        task.cancel()
        loop.call_soon_threadsafe(_never)  # wakes it up

    before = signal.signal(signal.SIGTERM, end)
    try:
        return await main
    except asyncio.CancelledError:
        if terminated:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


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


async def parallel(
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

    async def worker() -> None:
        nonlocal left
        with closing(_Hands(timeout)) as hands:
            while left > 0 and not stop() and time.monotonic() < ends:
                left -= 1
                on_response(await hands.get(pick()))

    await _all([worker] * int(min(connections, left)))


async def paced(
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

    async def worker() -> None:
        nonlocal number
        with closing(_Hands(timeout)) as hands:
            while number < most and not stop():
                due = started + number / rate
                number += 1
                await _until(due)
                if stop() or time.monotonic() > started + seconds + _GRACE:
                    number -= 1
                    return
                on_response(_since(await hands.get(pick()), due))

    await _all([worker] * int(min(connections, most)))
    return 0 if most == math.inf or stop() else int(most) - number


async def burst(
    targets: Sequence[Target], timeout: float, on_response: Callable[[Response], None]
) -> None:
    """One request to each of ``targets``, all at the same time."""

    async def one(target: Target) -> None:
        on_response(await fetch(target, timeout))

    await _all([partial(one, target) for target in targets])


class _Hands:
    """What one worker makes its requests with: connections that are kept if a target says so."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._kept = KeptAlive(timeout)

    def get(self, target: Target) -> Coroutine[Any, Any, Response]:
        return self._kept.get(target) if target.keeps else fetch(target, self._timeout)

    def close(self) -> None:
        self._kept.close()


def _check(connections: int) -> None:
    if connections < 1:
        raise UsageError(f"{connections} connections can't carry a request; give at least 1")


async def _until(moment: float) -> None:
    wait = moment - time.monotonic()
    if wait > 0:
        await asyncio.sleep(wait)


def _since(response: Response, due: float) -> Response:
    """The same answer, its time counted from when it was due; timers may be early by a little."""
    late = response.started - due
    if late <= 0:
        return response
    return msgspec.structs.replace(response, started=due, seconds=response.seconds + late)


async def _all(jobs: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    """Run all to the end; the first to raise cancels the rest, and its exception propagates."""
    tasks: list[asyncio.Task[None]] = []

    async def guarded(job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await job()
        except (Exception, KeyboardInterrupt):
            # The group would do that only after those that are ready have run once more, and so
            # have called an on_response that has just raised. Nothing else may be caught here:
            # a coroutine that is closed after its loop (GeneratorExit) has no current task.
            for task in tasks:
                if task is not asyncio.current_task():
                    task.cancel()
            raise

    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(guarded(job)) for job in jobs]
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
