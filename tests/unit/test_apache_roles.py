"""The role of a process of a server, by the process that started it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.unit.test_apache_conf import conf
from wsgiproof.process.environ import child_environment
from wsgiproof.process.guarded import ProcessEvent
from wsgiproof.process.service import Service
from wsgiproof.records.cell import Mode, Mpm
from wsgiproof.records.observed import Role
from wsgiproof.server.apache import ProcessTree, Server

FAMILY = "sh -c 'sleep 30 & wait' & wait"
"""In place of Apache: a parent with one child, which runs a command of its own."""


@pytest.mark.parametrize(
    ("mode", "child"), [(Mode.EMBEDDED, Role.WORKER), (Mode.DAEMON, Role.FRONTEND)]
)
def test_a_command_that_a_child_runs_is_a_helper(mode: Mode, child: Role, tmp_path: Path) -> None:
    service = Service(
        ["sh", "-c", FAMILY],
        name="tree",
        log=tmp_path / "log",
        events=tmp_path / "events",
        env=child_environment(),
    )
    with service:
        server = Server(service, conf(mode, Mpm.PREFORK), tmp_path)
        limit = time.monotonic() + 60
        while len(service.living()) < 3 and time.monotonic() < limit:
            time.sleep(0.01)
        roles = sorted(server.living().values())
    assert roles == sorted([Role.PARENT, child, Role.HELPER])


GUARD, APACHE, CHILD = 10, 11, 12
"""Pids: Apache's parent process is the guard's child."""


def born(pid: int, ppid: int, name: str = "httpd") -> ProcessEvent:
    return ProcessEvent(1.0, "born", pid, ppid, name)


def died(pid: int, code: int = 0) -> ProcessEvent:
    return ProcessEvent(2.0, "died", pid, None, "httpd", code)


STARTED = [born(APACHE, GUARD), born(CHILD, APACHE)]


def helpers(*events: ProcessEvent) -> list[int]:
    tree = ProcessTree(APACHE)
    tree.update(STARTED)
    tree.update([*STARTED, *events])
    return sorted({event.pid for event in events if tree.is_helper(event.pid)})


def test_an_orphan_that_was_never_seen_with_its_parent_is_a_helper() -> None:
    # `sh -c 'sleep 0.2 &'`: the shell has ended before anybody could look.
    assert helpers(born(20, GUARD, "sleep"), died(20)) == [20]


def test_an_orphan_of_a_child_that_has_not_called_exec_is_a_helper() -> None:
    assert helpers(born(20, GUARD, "httpd")) == [20]


def test_what_a_helper_starts_is_a_helper() -> None:
    assert helpers(born(20, CHILD, "sh"), born(21, 20, "sleep"), died(20)) == [20, 21]


def test_a_child_that_apache_starts_later_is_none() -> None:
    assert helpers(died(CHILD, 1), born(20, APACHE)) == []


def test_a_child_that_outlives_apache_before_it_is_seen_is_none() -> None:
    assert helpers(died(APACHE, 1), born(20, GUARD), born(21, GUARD, "sleep")) == [21]


def test_a_pid_that_comes_again_is_what_it_is_now() -> None:
    assert helpers(born(20, CHILD, "sh"), died(20), born(20, APACHE)) == []


def test_an_orphan_of_a_real_child_is_a_helper(tmp_path: Path) -> None:
    """The child's shell ends at once; its own child stays, and the guard becomes the parent."""
    orphan = "(sh -c 'sleep 30 &'; sleep 30; :) & wait"
    service = Service(
        ["sh", "-c", orphan],
        name="tree",
        log=tmp_path / "log",
        events=tmp_path / "events",
        env=child_environment(),
    )
    with service:
        server = Server(service, conf(Mode.DAEMON, Mpm.PREFORK), tmp_path)
        limit = time.monotonic() + 60
        while len(service.living()) < 4 and time.monotonic() < limit:
            time.sleep(0.01)
        roles = sorted(server.living().values())
    assert roles == sorted([Role.PARENT, Role.FRONTEND, Role.HELPER, Role.HELPER])
