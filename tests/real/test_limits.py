"""A limit of the machine is an error with the limit named, and never the subject's fault."""

from __future__ import annotations

import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.cells import configured
from tests.real.command import RUN, started
from tests.real.conftest import KNOWN_GOOD, PYMONGO, Bench
from tests.real.test_cells import why
from tests.real.test_wrong_input import one_line
from wsgiproof.errors import ServiceFailed
from wsgiproof.records.cell import Mode, Mpm
from wsgiproof.records.judgement import Verdict
from wsgiproof.run.cell import NullWatcher, build
from wsgiproof.run.planning import make_context, plan, preflight
from wsgiproof.server.apache import start_apache
from wsgiproof.server.configuration import ApacheConf
from wsgiproof.server.ports import free_port
from wsgiproof.server.scratch import scratch_directory
from wsgiproof.subjects.application import lay_out
from wsgiproof.subjects.pymongo.axes import Topology


@pytest.fixture
def small_disk(open_tmp: Path) -> Iterator[Path]:
    """A disk of 1 MB, mounted; that takes root, which CI is."""
    disk = open_tmp / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=711", "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def fill(disk: Path) -> None:
    """Leave no byte on it."""
    with (disk / "filler").open("wb", 0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


@contextmanager
def limited(kind: int, soft: int) -> Iterator[None]:
    """A lower limit for what is started meanwhile."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@pytest.mark.parametrize(
    ("limit", "value", "option"), [("nofile", 32, "-Hn"), ("nproc", 30, "-Hu")]
)
def test_a_limit_that_is_too_low_is_refused_before_anything_starts(
    open_tmp: Path, limit: str, value: int, option: str
) -> None:
    command = ["prlimit", f"--{limit}={value}:{value}", *RUN]
    with started(open_tmp, "--topology", "none", "-n", "60", command=command) as running:
        assert running.finish() == 3, running.text
    told = one_line(running.text)
    assert f"the limit is {value} " in told
    assert f"`ulimit {option}`" in told
    assert not (open_tmp / "out").exists()


def test_a_soft_limit_that_is_too_low_is_raised(open_tmp: Path) -> None:
    command = ["prlimit", "--nofile=64:", *RUN]
    options = ["--topology", "none", "-n", "60", "--mode", "daemon", "--phases", "none"]
    with started(open_tmp, *options, command=command) as running:
        assert running.finish() == 0, running.text


@pytest.mark.parametrize(
    ("mode", "mpm"),
    [
        (Mode.DAEMON, Mpm.PREFORK),  # mod_wsgi's request threads, after Apache is ready
        (Mode.DAEMON, Mpm.EVENT),  # Apache's own, as it starts
    ],
)
def test_threads_that_cannot_start_are_no_hang(bench: Bench, mode: Mode, mpm: Mpm) -> None:
    """Apache's user may have one task: each request thread is one too many."""

    def ports() -> Iterator[int]:
        resource.setrlimit(resource.RLIMIT_NPROC, (1, resource.getrlimit(resource.RLIMIT_NPROC)[1]))
        yield free_port()

    with limited(resource.RLIMIT_NPROC, resource.getrlimit(resource.RLIMIT_NPROC)[0]):
        record = bench.run(
            topology=Topology.NONE, mode=mode, mpm=mpm, ports=ports(), start_deadline=5.0
        )
    assert record.verdict is Verdict.ERROR, why(record)
    assert "the limit of this user is 1): raise `ulimit -u`" in record.reason


def test_descriptors_that_apache_does_not_get_are_no_failure(bench: Bench) -> None:
    with limited(resource.RLIMIT_NOFILE, 200):
        record = bench.run(topology=Topology.NONE, requests=60)
        assert record.verdict is Verdict.PASS, why(record)
    with limited(resource.RLIMIT_NOFILE, 60):
        record = bench.run(topology=Topology.NONE, requests=600)
    assert record.verdict is Verdict.ERROR, why(record)
    assert "no descriptor left (its limit is 60)" in record.reason


def test_a_disk_that_is_full_as_apache_starts_is_noticed_at_once(
    bench: Bench, small_disk: Path, open_tmp: Path
) -> None:
    config = configured(mod_wsgi=(KNOWN_GOOD,), pymongo=(PYMONGO,), topology=(Topology.NONE,))
    setup = preflight(config)
    job = plan(config, setup).jobs[0]
    context = make_context(setup, open_tmp, NullWatcher())
    toolchain = build(job, context)
    fill(small_disk)
    with scratch_directory(context.account) as scratch:
        application = lay_out(job.cell, scratch, {}, context.account)
        configure = partial(
            ApacheConf.of,
            job.cell,
            toolchain,
            application,
            context.account,
            run_directory=scratch,
            error_log=small_disk / "error.log",
        )
        # It would wait for an hour for what can't be written.
        with (
            pytest.raises(ServiceFailed, match=f"No space left on device at {small_disk}"),
            start_apache(toolchain.httpd, configure, free_port, 3600, open_tmp),
        ):
            pass


def test_a_disk_that_becomes_full_is_no_failure(
    bench: Bench, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evidence can't be written any more, and a slot of it is a SIGBUS for who touches it."""
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))

    def watch(phase: str) -> None:
        if phase == "serial":
            fill(small_disk)

    record = bench.run(topology=Topology.NONE, watch=watch)
    assert record.verdict is Verdict.ERROR, why(record)
    assert f"No space left on device at {small_disk}" in record.reason
