"""Many requests: in parallel, one at a time, or all at once.

Each of these hands every :class:`Response` to ``on_response`` as it is complete, and keeps none.
Whatever ``pick``, ``on_response`` or ``stop`` raises ends the run: requests in flight are dropped,
and the exception comes out as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import uvloop

from wsgiproof.errors import UsageError
from wsgiproof.load.http import Response, Target, fetch

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` on a new uvloop and return its result; Ctrl-C cancels it and cleans up first."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main)
    finally:
        main.close()  # Ctrl-C may have come before it was ever started


async def parallel(
    pick: Callable[[], Target],
    *,
    requests: int,
    connections: int,
    timeout: float,
    on_response: Callable[[Response], None],
    stop: Callable[[], bool] | None = None,
) -> None:
    """Exactly ``requests`` requests, at most ``connections`` of them in flight at any time.

    Each goes to what ``pick()`` returns and has ``timeout`` seconds. Once ``stop()`` is true no
    further request is started, and those in flight are finished. Raises UsageError when
    ``connections`` is less than one.
    """
    if connections < 1:
        raise UsageError(f"{connections} connections can't carry a request; give at least 1")
    left = requests

    async def worker() -> None:
        nonlocal left
        while left > 0 and not (stop is not None and stop()):
            left -= 1
            on_response(await fetch(pick(), timeout))

    await _all([worker] * min(connections, requests))


async def serial(
    pick: Callable[[], Target],
    *,
    requests: int,
    timeout: float,
    on_response: Callable[[Response], None],
    stop: Callable[[], bool] | None = None,
) -> None:
    """:func:`parallel` with one request at a time."""
    await parallel(
        pick,
        requests=requests,
        connections=1,
        timeout=timeout,
        on_response=on_response,
        stop=stop,
    )


async def burst(
    targets: Sequence[Target], timeout: float, on_response: Callable[[Response], None]
) -> None:
    """One request to each of ``targets``, all at the same time."""

    async def one(target: Target) -> None:
        on_response(await fetch(target, timeout))

    await _all([partial(one, target) for target in targets])


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
