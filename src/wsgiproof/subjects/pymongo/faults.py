"""Faults that are injected into wsgiproof's own deployment, and a watch on who is primary.

Nothing here can reach a deployment that existed before: it has no members that wsgiproof started.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import bson
from pymongo.errors import OperationFailure, PyMongoError

from wsgiproof.errors import ServiceFailed
from wsgiproof.subjects.backend import Fault
from wsgiproof.subjects.pymongo.mongod import Member

_CATCH_UP = 10
"""Seconds that another member may take to catch up, so that it can become primary."""
_STEP_DOWN = 15
"""Seconds for which a primary that has stepped down may not be elected again."""
_DOWN = 2.0
"""Seconds until a killed primary is started again: the others have elected one by then."""
_LOOK_EVERY = 0.02
_REPLY_TIMEOUT = 0.25
"""Seconds that a member may take to reply whether it is primary."""
_OP_MSG = 2013


def faults(members: Sequence[Member], seconds: float) -> tuple[Fault, ...]:
    """Return the faults for the members of a deployment; lasting ones last ``seconds``."""
    if not members:
        return ()
    gone = "mongod gone" if len(members) == 1 else "all members gone"
    lasting = _killed(f"{gone} for {seconds:g} s", lambda: members, seconds)
    if len(members) == 1:
        return (_killed("mongod killed and restarted", lambda: members, 0.0), lasting)
    return (
        _paused(f"secondary paused for {seconds:g} s", members, seconds),
        _stepped_down(members),
        _killed("primary killed and restarted", lambda: [primary(members)], _DOWN),
        lasting,
    )


def _stepped_down(members: Sequence[Member]) -> Fault:
    def begin() -> None:
        error = _command(
            primary(members), replSetStepDown=_STEP_DOWN, secondaryCatchUpPeriodSecs=_CATCH_UP
        )
        if error:
            raise ServiceFailed(f"the primary does not step down: {error}")

    return Fault(name="primary steps down", begin=begin, seconds=0.0, end=lambda: None)


def make_primary(member: Member) -> None:
    """Have a member stand for election until it wins. Raises :class:`ServiceFailed` if it does not,
    for example because it has not caught up with the others."""
    limit = time.monotonic() + _CATCH_UP
    with _HelloConnection(member) as connection:
        while not connection.is_primary():
            error = _command(member, replSetStepUp=1)
            if error and time.monotonic() > limit:
                raise ServiceFailed(f"a member does not become primary: {error}")
            time.sleep(_LOOK_EVERY)


def _command(member: Member, **command: int) -> str:
    """Run a command on a member, and return its error; empty if it succeeded."""
    with member.client() as client:
        try:
            client.admin.command(command)
        except OperationFailure as error:
            return str((error.details or {}).get("errmsg", error.code))
        except PyMongoError as error:
            return str(error)
    return ""


def _killed(name: str, choose: Callable[[], Sequence[Member]], seconds: float) -> Fault:
    victims: list[Member] = []

    def begin() -> None:
        victims[:] = choose()
        for member in victims:
            member.kill()

    def end() -> None:
        with ThreadPoolExecutor(len(victims)) as pool:
            for started in [pool.submit(member.start_again) for member in victims]:
                started.result()

    return Fault(name=name, begin=begin, seconds=seconds, end=end)


def _paused(name: str, members: Sequence[Member], seconds: float) -> Fault:
    victims: list[Member] = []

    def begin() -> None:
        current = primary(members)
        victims[:] = [next(member for member in members if member is not current)]
        victims[0].pause()

    return Fault(
        name=name,
        begin=begin,
        seconds=seconds,
        end=lambda: victims[0].resume(),
        takes_primary=False,
    )


def primary(members: Sequence[Member]) -> Member:
    """Return the member that takes writes. Raises :class:`ServiceFailed` if there is none."""
    for member in members:
        with _HelloConnection(member) as connection:
            if connection.is_primary():
                return member
    raise ServiceFailed("the deployment has no primary to inject a fault into")


class PrimaryWatch:
    """Watches from a thread whether there is a primary.

    It asks each member over a socket and not through a driver, which would first have to detect
    that a connection is dead. So the time of an election is known to about 20 ms.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._connections = [_HelloConnection(member) for member in members]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="primary-watch", daemon=True)
        self.lost: float | None = None
        """When there was no primary for the first time, in CLOCK_MONOTONIC seconds."""
        self.since: float | None = None
        """Since when there is a primary again; None while there is none, or if it was never
        lost."""
        self._has_primary = True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()
        for connection in self._connections:
            connection.close()

    def _run(self) -> None:
        while not self._end.wait(_LOOK_EVERY):
            has_primary = any(connection.is_primary() for connection in self._connections)
            if has_primary == self._has_primary:
                continue
            now = time.monotonic()
            self.since = now if has_primary else None
            if self.lost is None:
                self.lost = now
            self._has_primary = has_primary


class _HelloConnection:
    """A connection to one member, over which it is asked whether it is primary."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def is_primary(self) -> bool:
        """Whether the member replies in time that it is primary."""
        if self._member.paused:
            return False
        try:
            return bool(self._hello().get("isWritablePrimary"))
        except (OSError, bson.errors.BSONError):
            self.close()
            return False

    def close(self) -> None:
        """Close the connection; the next ``hello`` opens another."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
            self._socket = None

    def _hello(self) -> dict[str, Any]:
        """Send ``hello`` as an OP_MSG of one section (MongoDB's wire protocol), and return the
        reply."""
        if self._socket is None:
            self._socket = self._member.connect(_REPLY_TIMEOUT)
        body = struct.pack("<Ib", 0, 0) + bson.encode({"hello": 1, "$db": "admin"})
        self._socket.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, _OP_MSG) + body)
        (length,) = struct.unpack("<i", self._receive(4))
        reply: dict[str, Any] = bson.decode(self._receive(length - 4)[12 + 5 :])
        return reply

    def _receive(self, size: int) -> bytes:
        assert self._socket is not None
        received = b""
        while len(received) < size:
            more = self._socket.recv(size - len(received))
            if not more:
                raise ConnectionResetError("the member closed the connection")
            received += more
        return received
