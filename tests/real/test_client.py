"""The recipe's own command lines, against our application in real Apache."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cells import configured
from tests.real.conftest import KNOWN_GOOD, PYMONGO
from wsgiproof.records.cell import Mode
from wsgiproof.run.cell import NullWatcher, RunningBackends, build, serving
from wsgiproof.run.planning import make_context, plan, preflight
from wsgiproof.server.scratch import scratch_directory
from wsgiproof.subjects.pymongo.axes import Topology


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """Two interpreters of one process, on no deployment."""
    logs: Path = tmp_path_factory.mktemp("logs")
    config = configured(
        mod_wsgi=(KNOWN_GOOD,), pymongo=(PYMONGO,), topology=(Topology.NONE,), mode=(Mode.DAEMON,)
    )
    setup = preflight(config)
    (job,) = plan(config, setup).jobs
    context = make_context(setup, logs, NullWatcher())
    with ExitStack() as stack:
        deployment = RunningBackends(context, stack).get(job)
        scratch = stack.enter_context(scratch_directory(context.account))
        up = serving(job, context, build(job, context), deployment, scratch, logs)
        server = stack.enter_context(up).server
        yield server.urls
        server.stop(15)


def client(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "wsgiproof", "client", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    traffic: dict[str, Any] = json.loads(done.stdout)
    return traffic


@pytest.mark.parametrize(
    "arguments",
    ["-n 250 -t 100 parallel", "-n 60 serial", "-n 250 --keepalive --expect-json parallel"],
)
def test_the_recipes_command_lines(urls: tuple[str, ...], arguments: str) -> None:
    traffic = client(*arguments.split(), *urls)
    asked = int(arguments.split()[1])
    assert (traffic["requests"], traffic["failed"]) == (asked, 0)
    told = {(one["url"], one["interpreter"]) for one in traffic["interpreters"]}
    assert len({url for url, _ in told}) == len({who for _, who in told}) == len(told) == 2
    assert len({one["pid"] for one in traffic["interpreters"]}) == 1
    answered = sum(count for one in traffic["interpreters"] for count in one["buckets"].values())
    assert answered == asked
