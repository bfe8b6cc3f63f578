"""One PyMongo on MongoDB 6.0, 5.0 and 4.4, each a standalone and a replica set, by their names."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.real.command import started
from wsgiproof.records.reading import read_cell
from wsgiproof.records.run import CellRecord
from wsgiproof.subjects.pymongo.axes import DEPLOYED, Topology
from wsgiproof.subjects.pymongo.deployment import start_deployment
from wsgiproof.subjects.pymongo.mongod_binary import find_mongod

VERSIONS = ("6.0.5", "5.0.32", "4.4.2")
Cells = Mapping[tuple[str, Topology], CellRecord]


def named(version: str) -> str:
    """What a file calls the mongod of a version."""
    return f"mongodb-{version}"


@pytest.fixture(scope="module")
def cells(mongods: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Cells:
    """One run of all of them, by a file."""
    tmp = tmp_path_factory.mktemp("run")
    servers = ", ".join(f'"{named(one)}" = "{path}"' for one, path in mongods.items())
    file = tmp / "wsgiproof.toml"
    file.write_text(
        f"mongodb = {[named(one) for one in mongods]}\n"
        f'mode = "daemon"\nrequests = 300\nmongodb_servers = {{ {servers} }}\n'
    )
    with tempfile.TemporaryDirectory(prefix="wp-test-", dir="/tmp") as scratch:
        Path(scratch).chmod(0o711)
        with started(Path(scratch), "--config", str(file)) as running:
            code = running.finish(deadline=600)
            records = [read_cell(path) for path in running.output.glob("cells/*/cell.json")]
            logs = list(running.output.glob("backends/*/*.log"))
    assert code == 0, running.text
    assert len(logs) == len(mongods) * (1 + 3)
    return {
        (record.cell.value("mongodb"), Topology(record.cell.value("topology"))): record
        for record in records
    }


@pytest.mark.parametrize("topology", DEPLOYED)
@pytest.mark.parametrize("version", VERSIONS)
def test_each_is_tested_as_each_topology(cells: Cells, version: str, topology: Topology) -> None:
    record = cells[named(version), topology]
    assert not [check for check in record.checks if check.verdict != "pass"], record.reason
    assert f"-{topology}-{named(version)}-" in record.cell.id


def test_a_pymongo_without_an_app_name_is_counted_from_proc(mongods: Mapping[str, Path]) -> None:
    """PyMongo 3.3.1 needs an old MongoDB, and an old Python for its C extensions."""
    options = ["--python", "3.6", "--pymongo", "3.3.1", "--mongodb", str(mongods["4.4.2"])]
    options += ["--topology", "standalone", "--mode", "daemon", "-n", "600", "--phases", "none"]
    with tempfile.TemporaryDirectory(prefix="wp-test-", dir="/tmp") as scratch:
        Path(scratch).chmod(0o711)
        command = [sys.executable, "-m", "wsgiproof", "run", "--no-config"]
        with started(Path(scratch), *options, command=command) as running:
            running.finish(deadline=600)
            (record,) = (read_cell(path) for path in running.output.glob("cells/*/cell.json"))
    checks = {check.check: check for check in record.checks}
    reasons = {name: check.reason for name, check in checks.items()}
    assert checks["responses"].verdict == checks["environment"].verdict == "pass", reasons
    assert checks["connections"].verdict == "pass", reasons
    note = "counted from /proc alone: PyMongo 3.3.1 has no appName"
    assert checks["connections"].reason.endswith(note)
    assert record.observed is not None
    assert any(sample.connections for sample in record.observed.samples)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_replica_set_takes_writes_soon(
    mongods: Mapping[str, Path], tmp_path: Path, version: str
) -> None:
    """Printed for the record, as ``make mongods`` shows it; a time is no verdict."""
    mongod = find_mongod(str(mongods[version]))
    assert mongod.version == version
    with tempfile.TemporaryDirectory() as scratch:
        began = time.monotonic()
        with start_deployment(Topology.REPLICA_SET, mongod, Path(scratch), tmp_path) as started:
            took = time.monotonic() - began
            assert started.version == version
    print(f"MongoDB {version}: a write on all three members after {took:.2f} s")
