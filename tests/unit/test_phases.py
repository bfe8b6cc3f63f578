"""Whose answers those of a server are."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from wsgiproof.environ import child_environment
from wsgiproof.experiment.phases import foreign_processes
from wsgiproof.process import Service


def test_a_living_process_that_is_not_below_the_server_is_a_stranger(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    command = ["sh", "-c", "sleep 30 & echo $! > child; wait"]
    log, events = tmp_path / "log", tmp_path / "events"
    with Service(
        command, name="sh", log=log, events=events, cwd=tmp_path, env=child_environment()
    ) as service:
        child = tmp_path / "child"
        while not child.exists() or not child.read_text().endswith("\n"):
            time.sleep(0.01)
        served = {service.pid, int(child.read_text()), gone.pid, os.getpid()}
        assert foreign_processes(served, service) == (os.getpid(),)
        assert foreign_processes(served - {os.getpid()}, service) == ()
