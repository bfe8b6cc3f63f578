"""What the application starts is a helper, whoever its parent is by now; a frontend is none."""

from __future__ import annotations

from pathlib import Path

from tests.real.conftest import Bench
from tests.real.test_cells import why
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import Role
from wsgiproof.subjects.pymongo.axes import Topology

BACKGROUND = """
import itertools, subprocess
number = itertools.count(1)
def application(environ, start_response):
    if next(number) % 10 == 0:
        subprocess.call(["sh", "-c", "sleep 0.2 &"])
    start_response("200 OK", [])
    return [b""]
"""

FRONTEND_ENDS = """
import glob, itertools, os
number = itertools.count(1)
def frontends():
    for name in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(name) as stat:
                head, _, tail = stat.read().rpartition(")")
            with open(name.replace("stat", "cmdline")) as file:
                title = file.read()
        except (IOError, OSError):
            continue
        pid = int(head.split()[0])
        if int(tail.split()[1]) == os.getppid() and not title.startswith("(wsgi:"):
            yield pid
def application(environ, start_response):
    if next(number) == 60:
        os.kill(next(frontends()), 15)
    start_response("200 OK", [])
    return [b""]
"""


def test_a_background_child_is_nobodys_crash(bench: Bench, tmp_path: Path) -> None:
    app = tmp_path / "background.py"
    app.write_text(BACKGROUND)
    record = bench.run(app=app, topology=Topology.NONE)
    assert record.verdict is Verdict.PASS, why(record)
    assert record.observed is not None
    orphans = [
        event
        for event in record.observed.events
        if event.kind == "died" and event.role is Role.HELPER
    ]
    assert orphans, "none was seen"


def test_a_frontend_that_ends_is_still_reported(bench: Bench, tmp_path: Path) -> None:
    app = tmp_path / "ends.py"
    app.write_text(FRONTEND_ENDS)
    record = bench.run(app=app, topology=Topology.NONE)
    assert "crash" in {finding.check for finding in record.findings}, why(record)
    (finding,) = [one for one in record.findings if one.check == "crash"]
    assert "frontend process" in finding.seen
