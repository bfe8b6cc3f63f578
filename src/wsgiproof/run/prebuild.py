"""Build everything that the cells of a matrix need, in advance and in parallel."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Protocol

from wsgiproof.errors import WsgiproofError, describe
from wsgiproof.process.signals import interrupted_by
from wsgiproof.provision.assemble import toolchain_builds
from wsgiproof.provision.cache import Build, Cache
from wsgiproof.provision.httpd import httpd_build, httpd_of
from wsgiproof.provision.toolchain import Apache, Built
from wsgiproof.run.cell import Job
from wsgiproof.run.planning import HostSetup, RunPlan


class Progress(Protocol):
    """Shows how far the builds have come."""

    def begin(self, titles: Iterable[str]) -> None:
        """Show that these will be built."""

    def started(self, title: str) -> None:
        """Show that one of them begins."""

    def finished(self, built: Built) -> None:
        """Show that one of them is done, or failed."""


def prebuild(run_plan: RunPlan, setup: HostSetup, progress: Progress) -> Iterator[Built]:
    """Build what the cells need and the cache lacks.

    As many builds run at a time as there are cores. After a failed build the others are still
    tried, except those for an Apache that could not be built. Yields each result as
    soon as it is known.
    """
    jobs = run_plan.jobs
    if any(_apache(job, setup).httpd is None for job in jobs):
        progress.begin([httpd_build().title])
        apache = _build(httpd_build(), setup.cache, progress)
        yield apache
        if apache.problem:
            jobs = tuple(job for job in jobs if _apache(job, setup).httpd is not None)
    needed = [(job.spec, httpd_of(_apache(job, setup), setup.cache)) for job in jobs]
    builds = toolchain_builds(needed, setup.cache)
    progress.begin(build.title for build in builds)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        interrupted = threading.Event()

        def build_one(build: Build) -> Built:
            with interrupted_by(interrupted):
                return _build(build, setup.cache, progress)

        try:
            building = [pool.submit(build_one, build) for build in builds]
            for done in as_completed(building):
                yield done.result()
        except BaseException:
            interrupted.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _apache(job: Job, setup: HostSetup) -> Apache:
    return setup.resolved.apaches[job.cell.httpd_path]


def _build(build: Build, cache: Cache, progress: Progress) -> Built:
    started, cached, problem = time.monotonic(), cache.has(build), ""
    if not cached:
        progress.started(build.title)
    try:
        cache.get(build)
    except WsgiproofError as error:
        problem = str(error)
    except OSError as error:
        problem = describe(error)
    built = Built(
        title=build.title, seconds=time.monotonic() - started, cached=cached, problem=problem
    )
    progress.finished(built)
    return built
