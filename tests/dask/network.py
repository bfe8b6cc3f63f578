"""Hosts for a cluster on one machine: network namespaces with own addresses, caches and temporary
directories. The scheduler and the client are outside of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

PORT = 18786
OURS = ("guard.py", "wsgiproof.run.executors.host", "apache2", "httpd", "wsgi:")
"""What a cell starts, by a part of its command line."""


def ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    return done.stdout


class Host:
    """A namespace with a link to the outside, in which a worker of Dask runs."""

    def __init__(self, number: int, directory: Path) -> None:
        self.namespace = f"wp-{os.getpid()}-{number}"
        self.link = f"wp{os.getpid() % 100_000}-{number}"
        self.outside, self.inside = f"10.213.{number}.1", f"10.213.{number}.2"
        self.cache = directory / f"cache{number}"
        self.tmp = directory / f"tmp{number}"
        self.tmp.mkdir(mode=0o711, exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None

    def open(self, stack: ExitStack) -> None:
        ip("netns", "add", self.namespace)
        stack.callback(ip, "netns", "del", self.namespace)
        ip("link", "add", self.link, "type", "veth", "peer", "eth0", "netns", self.namespace)
        ip("addr", "add", f"{self.outside}/24", "dev", self.link)
        ip("link", "set", self.link, "up")
        for words in (
            ("addr", "add", f"{self.inside}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
        ):
            ip("-n", self.namespace, *words)
        stack.callback(self.close)
        self.start()

    def start(self) -> None:
        """Start a worker of Dask, with a nanny that replaces it."""
        command = [
            *("ip", "netns", "exec", self.namespace, sys.executable, "-m"),
            *("distributed.cli.dask_worker", f"tcp://{self.outside}:{PORT}", "--nthreads", "1"),
            *("--no-dashboard", "--host", self.inside, "--local-directory", str(self.tmp)),
        ]
        env = {**os.environ, "WSGIPROOF_CACHE": str(self.cache), "TMPDIR": str(self.tmp)}
        with (self.tmp / "dask.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=env, stdout=log, stderr=log, start_new_session=True
            )

    def close(self) -> None:
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.process is not None:
            self.process.wait()

    def cut(self) -> None:
        ip("link", "set", self.link, "down")

    def mend(self) -> None:
        ip("link", "set", self.link, "up")

    def pids(self) -> list[int]:
        return [int(pid) for pid in ip("netns", "pids", self.namespace).split()]

    def of_cells(self) -> list[str]:
        """The command lines of the processes that belong to cells."""
        return [words for _, words in self._told() if any(one in words for one in OURS)]

    def worker(self) -> int:
        """The pid of the worker, which the nanny has started."""
        found = [pid for pid, words in self._told() if "multiprocessing.spawn" in words]
        return found[0]

    def _told(self) -> list[tuple[int, str]]:
        told = []
        for pid in self.pids():
            try:
                told.append((pid, " ".join(psutil.Process(pid).cmdline())))
            except psutil.Error:
                continue
        return told


@contextmanager
def scheduler(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A scheduler of Dask that listens on every address."""
    command = [
        *(sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "0.0.0.0"),
        *("--port", str(PORT), "--no-dashboard"),
    ]
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(condition: object, seconds: float, what: str) -> float:
    """Wait until a function returns something true; return how long that took."""
    assert callable(condition)
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, what
        time.sleep(0.2)
    return time.monotonic() - started
