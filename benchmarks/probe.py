"""What the probe costs: CPU time of a whole request of the application against its work alone.

    python benchmarks/probe.py [--requests 2000]

Both are done in turns in one process, against a real mongod, so that noise meets both alike. The
readings of memory, which are made while nothing is under load, are shown beside that, and the share
of the CPU time of all of a real Apache's processes.
"""

from __future__ import annotations

import argparse
import atexit
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import psutil

import wsgiproof
from wsgiproof.config.model import Config
from wsgiproof.records.cell import Cell, Mode
from wsgiproof.records.plan import PhaseName
from wsgiproof.run.cell import RunningBackends, run_cell
from wsgiproof.run.planning import make_context, plan, preflight
from wsgiproof.run.selftest import MOD_WSGI
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.deployment import start_deployment
from wsgiproof.subjects.pymongo.mongod_binary import find_mongod
from wsgiproof.subjects.pymongo.subject import DOCUMENTS, PYMONGO

SECRET = "secret"
READINGS = 13
"""Readings of memory in a quick run, in each interpreter."""
QUICK = 3000
"""Requests of a quick run, over two interpreters."""


def main() -> None:
    """Print the costs, and the probe's share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    requests = parser.parse_args().requests
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        with start_deployment(Topology.STANDALONE, find_mongod(None), scratch, scratch) as ours:
            ours.prepare("probe")
            application = load(scratch, ours.uri("probe"))
            probe = report(application, requests)
            application._application._workload.close()
            atexit.unregister(application._application._close)
        server = cost_of_server(scratch / "cell", requests)
    told = f"server     {server * 1e6:8.0f} us CPU a request, in all of its processes"
    print(f"{told}; the probe is {probe / server:.2%}")


class Meter:
    """Adds up the CPU time of Apache's processes while requests of the parallel phase are made."""

    def __init__(self) -> None:
        self._read: list[tuple[int, float]] = []

    def step(self, cell: Cell, text: str) -> None:
        """Nothing to measure yet."""

    def watch(self, cell: Cell, phase: str, done: int, total: int) -> None:
        """A round begins: what has been spent until now?"""
        if phase == PhaseName.PARALLEL:
            self._read.append((done, self._spent()))

    def per_request(self) -> float:
        """CPU seconds."""
        (first, before), (last, after) = self._read[0], self._read[-1]
        return (after - before) / (last - first)

    def _spent(self) -> float:
        ours = psutil.Process().children(recursive=True)
        times = [one.cpu_times() for one in ours if one.name() in ("apache2", "httpd")]
        return sum(time.user + time.system for time in times)


def cost_of_server(output: Path, requests: int) -> float:
    """CPU seconds that all processes of a real Apache take for a request, in daemon mode."""
    output.mkdir()
    config = Config(
        axes={
            "mod_wsgi": (MOD_WSGI,),
            "pymongo": (PYMONGO.selftest["pymongo"],),
            "topology": (Topology.STANDALONE,),
            "mode": (Mode.DAEMON,),
        },
        requests=requests,
    )
    site, meter = preflight(config), Meter()
    (job,) = plan(config, site).jobs
    unread = msgspec.structs.replace(job.plan, memory_every=10**9)
    with ExitStack() as stack:
        shop = make_context(site, output, meter)
        deployments = RunningBackends(shop, stack)
        run_cell(msgspec.structs.replace(job, plan=unread), shop, deployments)
    return meter.per_request()


def load(scratch: Path, uri: str) -> Any:
    """The application as Apache loads it, in this process."""
    package = scratch / "wsgiproof_agent"
    shutil.copytree(Path(wsgiproof.__file__).parent / "agent", package)
    shutil.copytree(PYMONGO.agent, package / "subject")
    subject = {"uri": uri, "database": "probe", "documents": DOCUMENTS, "batch_size": 10}
    subject |= {"prefix": "probe_", "close": True}
    settings: dict[str, Any] = {"evidence": str(scratch), "fault": None, "fault_options": {}}
    settings |= {"app": None, "secret": SECRET, "core_descriptor": None, "subject": subject}
    (scratch / "settings.json").write_text(json.dumps(settings))
    sys.path.insert(0, str(scratch))
    from wsgiproof_agent import settings as inside
    from wsgiproof_agent.builtin_app import BuiltInApplication
    from wsgiproof_agent.middleware import Agent

    return Agent(inside.load(), BuiltInApplication)


def report(application: Any, requests: int) -> float:
    """Time the work, and the rest of a request without it, in turns, and print the shares.

    The probe's CPU seconds for a request.
    """
    workload = application._application._workload
    do_the_work = workload.work
    work = probe = reading = 0.0
    for number in range(requests):
        work += spent(do_the_work)
        workload.work = list
        probe += spent(lambda: request(application, "")) - spent(bare)
        workload.work = do_the_work
        if number % (requests // READINGS) == 0:
            reading += spent(lambda: request(application, "memory=2"))
    whole = (work + probe) / requests
    print(f"work       {work / requests * 1e6:8.0f} us CPU a request")
    print(
        f"probe      {probe / requests * 1e6:8.0f} us CPU a request, {probe / (work + probe):.2%}"
    )
    each = reading / (READINGS + 1)
    share = 2 * READINGS * each / (QUICK * whole)
    print(
        f"readings   {each * 1e6:8.0f} us CPU each, {share:.1%} of a quick run, between its rounds"
    )
    return probe / requests


def request(application: Any, commands: str) -> None:
    """One request, as mod_wsgi makes it."""
    environ = {"QUERY_STRING": "", "REQUEST_METHOD": "GET"}
    environ["HTTP_X_WSGIPROOF"] = f"{SECRET} {commands}"
    application(environ, lambda status, headers: None)


def bare() -> list[bytes]:
    """What any application does, beside its work."""
    (lambda status, headers: None)("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]


def spent(call: Callable[[], object]) -> float:
    """CPU seconds of this thread."""
    started = time.thread_time()
    call()
    return time.thread_time() - started


if __name__ == "__main__":
    main()
