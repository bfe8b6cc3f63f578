"""An event loop of asyncio in a thread of its own, for requests that run in other threads.

There is no ``async def`` here or in what uses it: Python 2.7 could not compile these modules. A
coroutine of the subject is run as it is.
"""

from __future__ import absolute_import

import asyncio
from concurrent.futures import Future

from ..faults_base import daemon_thread


class EventLoop(object):
    """A loop that runs until :meth:`close`.

    The constructor raises what the loop raised if it can't run. Before Python 3.12, asyncio refuses
    one in a second interpreter (docs/findings.md, 19).
    """

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._running = Future()
        self._loop.call_soon(self._running.set_result, None)
        self._thread = daemon_thread(self._serve)
        self._running.result()

    def run(self, coroutine):
        """Run a coroutine, and return what it returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def call(self, function, *args, **options):
        """Call a function in the thread of the loop, and return what it returns."""
        future = Future()

        def call():
            try:
                future.set_result(function(*args, **options))
            except Exception as error:
                future.set_exception(error)

        self._loop.call_soon_threadsafe(call)
        return future.result()

    def close(self):
        """Cancel all tasks that are left, and end the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self):
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        except RuntimeError as error:
            loop.close()
            self._running.set_exception(error)
            return
        # What asyncio.run() does at its end.
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
