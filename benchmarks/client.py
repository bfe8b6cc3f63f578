"""What a request costs a load client: CPU time of ours, the recipe's, ab, hey and wrk.

    python benchmarks/client.py [--requests 50000] [--connections 100] [--repetitions 5]

All of them load the same hello-world application under mod_wsgi, in turns, so that noise meets all
alike. CPU time is user and system time of the client's process as the kernel has it (wait4(2)),
its start included; what the start alone costs is shown beside it. Of the repetitions of each client
the cheapest counts, since what else runs on the machine only ever adds to it; the medians are told,
too. Python's bytecode is cached, as it is where a client is installed, whatever
PYTHONDONTWRITEBYTECODE says. Clients that keep their connections make four times as many requests,
which takes them as long. The recipe's client is taken from PyMongo's sdist. Debian has the others:
``apt-get install apache2-utils hey wrk``.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
import recipe_files

from wsgiproof.config.model import Config
from wsgiproof.provision.assemble import build_toolchain
from wsgiproof.provision.httpd import httpd_of
from wsgiproof.provision.toolchain import Application
from wsgiproof.records.cell import Mode, Mpm
from wsgiproof.run.cell import NullWatcher
from wsgiproof.run.planning import make_context, plan, preflight
from wsgiproof.run.selftest import MOD_WSGI
from wsgiproof.server.apache import start_apache
from wsgiproof.server.configuration import ApacheConf
from wsgiproof.server.ports import free_port
from wsgiproof.server.scratch import scratch_directory
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.subject import PYMONGO

VERSION = PYMONGO.selftest["pymongo"]
BODY = "Hello, World!"
HELLO = f"""
def application(environ, start_response):
    body = b"{BODY}"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""
KEEP_ALIVE = "\nKeepAlive On\nKeepAliveTimeout 30\nMaxKeepAliveRequests 0\n"
KEPT, KEPT_TIMES = "keep-alive", 4
"""Clients that keep their connections have this in their name, and make so many times as many."""
THREADS = 64
"""In each of two processes: a thread for each connection that is kept alive, so that none waits."""

Command = Callable[[int], list[str]]
"""The command line for so many requests."""


class Cost(msgspec.Struct, frozen=True):
    """One command: the seconds it took, the CPU seconds it used, and the requests it made."""

    wall: float
    cpu: float
    requests: int


class Client(msgspec.Struct, frozen=True):
    """A load client: how it is called, and the limits on its costs."""

    name: str
    command: Command
    counted: str = ""
    """Matches the number of requests in its output, where it can't be told how many to make."""
    limits: tuple[tuple[float, str], ...] = ()
    """At most so many times the CPU of another one."""


class Hello(ApacheConf, frozen=True, kw_only=True):
    """The server of a cell, but that connections are kept alive, as Apache does by itself."""

    def render(self) -> str:
        """The text of ``httpd.conf``."""
        return super().render() + KEEP_ALIVE


def main() -> None:
    """Print a line for each client, and whether each limit holds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=50000)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, hello_world() as url:
        script = recipe_files.client(recipe_files.fetch(VERSION, Path(directory)))
        every = clients(url, given.connections, script)
        bytecode = Path(directory) / "bytecode"
        measure(every[0], given.requests // 10, bytecode)  # the server is warm after this
        for one in every:
            measure(one, 1, bytecode)  # is compiled after this
        starts = {one.name: measure(one, 1, bytecode).cpu for one in every}
        costs: dict[str, list[Cost]] = {one.name: [] for one in every}
        for _ in range(given.repetitions):
            for one in every:
                many = given.requests * (KEPT_TIMES if KEPT in one.name else 1)
                costs[one.name].append(measure(one, many, bytecode))
    told = f"{given.requests:,} requests, {given.connections} connections"
    print(f"{told}, {given.repetitions} times in turns")
    report(every, costs, starts)


def report(every: list[Client], costs: dict[str, list[Cost]], starts: dict[str, float]) -> None:
    """Print what was measured."""
    each = {name: [one.cpu / one.requests for one in several] for name, several in costs.items()}
    least = {name: min(several) for name, several in each.items()}
    medians = {name: statistics.median(several) for name, several in each.items()}
    print(
        f"{'client':20} {'us CPU a request':>17} {'median':>7} {'no start':>9} {'requests/s':>11}"
    )
    for one in every:
        rate = max(cost.requests / cost.wall for cost in costs[one.name])
        bare = least[one.name] - starts[one.name] / costs[one.name][0].requests
        print(
            f"{one.name:20} {least[one.name] * 1e6:15.1f} {medians[one.name] * 1e6:7.1f} "
            f"{bare * 1e6:9.1f} {rate:11,.0f}"
        )
    for one in every:
        for limit, other in one.limits:
            ratio = least[one.name] / least[other]
            middle = medians[one.name] / medians[other]
            holds = "holds" if ratio <= limit else "DOES NOT HOLD"
            print(
                f"{one.name}: {ratio:.2f} times {other} (medians {middle:.2f}), "
                f"limit {limit:.2f}: {holds}"
            )


def clients(url: str, connections: int, script: Path) -> list[Client]:
    """All of them, those of Debian if they are there."""
    width = str(connections)
    threads = ["-t", width, "-q", "parallel", url]
    close, keep = "wsgiproof, close", "wsgiproof, keep-alive"
    ours = [sys.executable, "-m", "wsgiproof", "client", "--expect-body", BODY]
    every = [
        Client(
            close,
            lambda n: [*ours, "-n", str(n), *threads],
            limits=((1 / 3, "recipe, close"), (1.25, "ab, close")),
        ),
        Client(
            keep,
            lambda n: [*ours, "--keepalive", "-n", str(n), *threads],
            limits=((2, "wrk, keep-alive"),),
        ),
        # It makes n // t requests in each thread.
        Client(
            "recipe, close",
            lambda n: [sys.executable, str(script), "-n", str(max(n, connections)), *threads],
        ),
        Client("ab, close", partial(ab, [], width, url)),
        Client("ab, keep-alive", partial(ab, ["-k"], width, url)),
        Client("hey, close", partial(hey, ["-disable-keepalive"], connections, url)),
        Client("hey, keep-alive", partial(hey, [], connections, url)),
        # It can't be told how many requests to make.
        Client(
            "wrk, keep-alive",
            lambda n: ["wrk", "-t1", "-c", width, "-d", f"{max(n // 15000, 1)}s", url],
            counted=r"(\d+) requests in",
        ),
    ]
    missing = [one.name for one in every if shutil.which(one.command(1)[0]) is None]
    if missing:
        print(f"not here: {', '.join(missing)}; apt-get install apache2-utils hey wrk")
    there = [one for one in every if one.name not in missing]
    names = {one.name for one in there}
    return [
        msgspec.structs.replace(
            one, limits=tuple(limit for limit in one.limits if limit[1] in names)
        )
        for one in there
    ]


def ab(options: list[str], width: str, url: str, requests: int) -> list[str]:
    """ApacheBench refuses fewer requests than connections."""
    most = str(min(int(width), requests))
    return ["ab", "-q", *options, "-n", str(requests), "-c", most, url]


def hey(options: list[str], connections: int, url: str, requests: int) -> list[str]:
    """So does hey, which makes as many in each connection as in any other."""
    most = min(connections, requests)
    return ["hey", *options, "-n", str(requests // most * most), "-c", str(most), url]


def measure(client: Client, requests: int, bytecode: Path) -> Cost:
    """Run it once. Raises RuntimeError if it did not succeed."""
    command = client.command(requests)
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(bytecode)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - started
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} exited with {process.returncode}:\n{text}")
    counted = re.search(client.counted, text) if client.counted else None
    done = int(counted[1]) if counted else requests
    return Cost(wall, usage.ru_utime + usage.ru_stime, done)


@contextmanager
def hello_world() -> Iterator[str]:
    """A hello-world application under mod_wsgi; the URL of its interpreter."""
    config = Config(
        axes={
            "mod_wsgi": (MOD_WSGI,),
            "pymongo": (VERSION,),
            "topology": (Topology.NONE,),
            "mode": (Mode.EMBEDDED,),
            "mpm": (Mpm.EVENT,),
        },
    )
    site = preflight(config)
    (job,) = plan(config, site).jobs
    shop = make_context(site, Path(), NullWatcher())
    httpd = httpd_of(shop.apaches[job.cell.httpd_path], shop.cache)
    toolchain = build_toolchain(job.spec, httpd, shop.cache)
    with tempfile.TemporaryDirectory() as logs, scratch_directory(shop.account) as scratch:
        script = scratch / "app" / "hello.wsgi"
        script.parent.mkdir()
        script.parent.chmod(0o755)
        script.write_text(HELLO)
        script.chmod(0o644)
        application = Application(
            directory=script.parent, script=script, groups=("one",), evidence=scratch, tmp=scratch
        )

        def configure(port: int) -> ApacheConf:
            conf = Hello.of(
                job.cell,
                toolchain,
                application,
                shop.account,
                port=port,
                run_directory=scratch,
                error_log=Path(logs) / "error.log",
            )
            return msgspec.structs.replace(conf, threads=THREADS)

        with start_apache(httpd, configure, free_port, 30, Path(logs)) as server:
            yield server.urls[0]
            server.stop(15)


if __name__ == "__main__":
    main()
