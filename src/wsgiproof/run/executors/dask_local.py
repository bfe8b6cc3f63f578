"""A Dask cluster on this machine that ends with the run: a LocalCluster in a process of its own.

Dask starts its workers with :mod:`multiprocessing`, whose processes are not those that
:mod:`wsgiproof.process.spawn` has started: in the process of a run, they would be taken for orphans
of a killed guard. In their own session, they also do not see the Ctrl-C of a terminal, which the
run passes on once its cells have stopped.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from wsgiproof.errors import CannotRun
from wsgiproof.process.leftovers import temporary_directory
from wsgiproof.process.signals import ignore_interrupts, interrupts_deferred
from wsgiproof.run.executors.child import Child, take_over

_START_DEADLINE = 180.0
"""Seconds for all workers to start, on a busy machine."""
_REPLACED_WITHIN = "10 minutes"
_DASK = ("scheduler", "worker", "nanny")
_STOP_DEADLINE = 20.0
_CLOSE_DEADLINE = 10.0


@contextmanager
def local_cluster(workers: int) -> Iterator[tuple[str, Any]]:
    """Start so many workers on this machine; return the address of their scheduler and Dask's keys
    for it, and end them with the context. Raises :class:`CannotRun` if they can't be started.

    The keys are made for this cluster, and are in memory only. Whoever can talk to a scheduler can
    have anything run by its workers, and on the loopback every local user could.
    """
    with temporary_directory() as scratch:  # Dask would leave one of its own
        child = Child()
        try:
            child.start(serve_cluster)
            child.send((workers, str(scratch)))
            yield _await_address(child)
        finally:
            with interrupts_deferred():
                child.disconnect()
                if not child.wait(time.monotonic() + _STOP_DEADLINE):
                    child.kill()


def _await_address(child: Child) -> tuple[str, Any]:
    until = time.monotonic() + _START_DEADLINE
    poller = select.poll()
    poller.register(child.descriptor, select.POLLIN)
    try:
        while time.monotonic() < until:
            poller.poll(500)
            for kind, content in child.receive():
                if kind == "failed":
                    raise CannotRun(f"the workers of --dask local can't be started: {content}")
                address, security = content
                return str(address), security
    except (EOFError, OSError) as error:
        raise CannotRun("the workers of --dask local have ended") from error
    raise CannotRun(f"the workers of --dask local did not start in {_START_DEADLINE:.0f} s")


def serve_cluster(descriptor: int, parent: int) -> None:
    """Run a LocalCluster until the parent disconnects."""
    channel = take_over(descriptor, parent, reaper=False)
    if channel is None:
        return
    os.umask(0o022)
    ignore_interrupts()  # the parent disconnects once its cells have stopped
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    import distributed

    import dask

    # A cluster would else give up a worker that takes a while to be replaced.
    dask.config.set({"distributed.deploy.lost-worker-timeout": _REPLACED_WITHIN})
    # Dask starts an HTTP server in each of them, which asks nobody who he is.
    dask.config.set({f"distributed.{one}.http.routes": [] for one in _DASK})
    with suppress(ConnectionError, EOFError):
        workers, scratch = channel.wait()
        dask.config.set({"temporary-directory": scratch})
        try:
            security = distributed.Security.temporary()
            cluster = distributed.LocalCluster(
                security=security,
                n_workers=workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address=None,
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # else port 8787
                silence_logs=logging.CRITICAL,
                memory_limit=0,
                local_directory=scratch,
            )
        except (ImportError, OSError, RuntimeError, TimeoutError) as error:
            channel.send(("failed", f"{type(error).__name__}: {error}"))
            return
        try:
            channel.send(("done", (cluster.scheduler_address, security)))
            channel.wait()
        finally:
            cluster.close(timeout=_CLOSE_DEADLINE)
