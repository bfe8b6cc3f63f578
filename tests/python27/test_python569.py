"""PYTHON-569, the bug that the recipe was written for, on the Python of its time.

PyMongo before 2.7 keeps its types in static variables of the C extension. What a second
interpreter puts there is wrong for the first, and Binary and Code come back as unicode.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.command import started
from tests.unit.test_inside import SOURCES
from wsgiproof.errors import BuildFailed
from wsgiproof.judge.resources import worker_pids
from wsgiproof.provision import python2
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.environment import environment_build
from wsgiproof.provision.python import installed
from wsgiproof.provision.toolchain import BuildSpec, Python, Source
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.reading import read_cell
from wsgiproof.records.run import CellRecord, exit_code
from wsgiproof.server.configuration import DAEMON_THREADS

BROKEN, MENDED = "2.6.3", "2.7.2"
TWICE = pytest.mark.parametrize("attempt", [1, 2])


def run_cell(
    tmp: Path, python: Python, pymongo: str, *options: str, mod_wsgi: str = "4.9.4"
) -> CellRecord:
    """Run one cell without a deployment by the command itself."""
    command = [sys.executable, "-m", "wsgiproof", "run", "--python", python.path]
    command += ["--mod-wsgi", mod_wsgi, "--pymongo", pymongo]
    command += ["--topology", "none", "--mode", "daemon"]
    with started(tmp, *options, command=command) as running:
        code = running.finish(deadline=300)
        files = list(running.output.glob("cells/*/cell.json"))
        assert len(files) == 1, running.text
        record = read_cell(files[0])
        assert code == exit_code([record])
        return record


OF_A_CRASH = {"crash", "responses", "error-log"}
"""What fails now and then, whatever this mod_wsgi serves (docs/findings.md, 17)."""


def failed(record: CellRecord) -> set[str]:
    """The checks that failed, but for those that failed by a crash of mod_wsgi's own; the others
    passed, but for those that only a deployment could tell."""
    of = {
        verdict: {check.check for check in record.checks if check.verdict is verdict}
        for verdict in Verdict
    }
    assert of[Verdict.SKIPPED] == {
        "connections",
        "closed-client",
        "cursors",
        "sessions",
        "database",
    }, record.reason
    excused = OF_A_CRASH if "crash" in of[Verdict.FAIL] else set()
    # A process that died has left no reading of its memory.
    assert of[Verdict.INCONCLUSIVE] <= ({"memory"} if excused else set()), record.checks
    return of[Verdict.FAIL] - excused


@TWICE
def test_the_broken_one_fails_roundtrip(python27: Python, open_tmp: Path, attempt: int) -> None:
    record = run_cell(open_tmp, python27, BROKEN)
    # PyMongo warns of its types that it has to load again.
    assert failed(record) - {"error-log"} == {"roundtrip"}


def test_only_the_first_use_of_the_second_interpreter_breaks_the_first(
    python27: Python, open_tmp: Path
) -> None:
    record = run_cell(open_tmp, python27, BROKEN)
    assert record.observed is not None
    # A restart makes other processes, each with a first use of its own.
    (pid,) = worker_pids(record.observed.samples[0])
    served = [one for one in record.observed.identities if one.pid == pid]
    begun = {one.application_group: one.first for one in served}
    assert begun == {"interpreter1": 0, "interpreter2": DAEMON_THREADS}
    problems = [one for one in record.observed.problems if one.pid == pid]
    first, second = (
        [one for one in problems if one.application_group == group]
        for group in ("interpreter1", "interpreter2")
    )
    # Up to 15 answers of an interpreter are on their way at once, and not all of those are wrong.
    burst = range(DAEMON_THREADS, 2 * DAEMON_THREADS)
    assert min(one.first for one in second) in burst
    assert min(one.first for one in first) >= 2 * DAEMON_THREADS
    right = min(one.own_first for one in first)
    assert right in burst
    assert any("Binary" in one.text for one in first), first
    assert any("Code" in one.text for one in (*first, *second))
    (finding,) = [finding for finding in record.findings if finding.check == "roundtrip"]
    assert (
        f"interpreter1 was right in its first {right} answers, "
        "and wrong only after interpreter2 had answered for the first time"
    ) in finding.seen


def test_alone_in_its_process_the_broken_one_is_right(python27: Python, open_tmp: Path) -> None:
    assert failed(run_cell(open_tmp, python27, BROKEN, "--sub-interpreters", "1")) == set()


@TWICE
def test_the_mended_one_passes(python27: Python, open_tmp: Path, attempt: int) -> None:
    assert failed(run_cell(open_tmp, python27, MENDED)) == set()


COMPILE = """
import sys
for name in sys.argv[1:]:
    with open(name) as file:
        compile(file.read(), name, "exec")
"""


def test_what_runs_inside_compiles_on_every_python_here(python27: Python) -> None:
    names = [str(path) for path in SOURCES]
    assert names
    refused = {}
    for python in (python27, *installed()):
        done = subprocess.run(
            [python.path, "-W", "error", "-c", COMPILE, *names],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            refused[python.version] = done.stderr
    assert refused == {}


def test_a_constraint_that_contradicts_the_cell_is_an_error(python27: Python) -> None:
    parts = BuildSpec(
        python=python27,
        mod_wsgi=Source(version="4.9.4"),
        packages={"pymongo": Source(version=MENDED)},
        constraints=f"pymongo=={BROKEN}\n",
    )
    with pytest.raises(BuildFailed, match=r"within the constraints: .*pymongo==2\.7\.2"):
        Cache().get(environment_build(parts, Cache()))


def test_the_users_own_constraints_steer_nothing(
    python27: Python, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "constraints.txt").write_text("pymongo==2.5\nsix<2\n")
    settings = tmp_path / "pip.conf"
    settings.write_text(f"[global]\nconstraint = {tmp_path}/constraints.txt\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    assert python2.find_version("pymongo", MENDED, python27, Cache(tmp_path / "cache")) == MENDED
