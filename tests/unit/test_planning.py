"""From the configuration to jobs: what decides what comes of a cell is in its inputs."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cells import configured
from tests.unit.test_matrix import BUILT, DEBIANS, PYTHONS, resolved
from wsgiproof.analysis.axes import is_usual, value_of
from wsgiproof.config.known import KnownTable
from wsgiproof.errors import UsageError
from wsgiproof.process.account import Account
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.environment import environment_build
from wsgiproof.provision.toolchain import Source
from wsgiproof.records.cell import InterpreterKind, Loading, Mode, Mpm, Resolution
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.listed import Listed
from wsgiproof.records.run import as_json
from wsgiproof.report.matrix import as_listed
from wsgiproof.run.cell import Job
from wsgiproof.run.planning import HostSetup, plan
from wsgiproof.run.preflight import Machine
from wsgiproof.server.own_conf import OwnConf
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.backends import MongoDBs

NONE = MongoDBs({})
ACCOUNT = Account(name="www-data", group="www-data", uid=33, gid=33, dropped=True)


def job(tmp: Path, **options: Any) -> Job:
    """The job of the one cell that these options come to."""
    machine = Machine(account=ACCOUNT, pythons=(PYTHONS[""],), apaches=(), backends=NONE)
    setup = HostSetup(machine=machine, resolved=resolved(), cache=Cache(tmp))
    config = configured(topology=(Topology.NONE,), mode=(Mode.DAEMON,), **options)
    (one,) = plan(config, setup).jobs
    return one


def test_what_is_installed_beside_pymongo_is_a_part_of_the_inputs(tmp_path: Path) -> None:
    file = tmp_path / "constraints.txt"
    made = [job(tmp_path), job(tmp_path, requirement=("dnspython",))]
    for content in ("dnspython==2.7.0\n", "dnspython==2.8.0\n"):
        file.write_text(content)
        made.append(job(tmp_path, requirement=("dnspython",), constraint=str(file)))
        assert made[-1].spec.constraints == content
    assert len({one.inputs for one in made}) == 4
    assert {one.cell.id for one in made} == {made[0].cell.id}


def test_what_is_known_changes_the_judgement_of_a_cell_and_not_its_inputs(tmp_path: Path) -> None:
    table = KnownTable(check="crash", signature="f", reason="seen before", cells=("*-daemon-*",))
    elsewhere = KnownTable(check="crash", signature="f", reason="x", cells=("*-embedded-*",))
    plain = job(tmp_path)
    known = job(tmp_path, known=(table, elsewhere), accept_known_upstream=True)
    assert known.inputs == plain.inputs
    assert [one.reason for one in known.known] == ["seen before"]
    record = known.record(Verdict.ERROR, "no mongod")
    assert [one.table for one in record.known] == [*known.known]
    assert record.accept_known_upstream
    assert shlex.split(known.rerun) == [*shlex.split(plain.rerun), "--accept-known-upstream"]


def test_the_command_that_runs_a_cell_again_installs_the_same(tmp_path: Path) -> None:
    file = tmp_path / "constraints.txt"
    file.write_text("")
    wanted = ("dnspython", "python-snappy==0.7.3; python_version > '3'")
    rerun = shlex.split(job(tmp_path, requirement=wanted, constraint=str(file)).rerun)
    assert [rerun[at + 1] for at, word in enumerate(rerun) if word == "--requirement"] == [*wanted]
    assert rerun[rerun.index("--constraint") + 1] == str(file)
    assert "--requirement" not in job(tmp_path).rerun


def test_the_resolution_is_a_part_of_the_cell_and_of_its_environment(tmp_path: Path) -> None:
    """Two runs that differ in it are not compared cell by cell, and share no environment."""
    usual, low = job(tmp_path), job(tmp_path, resolution=Resolution.LOWEST_DIRECT)
    assert low.cell.id == f"{usual.cell.id}-lowest-direct"
    assert (low.cell.axes["resolution"], low.spec.resolution) == ("lowest-direct",) * 2
    assert shlex.split(low.rerun) == [*shlex.split(usual.rerun), "--resolution", "lowest-direct"]
    keys = [environment_build(one.spec, Cache(tmp_path)).key for one in (usual, low)]
    assert keys[1] == {**keys[0], "resolution": "lowest-direct"}
    assert is_usual("resolution", usual.cell)
    assert not is_usual("resolution", low.cell)
    assert value_of("resolution", low.cell) == "lowest-direct dependencies"


def test_the_command_that_runs_a_cell_again_logs_its_requests(tmp_path: Path) -> None:
    plain, logging = job(tmp_path), job(tmp_path, access_log=True)
    assert logging.spec.access_log
    assert shlex.split(logging.rerun) == [*shlex.split(plain.rerun), "--access-log"]
    shared = job(tmp_path, shared_tmp=True)
    assert shared.spec.shared_tmp
    assert shlex.split(shared.rerun) == [*shlex.split(plain.rerun), "--shared-tmp"]


def test_the_command_that_runs_a_cell_again_names_exact_versions(tmp_path: Path) -> None:
    """4.9 is a version of PyMongo, and on the command line the newest 4.9.x."""
    machine = Machine(account=ACCOUNT, pythons=(PYTHONS[""],), apaches=(), backends=NONE)
    axes = msgspec.structs.replace(
        resolved(),
        sources={
            "pymongo": {("3.12", "old"): Source(version="4.9")},
            "mod_wsgi": {("3.12", "old"): Source(version="4.9.4")},
        },
    )
    setup = HostSetup(machine=machine, resolved=axes, cache=Cache(tmp_path))
    config = configured(
        topology=(Topology.NONE,), mode=(Mode.DAEMON,), pymongo=("old",), mod_wsgi=("old",)
    )
    rerun = shlex.split(plan(config, setup).jobs[0].rerun)
    assert rerun[rerun.index("--pymongo") + 1] == "4.9.0"
    assert rerun[rerun.index("--mod-wsgi") + 1] == "4.9.4"


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_constraints_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "constraints.txt"
    if content is not None:
        file.write_bytes(content)
    why = "it is not UTF-8" if content else "No such file"
    with pytest.raises(UsageError, match=f"--constraint {file}: {why}"):
        job(tmp_path, constraint=str(file))


def test_constraints_that_are_no_file_are_not_waited_for(tmp_path: Path) -> None:
    fifo = tmp_path / "constraints.txt"
    os.mkfifo(fifo)
    with pytest.raises(UsageError, match=f"--constraint {fifo}: it is not a regular file"):
        job(tmp_path, constraint=str(fifo))


def test_a_record_keeps_no_value_of_a_variable(tmp_path: Path) -> None:
    own = OwnConf(
        path=tmp_path / "httpd.conf", variables={"TOKEN": "hunter2"}, digest="d", ports=(8080,),
        mode=Mode.DAEMON, mpm=Mpm.PREFORK, interpreter=InterpreterKind.SHARED_GIL,
        loading=Loading.LAZY, processes=1, threads=15,
    )  # fmt: skip
    machine = Machine(account=ACCOUNT, pythons=(PYTHONS[""],), apaches=(), backends=NONE)
    setup = HostSetup(machine=machine, resolved=resolved(), cache=Cache(tmp_path), own_conf=own)
    config = configured(topology=(Topology.NONE,), mode=(Mode.DAEMON,), httpd_conf=str(own.path))
    (one,) = plan(config, setup).jobs
    assert f"--httpd-conf {own.path}" in one.rerun
    record = one.record(Verdict.PASS, "")
    assert b"TOKEN" in msgspec.json.encode(one.own_conf, enc_hook=str)
    assert b"hunter2" not in as_json(record) + as_json(record.summary())


def test_the_command_that_runs_a_cell_again_names_its_apache(tmp_path: Path) -> None:
    plain, debians, built = (job(tmp_path, httpd=(path,)) for path in ("", DEBIANS, BUILT))
    assert shlex.split(debians.rerun) == [*_with(plain, "--httpd", DEBIANS)]
    assert shlex.split(built.rerun) == [*_with(plain, "--httpd", BUILT)]
    assert len({one.inputs for one in (plain, debians, built)}) == 3


def test_virtual_hosts_are_a_part_of_the_cell_and_of_its_command(tmp_path: Path) -> None:
    plain, hosts = job(tmp_path), job(tmp_path, virtual_hosts=True)
    assert hosts.cell.id == f"{plain.cell.id}-virtual-hosts"
    assert (plain.cell.axes["virtual_hosts"], hosts.cell.axes["virtual_hosts"]) == (False, True)
    assert shlex.split(hosts.rerun) == [*shlex.split(plain.rerun), "--virtual-hosts"]
    assert value_of("virtual_hosts", hosts.cell) == "virtual hosts"
    assert is_usual("virtual_hosts", plain.cell)
    listed = as_listed([hosts.cell], (), ())
    assert msgspec.json.decode(msgspec.json.encode(listed), type=Listed) == listed


def _with(job: Job, option: str, value: str) -> list[str]:
    """The command of a job with one more option, after that of mod_wsgi."""
    words = shlex.split(job.rerun)
    at = words.index("--mod-wsgi") + 2
    return [*words[:at], option, value, *words[at:]]
