"""Commands of the probe, in real Apache: its own host gives them, and nobody else."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

import pytest

from tests.real.conftest import Bench
from tests.real.test_cells import why
from wsgiproof.records.cell import Mode
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.plan import ExtraPhase, PhaseName
from wsgiproof.server.ports import free_port
from wsgiproof.subjects.pymongo.axes import Topology

HOSTILE = "until=9e9&occupy=86400&memory=2&object_growth=begin"


class Stranger:
    """Another process of this machine, as it were, that sends requests while a cell runs."""

    def __init__(self, port: int, query: str, header: str) -> None:
        self._url = f"http://127.0.0.1:{port}/interpreter1?{query}"
        self._header = header
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.sent = 0
        self.answers: list[tuple[bytes, str | None]] = []

    def _ask(self) -> None:
        while not self._over.wait(0.02):
            self.sent += 1
            request = urllib.request.Request(self._url, headers={"X-Wsgiproof": self._header})
            try:
                with urllib.request.urlopen(request, timeout=5) as response:
                    report = response.headers["X-Wsgiproof-Report"]
                    self.answers.append((response.read(), report))
            except (OSError, urllib.error.URLError, ValueError):
                continue  # it is not up yet, or gone

    def watch(self, phase: str) -> None:
        """End before the server is stopped: a request in flight then may abort its process
        (docs/findings.md, 18)."""
        if phase == PhaseName.STOP:
            self._over.set()
            self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.watch(PhaseName.STOP)


@pytest.mark.parametrize("mode", Mode)
def test_nobody_else_can_command_the_probe(bench: Bench, mode: Mode) -> None:
    port = free_port()
    with Stranger(port, HOSTILE, "guessed occupy=86400 memory=2") as stranger:
        record = bench.run(
            mode=mode, topology=Topology.NONE, ports=[port], requests=60, watch=stranger.watch
        )
    assert stranger.answers, "nobody has disturbed it"
    assert {report for _, report in stranger.answers} == {None}
    assert record.verdict is Verdict.INCONCLUSIVE, why(record)
    (result,) = [one for one in record.checks if one.check == "responses"]
    assert "requests came from another program" in result.reason
    assert record.observed is not None
    assert 0 < record.observed.elsewhere <= stranger.sent


TELLS = """
import wsgiproof_agent.settings
secret = wsgiproof_agent.settings.load()["secret"]
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
