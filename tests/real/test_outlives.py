"""Nothing of a run outlives it, whoever is killed or paused; and nobody sees what we were given."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.real.command import RUN, Command, at_work, nobody_is_left, started

LONG = ("--topology", "none", "--mode", "daemon", "-n", "1000000")
TWO = ("--topology", "none", "--mode", "daemon", "--mode", "embedded", "-n", "1000000")
APACHE = ("apache2", "httpd")
TOKEN = "a-token-that-nobody-else-may-have"


@pytest.fixture(autouse=True)
def runs(open_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of the test's own for the list of runs."""
    directory = open_tmp / "runtime"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    return directory / "wsgiproof"


def told(processes: list[psutil.Process]) -> list[tuple[psutil.Process, str, str]]:
    """Each with its name and its command line; what ends meanwhile is left out."""
    found = []
    for one in processes:
        try:
            found.append((one, one.name(), " ".join(one.cmdline())))
        except psutil.Error:
            continue
    return found


def below(command: Command) -> list[psutil.Process]:
    try:
        return psutil.Process(command.process.pid).children(recursive=True)
    except psutil.Error:
        return []


def guards(command: Command) -> list[psutil.Process]:
    return [one for one, _, words in told(below(command)) if "guard/__main__.py" in words]


def guard_of_apache(command: Command) -> psutil.Process:
    return next(
        one
        for one, _, words in told(below(command))
        if "guard/__main__.py" in words and "-DNO_DETACH" in words
    )


def workers(command: Command) -> list[psutil.Process]:
    return [
        one for one, _, words in told(below(command)) if "wsgiproof.run.executors.workers" in words
    ]


def forked(one: psutil.Process) -> bool:
    """Whether it is a copy of its parent."""
    parent = one.parent()
    return parent is not None and parent.cmdline() == one.cmdline()


def await_servers(command: Command, number: int) -> None:
    limit = time.monotonic() + 240
    while sum(name in APACHE for _, name, _ in told(below(command))) < number:
        assert time.monotonic() < limit, command.text
        assert command.process.poll() is None
        time.sleep(0.05)


def test_a_run_that_is_killed_with_its_guards_is_cleared_by_the_next(
    open_tmp: Path, runs: Path
) -> None:
    with started(open_tmp, *LONG) as run:
        await_servers(run, 2)
        victims = [run.process.pid, *(guard.pid for guard in guards(run))]
        for pid in victims:
            os.kill(pid, signal.SIGSTOP)  # so that none sees the end of another
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        run.process.wait()
        assert list(runs.iterdir())
        assert list((open_tmp / "scratch").iterdir())
        again = [*RUN[:3], "doctor"]
        with started(open_tmp, command=again, keep=True) as following:
            following.finish()
        assert nobody_is_left(open_tmp), at_work(open_tmp)
        assert list((open_tmp / "scratch").iterdir()) == []
        assert list(runs.iterdir()) == []


def test_a_paused_worker_is_an_error_of_its_cell(open_tmp: Path) -> None:
    with started(open_tmp, *TWO, "--jobs", "2", "--fail-fast") as run:
        await_servers(run, 4)
        for worker in workers(run):
            worker.suspend()
        assert run.finish() == 3
        assert run.text.count("was paused (SIGSTOP)") >= 2
        assert run.nothing_left(), run.left_behind()
    assert list((open_tmp / "scratch").iterdir()) == []


def test_ctrl_c_does_not_wait_for_a_paused_worker(open_tmp: Path) -> None:
    with started(open_tmp, *TWO, "--jobs", "2") as run:
        await_servers(run, 4)
        for one in [workers(run)[0], guards(run)[0]]:
            one.suspend()
        run.interrupt()
        run.interrupt()
        assert run.finish() == 130
        assert "Traceback" not in run.text
        assert run.text.count("interrupted; everything") == 1
        assert run.nothing_left(), run.left_behind()
    assert list((open_tmp / "scratch").iterdir()) == []


def test_ctrl_c_while_workers_start(open_tmp: Path) -> None:
    with started(open_tmp, *TWO, "--jobs", "2") as run:
        limit = time.monotonic() + 120
        while not workers(run):
            assert time.monotonic() < limit
        for _ in range(5):
            run.interrupt()
            time.sleep(0.05)
        assert run.finish() == 130
        assert "Traceback" not in run.text
        assert run.nothing_left(), run.left_behind()
    assert list((open_tmp / "scratch").iterdir()) == []


def test_a_paused_guard_is_an_error_and_blames_nobody(open_tmp: Path) -> None:
    with started(open_tmp, *LONG[:-1], "300") as run:
        run.wait_for("parallel")  # by then it has seen who answers
        guard_of_apache(run).suspend()
        assert run.finish() == 3
        assert "its guard has been paused (SIGSTOP)" in run.text
        assert run.nothing_left(), run.left_behind()


def test_no_descendant_of_a_run_has_a_token_of_ours(
    open_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_JOB_TOKEN", TOKEN)
    names: set[str] = set()
    with started(open_tmp, *TWO[:-1], "60", "--phases", "none", "--jobs", "2") as run:
        while run.process.poll() is None:
            for one, name, words in told(below(run)):
                try:
                    # What has not called exec yet has the environment and command of its parent. It
                    # may do so at any moment, so this is looked at first.
                    copy = forked(one)
                    seen = TOKEN in one.environ().values()
                    assert not seen or " ".join(one.cmdline()) != words or copy, words
                except psutil.Error:
                    continue
                names.add(name)
        run.finish()
    assert names & set(APACHE)
    assert any("python" in name for name in names)
