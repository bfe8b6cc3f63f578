"""Running the command itself as a process of its own, and finding what it has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

RUN = [sys.executable, "-m", "wsgiproof", "run", "--mod-wsgi", "5.0.2", "--pymongo", "4.20.0"]

CLEAN = "own-interpreters"
"""The negative control that only closes its client at the end, and waits for its threads. A
client that is left open is a crash at the stop now and then (docs/findings.md, 1)."""


class Command:
    """A running ``wsgiproof``; every file that its servers use lies below ``tmp``."""

    def __init__(self, process: subprocess.Popen[str], tmp: Path) -> None:
        self.process = process
        self.output = tmp / "out"
        self._tmp = tmp
        self.text = ""

    def wait_for(self, words: str, deadline: float = 900.0) -> None:
        """Read its output until a line holds ``words``."""
        assert self.process.stdout is not None
        limit = time.monotonic() + deadline
        for line in self.process.stdout:
            self.text += line
            if words in line:
                return
            assert time.monotonic() < limit, self.text
        raise AssertionError(f"it ended without saying {words!r}:\n{self.text}")

    def finish(self, deadline: float = 900.0) -> int:
        """Wait for its end and return the exit code; ``text`` is all of its output then."""
        rest, _ = self.process.communicate(timeout=deadline)
        self.text += rest
        return self.process.returncode

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def left_behind(self) -> list[str]:
        """The servers and guards that it has started and that are alive."""
        return at_work(self._tmp, besides=self.process.pid)

    def nothing_left(self) -> bool:
        """Whether all of them end soon: of a killed run they are ended by their guards."""
        return nobody_is_left(self._tmp, besides=self.process.pid)


def at_work(directory: Path, besides: int = 0) -> list[str]:
    """The processes that have to do with what is below ``directory``."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd", "name"]):
        told = " ".join(process.info["cmdline"] or []) + f" {process.info['cwd']}"
        if str(directory) in told and process.pid != besides:
            found.append(f"{process.pid} {process.info['name']}: {told}")
    return found


def soon(true: Callable[[], bool], deadline: float = 240.0) -> bool:
    """Whether this becomes true; a busy machine may take its time."""
    limit = time.monotonic() + deadline
    while not true() and time.monotonic() < limit:
        time.sleep(0.1)
    return true()


def nobody_is_left(directory: Path, besides: int = 0) -> bool:
    """Whether all of those end soon."""
    return soon(lambda: not at_work(directory, besides))


def is_emptied(directory: Path) -> bool:
    """Whether nothing is left in it soon: it goes after the last of the processes."""
    return soon(lambda: not list(directory.iterdir()))


@contextmanager
def started(
    tmp: Path, *options: str, command: list[str] | None = None, keep: bool = False
) -> Iterator[Command]:
    """Start ``wsgiproof run`` with its scratch space and results below ``tmp``.

    With ``keep`` the results go where ``options`` say.
    """
    scratch = tmp / "scratch"
    scratch.mkdir(mode=0o711, exist_ok=keep)
    where = [] if keep else ["--output", str(tmp / "out")]
    process = subprocess.Popen(
        [*(command or RUN), *where, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield Command(process, tmp)
    finally:
        process.kill()
        process.communicate()
