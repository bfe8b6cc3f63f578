"""What a process of a server is for, told by who has started it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.unit.test_apache_conf import conf
from wsgiproof.cell import Mode, Mpm
from wsgiproof.environ import child_environment
from wsgiproof.process import Service
from wsgiproof.records import Role
from wsgiproof.services.apache import Server

FAMILY = "sh -c 'sleep 30 & wait' & wait"
"""In place of Apache: a parent with one child, which runs a command of its own."""


@pytest.mark.parametrize(
    ("mode", "child"), [(Mode.EMBEDDED, Role.WORKER), (Mode.DAEMON, Role.FRONTEND)]
)
def test_a_command_that_a_child_runs_is_a_helper(mode: Mode, child: Role, tmp_path: Path) -> None:
    service = Service(
        ["sh", "-c", FAMILY],
        name="family",
        log=tmp_path / "log",
        events=tmp_path / "events",
        env=child_environment(),
    )
    with service:
        server = Server(service, conf(mode, Mpm.PREFORK))
        limit = time.monotonic() + 10
        while len(service.living()) < 3 and time.monotonic() < limit:
            time.sleep(0.01)
        roles = sorted(server.living().values())
    assert roles == sorted([Role.PARENT, child, Role.HELPER])
