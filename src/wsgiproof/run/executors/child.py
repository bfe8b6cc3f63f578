"""A process of wsgiproof that another one starts, watches, talks to and ends.

It dies with its parent (prctl(2), ``PR_SET_PDEATHSIG``), and its guards then end what it has
started.

:mod:`multiprocessing` is not used: it starts another process that unblocks SIGINT, and passes on
the whole environment.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from wsgiproof.errors import CannotRun
from wsgiproof.process.environ import COMPILE, DOWNLOAD, WORKER, child_environment
from wsgiproof.process.guard.kernel import PR_SET_PDEATHSIG, prctl
from wsgiproof.process.guard.proc import read_stat
from wsgiproof.process.leftovers import become_reaper
from wsgiproof.process.signals import install_handlers
from wsgiproof.process.spawn import spawn

_PAUSE_LIMIT = 2.0
"""Seconds that a child may be paused; after that, its measurements are worthless."""
_HEARTBEAT_EVERY = 5.0
"""Seconds between two heartbeats of a child."""
_HEARTBEAT_LIMIT = 120.0
"""Seconds without a heartbeat after which a child is killed: no machine is that slow."""
_SEND_TIMEOUT = 30.0
"""Seconds for a child to receive a message. A child waits for its parent without limit, since that
may be paused; if the parent dies, so does the child."""
_HEADER = struct.Struct("=Q")

_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); " \
    "from {module} import {function}; {function}(*map(int, sys.argv[2:]))"  # fmt: skip
"""The code of a child's interpreter: use the parent's path, and receive messages over a
descriptor."""


class Child:
    """The parent's side of a child."""

    def __init__(self) -> None:
        self._socket, self._other_socket = socket.socketpair()
        self._channel = Channel(self._socket, _SEND_TIMEOUT)
        self._process: Any = None
        self._received_at = time.monotonic()
        self._paused_since: float | None = None

    @property
    def descriptor(self) -> int:
        """A descriptor that is readable when the child has sent something, or has ended."""
        return self._socket.fileno()

    @property
    def returncode(self) -> int | None:
        """The exit code of the child, once it has ended and was waited for."""
        code: int | None = self._process.returncode
        return code

    def start(self, function: Callable[[int, int], None], inherited: Sequence[int] = ()) -> None:
        """Start the child, which calls ``function`` with the descriptor of its side and the pid of
        its parent. Raises :class:`CannotRun` if it can't be started."""
        code = _START.format(module=function.__module__, function=function.__name__)
        # Blocked in the child until it has its handlers.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = spawn(
                [
                    *(sys.executable, "-I", "-X", f"utf8={sys.flags.utf8_mode}", "-c", code),
                    *(json.dumps(sys.path), str(self._other_socket.fileno()), str(os.getpid())),
                ],
                env=child_environment(DOWNLOAD, COMPILE, WORKER),
                pass_fds=[self._other_socket.fileno(), *inherited],
            )
        except OSError as error:
            raise CannotRun(f"cannot start a worker: {error.strerror}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self._other_socket.close()

    def send(self, message: object) -> None:
        """Send a message. If the child has died, :meth:`receive` will notice that."""
        self._received_at = time.monotonic()
        with suppress(OSError):
            self._channel.send(message)

    def receive(self) -> list[Any]:
        """Return the messages that have arrived, maybe none. Raises EOFError or OSError if the
        child has ended."""
        messages = self._channel.receive()
        if messages:
            self._received_at = time.monotonic()
        return messages

    def why_lost(self) -> str:
        """Return why the worker has to be killed; empty if it is still working."""
        now = time.monotonic()
        stat = read_stat(self._process.pid)
        if stat is None or stat.state != "T":
            self._paused_since = None
        elif self._paused_since is None:
            self._paused_since = now
        elif now - self._paused_since > _PAUSE_LIMIT:
            return "was paused (SIGSTOP), which falsifies its measurements, and has been killed"
        if now - self._received_at > _HEARTBEAT_LIMIT:
            return f"sent no heartbeat for {_HEARTBEAT_LIMIT:.0f} s, and has been killed"
        return ""

    def interrupt(self) -> None:
        """Have the child stop its servers and end; a paused one can't, and is killed."""
        if self._process is None or self._process.poll() is not None:
            return
        stat = read_stat(self._process.pid)
        self._process.send_signal(
            signal.SIGKILL if stat is not None and stat.state == "T" else signal.SIGINT
        )

    def disconnect(self) -> None:
        """Close the connection, which ends a child without a job."""
        self._socket.close()
        self._other_socket.close()

    def wait(self, until: float) -> bool:
        """Wait until the child has ended; return False at ``until``, a time of time.monotonic(),
        or if it is paused."""
        while self._process is not None and self._process.poll() is None:
            stat = read_stat(self._process.pid)
            if time.monotonic() > until or (stat is not None and stat.state == "T"):
                return False
            time.sleep(0.01)
        return True

    def kill(self) -> None:
        """End the child at once. Its guards, which become children of this process, end its
        servers."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Channel:
    """Messages over a socket: pickled values, each after its length."""

    def __init__(self, end: socket.socket, seconds: float | None) -> None:
        self._end = end
        self._end.settimeout(seconds)
        self._received = bytearray()
        self._sending = threading.Lock()

    def send(self, message: object) -> None:
        """Send a message. Raises OSError if the other side has ended, or does not read."""
        content = pickle.dumps(message)
        with self._sending:
            self._end.sendall(_HEADER.pack(len(content)) + content)

    def receive(self) -> list[Any]:
        """Return all complete messages that have arrived, maybe none. Raises EOFError at the end.

        It never waits for the rest of a message, since the other side may be paused in the middle
        of one. Only for a socket with a timeout.
        """
        try:
            # Not recv(), which waits until the timeout.
            part = os.read(self._end.fileno(), 1 << 20)
        except BlockingIOError:
            return []
        if not part:
            raise EOFError
        self._received += part
        return list(self._complete())

    def wait(self) -> Any:
        """Wait for the next message, without a limit. Raises EOFError at the end."""
        while True:
            message = next(self._complete(), None)
            if message is not None:
                return message
            select.select([self._end], [], [])
            part = self._end.recv(1 << 20)
            if not part:
                raise EOFError
            self._received += part

    def _complete(self) -> Iterator[Any]:
        while len(self._received) >= _HEADER.size:
            (size,) = _HEADER.unpack_from(self._received)
            end = _HEADER.size + size
            if len(self._received) < end:
                return
            message = pickle.loads(self._received[_HEADER.size : end])
            del self._received[:end]
            yield message


def take_over(descriptor: int, parent: int, *, reaper: bool = True) -> Channel | None:
    """Make this process a child that ends with its parent; return the channel to that, or None if
    it has ended already. SIGINT is still blocked then. ``reaper`` is whether all processes below it
    are started by :mod:`wsgiproof.process.spawn`."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return None
    os.setsid()  # the terminal sends Ctrl-C only to the parent, which passes it on once
    # A shell starts background commands with SIGINT ignored, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    install_handlers()
    if reaper:
        become_reaper()
    return Channel(socket.socket(fileno=descriptor), None)


def begin_heartbeats(channel: Channel) -> None:
    """Send a heartbeat at regular intervals from now on."""
    threading.Thread(target=_send_heartbeats, args=(channel,), daemon=True).start()


def _send_heartbeats(channel: Channel) -> None:
    with suppress(OSError):
        while True:
            channel.send(("alive", ()))
            time.sleep(_HEARTBEAT_EVERY)
