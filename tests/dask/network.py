"""Machines of a cluster on this one: network namespaces with addresses of their own.

The scheduler is in one, and each worker in another, with a link to that of the scheduler and with a
cache and a temporary directory of its own. The client is outside, with a link to the scheduler.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

_SCHEDULER = "10.213.0.2"
_PORT = 18786
ADDRESS = f"tcp://{_SCHEDULER}:{_PORT}"
"""Where the client and the workers reach the scheduler."""
_OF_DASK = ("distributed.cli.", "multiprocessing.")
"""Every process of Dask, by a part of its command line."""


_NAMED = (
    "import os, socket, sys; socket.sethostname(sys.argv[1]); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)
"""Python that gives its machine a name, and becomes a command of Python."""


def ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    return done.stdout


class Machine:
    """A network namespace, and the processes of Dask that are started in it."""

    def __init__(self, number: int, directory: Path) -> None:
        self.number = number
        self.namespace = f"wp-{os.getpid()}-{number}"
        self.log = directory / f"dask{number}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def open(self, stack: ExitStack) -> None:
        """Make the namespace; at the end, it is removed with everything that runs in it."""
        ip("netns", "add", self.namespace)
        stack.callback(ip, "netns", "del", self.namespace)
        stack.callback(self.kill)
        ip("-n", self.namespace, "link", "set", "lo", "up")

    def spawn(self, words: Sequence[str], env: Mapping[str, str]) -> None:
        """Start a command of Dask."""
        command = [
            *("ip", "netns", "exec", self.namespace, "unshare", "--uts"),
            *(sys.executable, "-c", _NAMED, f"machine{self.number}", "-m", *words),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **env}, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """Kill everything that runs here, which is what a loss of power does."""
        while pids := self.pids():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def runs(self) -> bool:
        """Whether the command that was started last is still there."""
        return self.process is not None and self.process.poll() is None

    def pids(self) -> list[int]:
        return [int(pid) for pid in ip("netns", "pids", self.namespace).split()]

    def commands(self) -> dict[int, str]:
        """The command line of each process."""
        told = {}
        for pid in self.pids():
            with suppress(psutil.Error):
                told[pid] = " ".join(psutil.Process(pid).cmdline())
        return told

    def of_cells(self) -> list[str]:
        """The command lines of all processes that are not Dask's own."""
        told = self.commands().values()
        return [words for words in told if words and not any(one in words for one in _OF_DASK)]


class Scheduler(Machine):
    """The machine of the scheduler, at which all links meet."""

    def open(self, stack: ExitStack) -> None:
        super().open(stack)
        outside = f"wp{os.getpid() % 100_000}"
        ip("link", "add", outside, "type", "veth", "peer", "outside", "netns", self.namespace)
        ip("addr", "add", "10.213.0.1/24", "dev", outside)
        ip("link", "set", outside, "up")
        ip("-n", self.namespace, "addr", "add", f"{_SCHEDULER}/24", "dev", "outside")
        ip("-n", self.namespace, "link", "set", "outside", "up")
        self.start()

    def start(self) -> None:
        """Start a scheduler. It listens on the address that it tells others to be its own."""
        words = ["distributed.cli.dask_scheduler", "--host", _SCHEDULER, "--port", str(_PORT)]
        self.spawn([*words, "--no-dashboard"], {})


class Host(Machine):
    """A machine with a worker of Dask."""

    def __init__(self, number: int, directory: Path, scheduler: Scheduler) -> None:
        super().__init__(number, directory)
        self.scheduler = scheduler
        self.cache = directory / f"cache{number}"
        self.tmp = directory / f"tmp{number}"
        self.tmp.mkdir(mode=0o711, exist_ok=True)

    def open(self, stack: ExitStack) -> None:
        super().open(stack)
        link, hub = f"worker{self.number}", self.scheduler.namespace
        ip("-n", hub, "link", "add", link, "type", "veth", "peer", "eth0", "netns", self.namespace)
        for namespace, device, last in ((hub, link, 1), (self.namespace, "eth0", 2)):
            address = f"10.213.{self.number}.{last}/24"
            ip("-n", namespace, "addr", "add", address, "dev", device)
            ip("-n", namespace, "link", "set", device, "up")
        self._route()
        self.start()

    def _route(self) -> None:
        """Have everything go through the link; a route goes with a link that is cut."""
        ip("-n", self.namespace, "route", "replace", "default", "via", f"10.213.{self.number}.1")

    def start(self) -> None:
        """Start a worker of Dask, with a nanny that replaces it."""
        words = [
            *("distributed.cli.dask_worker", ADDRESS, "--nthreads", "1", "--no-dashboard"),
            *("--host", f"10.213.{self.number}.2", "--local-directory", str(self.tmp)),
        ]
        self.spawn(words, {"WSGIPROOF_CACHE": str(self.cache), "TMPDIR": str(self.tmp)})

    def cut(self) -> None:
        """Cut the link to the scheduler."""
        ip("-n", self.namespace, "link", "set", "eth0", "down")

    def mend(self) -> None:
        """End a cut."""
        ip("-n", self.namespace, "link", "set", "eth0", "up")
        self._route()

    def worker(self) -> int:
        """The pid of the worker, which the nanny has started; 0 if there is none now."""
        told = self.commands().items()
        return next((pid for pid, words in told if "multiprocessing.spawn" in words), 0)


def until(condition: Callable[[], object], seconds: float, what: Callable[[], object]) -> float:
    """Wait until a function returns something true; return how long that took. Raises
    AssertionError with what the other one returns if it takes too long."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, what()
        time.sleep(0.2)
    return time.monotonic() - started
