"""What others do to a service, and a service that runs as another user; on real small processes."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from tests.unit.test_process import ENV, SLEEPER, is_alive, wait_until
from wsgiproof.process.service import Service


def sleeper(tmp: Path) -> Service:
    return Service(SLEEPER, name="test", log=tmp / "log", events=tmp / "events", env=ENV)


def stopped(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


def test_a_service_that_is_well_has_no_trouble(tmp_path: Path) -> None:
    with sleeper(tmp_path) as service:
        assert service.trouble() == ""
        service.signal(signal.SIGSTOP)
        assert wait_until(lambda: stopped(service.pid))
        assert service.trouble() == "", "we have paused it"
        service.signal(signal.SIGCONT)
        assert wait_until(lambda: not stopped(service.pid))
        assert service.trouble() == ""
        service.stop(5)
        assert not service.paused_by_others()
        assert service.ended() is None, "we have ended it"


@pytest.mark.parametrize(
    ("number", "expected"),
    [(signal.SIGKILL, "died of SIGKILL"), (signal.SIGTERM, "died of SIGTERM")],
)
def test_a_service_that_somebody_has_ended(
    tmp_path: Path, number: signal.Signals, expected: str
) -> None:
    with sleeper(tmp_path) as service:
        os.kill(service.pid, number)
        assert wait_until(lambda: not is_alive(service.pid))
        assert service.trouble() == expected
        service.stop(5)
        ended = service.ended()
        assert ended is not None
        assert ended.signal == number


def test_a_service_that_is_paused_by_somebody_and_one_that_was(tmp_path: Path) -> None:
    with sleeper(tmp_path) as service:
        os.kill(service.pid, signal.SIGSTOP)
        assert wait_until(lambda: stopped(service.pid))
        assert service.trouble() in ("is paused", "was paused for a while")
        os.kill(service.pid, signal.SIGCONT)
        assert wait_until(service.paused_by_others)
        assert service.trouble() == "was paused for a while"


def test_a_service_whose_guard_was_killed(tmp_path: Path) -> None:
    with sleeper(tmp_path) as service:
        os.kill(psutil.Process(service.pid).ppid(), signal.SIGKILL)
        assert wait_until(lambda: not is_alive(service.pid))
        assert service.trouble() == "was ended because its guard was killed"


def test_a_service_runs_as_another_user_from_where_he_could_not_start_it(tmp_path: Path) -> None:
    """pytest's own directory is closed to others, as that of root's environment may be."""
    program = tmp_path / "sleep"
    shutil.copy(shutil.which("sleep") or "", program)
    user = (65534, 65534) if os.geteuid() == 0 else None
    log, events = tmp_path / "log", tmp_path / "events"
    argv = [str(program), "60"]
    with Service(
        argv, name="other", log=log, events=events, user=user, cwd=tmp_path, env=ENV
    ) as service:
        its = psutil.Process(service.pid)
        assert set(its.uids()) == {user[0] if user else os.geteuid()}
        assert set(its.gids()) == {user[1] if user else os.getegid()}
        assert its.cmdline() == argv
        pid = service.pid
        # It must not outlive its guard, whoever it is.
        os.kill(its.ppid(), signal.SIGKILL)
        assert wait_until(lambda: not is_alive(pid))
