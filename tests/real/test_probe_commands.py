"""Commands of the probe, in real Apache: its own host gives them, and nobody else."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.real.conftest import Bench
from tests.real.test_cells import why
from wsgiproof.cell import Mode, Topology
from wsgiproof.records import ExtraPhase, Verdict
from wsgiproof.services.ports import free_port

HOSTILE = "until=9e9&occupy=86400&memory=2&object_growth=begin"


class Stranger:
    """What another program of this machine has sent and received."""

    def __init__(self) -> None:
        self.sent = 0
        self.answers: list[dict[str, object]] = []


@contextmanager
def stranger(port: int, query: str, header: str) -> Iterator[Stranger]:
    """Send requests while a cell runs."""
    one = Stranger()
    over = threading.Event()
    url = f"http://127.0.0.1:{port}/interpreter1?{query}"

    def ask() -> None:
        while not over.wait(0.02):
            one.sent += 1
            request = urllib.request.Request(url, headers={"X-Wsgiproof": header})
            try:
                with urllib.request.urlopen(request, timeout=5) as response:
                    one.answers.append(json.load(response))
            except (OSError, urllib.error.URLError, ValueError):
                continue  # it is not up yet, or gone

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield one
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("mode", Mode)
def test_nobody_else_can_command_the_probe(bench: Bench, mode: Mode) -> None:
    port = free_port()
    with stranger(port, HOSTILE, "guessed occupy=86400 memory=2") as other:
        record = bench.run(mode=mode, topology=Topology.NONE, ports=[port], requests=60)
    assert other.answers, "nobody has disturbed it"
    assert not any({"memory", "object_growth"} & set(answer) for answer in other.answers)
    results = {one.check: one for one in record.checks}
    assert results["responses"].verdict is Verdict.INCONCLUSIVE, why(record)
    assert "requests came from another program" in results["responses"].reason
    # If a process ends while a stranger has it load an interpreter, Python may abort.
    assert results["hang"].verdict is not Verdict.FAIL, why(record)
    assert record.observed is not None
    assert 0 < record.observed.elsewhere <= other.sent


TELLS = """
import wsgiproof_inside.settings
secret = wsgiproof_inside.settings.load()["secret"]
with open(%r, "w") as file:
    file.write(secret)
def application(environ, start_response):
    assert secret not in repr(environ)
    start_response("200 OK", [])
    return [b""]
"""


def test_the_secret_is_in_nothing_that_is_kept(bench: Bench, open_tmp: Path) -> None:
    told = open_tmp / "secret"
    told.touch()
    told.chmod(0o666)  # the application runs as another user
    app = open_tmp / "tells.py"
    app.write_text(TELLS % str(told))
    record = bench.run(app=app, topology=Topology.NONE, phases=(ExtraPhase.RESTART,), requests=120)
    assert record.verdict is Verdict.PASS, why(record)
    secret = told.read_bytes()
    assert len(secret) >= 32
    kept = [path for path in bench.file(record, "").rglob("*") if path.is_file()]
    assert {"cell.json", "error.log"} <= {path.name for path in kept}
    for path in kept:
        assert secret not in path.read_bytes(), path
