"""A clean cell against PyMongo's own mod_wsgi test (the recipe), in turns in one sitting.

    python benchmarks/recipe.py [--requests 25000] [--repetitions 3] [--sdist PATH]
                                [--where daemon standalone]

The recipe's application and its load client are those of PyMongo's sdist. They run with the Python,
the mod_wsgi, the PyMongo, the Apache and the MongoDB of our cell, in its configuration (such as one
daemon process with 15 threads, two interpreters), so the numbers differ by what is done alone: in
both modes, with a standalone and a replica set. The recipe makes 25,000 requests in parallel and as
many in series. With fewer, what the requests took is scaled to that number, and the page says so.
It is written to docs/performance.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import psutil
import recipe_files
from stated_bound import stated_bound

from wsgiproof.config.model import Config
from wsgiproof.process.leftovers import become_reaper
from wsgiproof.provision.toolchain import Application
from wsgiproof.records.cell import Mode
from wsgiproof.records.observed import Role
from wsgiproof.run.cell import NullWatcher, build
from wsgiproof.run.planning import make_context, plan, preflight
from wsgiproof.run.selftest import MOD_WSGI
from wsgiproof.server.apache import start_apache
from wsgiproof.server.configuration import ApacheConf
from wsgiproof.server.ports import free_port
from wsgiproof.server.scratch import scratch_directory
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.deployment import start_deployment
from wsgiproof.subjects.pymongo.mongod_binary import find_mongod
from wsgiproof.subjects.pymongo.subject import PYMONGO

VERSION = PYMONGO.selftest["pymongo"]
FULL = 25_000
"""Requests of the recipe in parallel, and in series."""
CONNECTIONS = 100
DESCRIPTORS = 1024
"""The limit at which the recipe notices a leak: the usual one of a process."""
LEAST = 1000
"""With fewer requests, the start of a client is most of what it costs."""
_BEFORE = 1.0
"""Seconds before each sitting in which nothing of it runs."""
_BUSY = 10.0
"""Percent of the processors that other programs may use on a quiet machine."""
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


Where = tuple[Mode, Topology]
"""The cell in which both are compared."""
EVERYWHERE: tuple[Where, ...] = tuple(
    itertools.product(Mode, (Topology.STANDALONE, Topology.REPLICA_SET))
)


class Sitting(msgspec.Struct, frozen=True, kw_only=True):
    """What one turn of both took, in seconds; the times of the recipe are those of all requests."""

    where: Where

    busy: float
    """How many processors other programs used in the second before it, in percent of all."""
    recipe: float
    recipe_start: float
    """From the start of Apache until both interpreters have answered."""
    recipe_client: float
    """CPU of its client for each request in parallel."""
    our_client: float
    """CPU of ``wsgiproof client`` for each, at the same server."""
    descriptors: int
    """That are open in the process of the recipe after the load, in the one with most of them."""
    ours: float
    without_trials: float
    """The same cell without the phase ``trials``."""
    our_start: float
    verdict: str
    requests: int
    """Of our load."""
    bound: int
    """A leak of a connection in one of so many requests would have shown, with 95 %."""


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=FULL)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--sdist", type=Path, help="PyMongo's sdist, packed or not")
    parser.add_argument("--where", nargs=2, metavar=("MODE", "TOPOLOGY"), help="there alone")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    become_reaper()
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as directory:
        files = recipe_files.fetch(VERSION, Path(directory), given.sdist)
        everywhere = EVERYWHERE
        if given.where:
            everywhere = ((Mode(given.where[0]), Topology(given.where[1])),)
        our_cell(everywhere[0], "--phases", "none", "-n", "60")  # fills the cache
        sittings = []
        for _, where in itertools.product(range(given.repetitions), everywhere):
            sittings.append(one_sitting(files, where, given.requests))
            print(msgspec.json.encode(sittings[-1]).decode(), flush=True)
    page = "\n".join(lines(sittings, given.requests)) + "\n"
    given.page.write_text(page)
    print(page)


def one_sitting(files: Path, where: Where, requests: int) -> Sitting:
    """Run the recipe and our cell once."""
    scale = FULL / requests
    busy = psutil.cpu_percent(_BEFORE)
    with served(files, where) as (urls, started, pids, stop):
        load = [sys.executable, str(recipe_files.client(files)), "-q", "-n", str(requests)]
        own = [sys.executable, "-m", "wsgiproof", "client", "-q", "-n", str(requests)]
        wide = ["-t", str(CONNECTIONS), "parallel", *urls]
        parallel, recipe_client = timed([*load, *wide])
        serial, _ = timed([*load, "serial", *urls])
        descriptors = max(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids())
        _, our_client = timed([*own, *wide])
        stopped = stop()
    ours, cell = our_cell(where)
    without_trials, _ = our_cell(where, "--phases", "restart")
    observed, timings = cell["observed"], cell["timings"]
    reason = next(one["reason"] for one in cell["checks"] if one["check"] == "connections")
    return Sitting(
        where=where,
        busy=busy,
        recipe=started + (parallel + serial) * scale + stopped,
        recipe_start=started,
        recipe_client=recipe_client / requests,
        our_client=our_client / requests,
        descriptors=descriptors,
        ours=ours,
        without_trials=without_trials,
        our_start=ours - timings["total"] + timings["backend"] + timings["start"],
        verdict=cell["verdict"],
        requests=observed["plan"]["parallel"] + observed["plan"]["serial"],
        bound=stated_bound(reason),
    )


def timed(command: Sequence[str]) -> tuple[float, float]:
    """Run a command, and return its wall and its CPU seconds."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} exited with {process.returncode}")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime


def our_cell(where: Where, *options: str) -> tuple[float, dict[str, Any]]:
    """Run our cell by its command, and return its wall seconds and its record."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "out"
        versions = ["--mod-wsgi", MOD_WSGI, "--pymongo", VERSION]
        mode, topology = where
        cell = ["--mode", mode, "--topology", topology, "--output", str(output)]
        command = [sys.executable, "-m", "wsgiproof", "run", "--no-config", *versions, *cell]
        began = time.monotonic()
        subprocess.run([*command, *options], stdout=subprocess.DEVNULL, check=False)
        wall = time.monotonic() - began
        (record,) = output.glob("cells/*/cell.json")
        return wall, json.loads(record.read_text())


@contextmanager
def served(
    files: Path, where: Where
) -> Iterator[tuple[Sequence[str], float, Callable[[], list[int]], Callable[[], float]]]:
    """Serve the recipe's application as our cell is served.

    Yields its URLs, the seconds until each has answered, a function that returns the pids of its
    processes, and one that stops it and returns the seconds of that.
    """
    mode, topology = where
    config = Config(
        axes={
            "mod_wsgi": (MOD_WSGI,),
            "pymongo": (VERSION,),
            "topology": (topology,),
            "mode": (mode,),
        },
    )
    setup = preflight(config)
    (job,) = plan(config, setup).jobs
    context = make_context(setup, Path(), NullWatcher())
    toolchain = build(job, context)
    with (
        tempfile.TemporaryDirectory() as logs,
        scratch_directory(context.account) as scratch,
        scratch_directory() as data,
        start_deployment(topology, find_mongod(None), data, Path(logs)) as deployment,
    ):
        deployment.prepare("recipe")
        script = scratch / "app" / "recipe.wsgi"
        script.parent.mkdir()
        script.parent.chmod(0o755)
        script.write_text(recipe_files.application(files, deployment.uri("recipe"), "recipe"))
        script.chmod(0o644)
        application = Application(
            directory=script.parent,
            script=script,
            groups=("interpreter1", "interpreter2"),
            evidence=scratch,
            tmp=scratch,
        )
        configure = partial(
            ApacheConf.of,
            job.cell,
            toolchain,
            application,
            context.account,
            run_directory=scratch,
            error_log=Path(logs) / "error.log",
        )
        began = time.monotonic()
        with start_apache(toolchain.httpd, configure, free_port, 60, Path(logs)) as server:
            for url in server.urls:
                urllib.request.urlopen(url, timeout=60).read()
            started = time.monotonic() - began

            def workers() -> list[int]:
                return [pid for pid, role in server.living().items() if role is Role.WORKER]

            def stop() -> float:
                began = time.monotonic()
                server.stop(60)
                return time.monotonic() - began

            yield server.urls, started, workers, stop


def lines(sittings: Sequence[Sitting], requests: int) -> Iterator[str]:
    """Yield the lines of the page."""
    everywhere = list(dict.fromkeys(one.where for one in sittings))
    repetitions = len(sittings) // len(everywhere)
    first = [one for one in sittings if one.where == everywhere[0]]
    busy = statistics.median(one.busy for one in sittings)
    yield from (
        "# Performance",
        "",
        "A clean cell with its default phases against PyMongo's own mod_wsgi test, the recipe: "
        f"{FULL:,} requests in parallel and {FULL:,} in series. `benchmarks/recipe.py` writes this "
        f"page. PyMongo {VERSION}, mod_wsgi {MOD_WSGI}, Python "
        f"{sys.version_info[0]}.{sys.version_info[1]}; {os.cpu_count()} processors; medians of "
        f"{repetitions} paired repetition{'s' * (repetitions > 1)}, each with both in turns.",
        "",
    )
    if requests != FULL:
        yield from (
            f"**The recipe made only {requests:,} and {requests:,} requests here, and what they "
            f"took is multiplied by {FULL / requests:g}.** Run the benchmark without `--requests` "
            "for the whole of it.",
            "",
        )
    if busy > _BUSY:
        yield from (
            f"**The machine was busy: other programs used {busy:.0f} % of its processors.** Both "
            "had to wait, and the phase `trials` goes on for longer where processes have no time "
            "to end. These times are not those of a quiet machine.",
            "",
        )
    yield from (
        "Seconds to the verdict, and their share of the recipe's:",
        "",
        "| mode | topology | the recipe | wsgiproof | ratio | without `trials` | ratio |",
        "|---|---|---:|---:|---:|---:|---:|",
    )
    for where in everywhere:
        own = [one for one in sittings if one.where == where]
        yield (
            f"| {where[0]} | {where[1]} | {middle(own, 'recipe'):.1f} | {middle(own, 'ours'):.1f} "
            f"| {ratio(own, 'ours', 'recipe')} | {middle(own, 'without_trials'):.1f} "
            f"| {ratio(own, 'without_trials', 'recipe')} |"
        )
    yield from ("", f"In {' mode, '.join(everywhere[0])}:", "")
    yield from details(first, requests)
    verdicts = Counter(one.verdict for one in sittings)
    told = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
    yield f"- The {len(sittings)} cells ended with: {told}."


def details(sittings: Sequence[Sitting], requests: int) -> Iterator[str]:
    """Yield the lines about one cell."""
    bound, load = middle(sittings, "bound"), middle(sittings, "requests")
    descriptors = middle(sittings, "descriptors")
    needed = bound * (DESCRIPTORS - descriptors)
    yield from (
        "| | the recipe | wsgiproof | ratio |",
        "|---|---:|---:|---:|",
        f"| seconds of the start | {middle(sittings, 'recipe_start'):.1f} | "
        f"{middle(sittings, 'our_start'):.1f} | {ratio(sittings, 'our_start', 'recipe_start')} |",
        f"| share of the start | {ratio(sittings, 'recipe_start', 'recipe')} | "
        f"{ratio(sittings, 'our_start', 'ours')} | |",
        f"| requests to exclude a leak of one in {bound:,.0f} | {needed:,.0f} | {load:,.0f} | "
        f"{load / needed if needed else 0:.4f} |",
    )
    if requests >= LEAST:
        yield (
            f"| client, µs CPU a request | {middle(sittings, 'recipe_client') * 1e6:.0f} | "
            f"{middle(sittings, 'our_client') * 1e6:.0f} | "
            f"{ratio(sittings, 'our_client', 'recipe_client')} |"
        )
    client = (
        f"- *Client*: both against the recipe's application, {CONNECTIONS} connections, a new one "
        "for each request; the start of the client is included.",
    )
    yield from (
        "",
        "- *The start* is Apache until both interpreters have answered; of wsgiproof also the "
        "command itself, the plan and MongoDB.",
        "- *Requests to exclude a leak*: of wsgiproof those of the load, with the leak rate that "
        "the verdict of `connections` excludes (95 %). The recipe notices a leak when a process "
        f"has used its {DESCRIPTORS:,} descriptors, {descriptors:.0f} of which were open after the "
        "load; its number is computed from that.",
        *(client if requests >= LEAST else ()),
    )


def middle(sittings: Sequence[Sitting], name: str) -> float:
    """Return the median of a figure."""
    return float(statistics.median(getattr(one, name) for one in sittings))


def ratio(sittings: Sequence[Sitting], over: str, under: str) -> str:
    """Return the median of the ratio of two figures."""
    each = [getattr(one, over) / getattr(one, under) for one in sittings]
    return f"{statistics.median(each):.2f}"


if __name__ == "__main__":
    main()
