"""Harm that is done to a deployment of our own, and who is primary meanwhile.

Nothing here can reach a deployment that was there: it has no members that we started.
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
import msgspec
from pymongo.errors import OperationFailure, PyMongoError

from wsgiproof.cell import Topology
from wsgiproof.errors import ServiceFailed
from wsgiproof.services.deployment import Deployment
from wsgiproof.services.mongod import Member
from wsgiproof.services.ports import LOOPBACK

_CATCH_UP = 10
"""Seconds that another member may take to be in step, so that it can be primary."""
_STEP_DOWN = 15
"""Seconds for which a primary that has stepped down may not be elected again."""
_DEAD = 2.0
"""Seconds until a primary that was killed is started again: others have elected one by then."""
_LOOK_EVERY = 0.02
_ANSWER = 0.25
"""Seconds that a member may take to tell whether it is primary."""
_OP_MSG = 2013


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One way to do harm, and how it is undone. Either may raise :class:`ServiceFailed`."""

    name: str
    begin: Callable[[], None]
    seconds: float
    """How long the harm lasts."""
    end: Callable[[], None]
    takes_primary: bool = True
    """Whether there is no primary for a moment, be it too short to be seen."""


def faults(deployment: Deployment, seconds: float) -> tuple[Fault, ...]:
    """All that fit the deployment; what lasts lasts so many ``seconds``. None if it isn't ours."""
    members = deployment.members
    if not members:
        return ()
    gone = "mongod gone" if len(members) == 1 else "all members gone"
    lasting = _killed(f"{gone} for {seconds:g} s", lambda: members, seconds)
    if deployment.topology is Topology.STANDALONE:
        return (_killed("mongod killed and restarted", lambda: members, 0.0), lasting)
    return (
        _paused(f"secondary paused for {seconds:g} s", members, seconds),
        _stepped_down(members),
        _killed("primary killed and restarted", lambda: [primary(members)], _DEAD),
        lasting,
    )


def _stepped_down(members: Sequence[Member]) -> Fault:
    def begin() -> None:
        answer = _command(
            primary(members), replSetStepDown=_STEP_DOWN, secondaryCatchUpPeriodSecs=_CATCH_UP
        )
        if answer:
            raise ServiceFailed(f"the primary does not step down: {answer}")

    return Fault(name="primary steps down", begin=begin, seconds=0.0, end=lambda: None)


def make_primary(member: Member) -> None:
    """Have a member stand for election until it wins. Raises :class:`ServiceFailed` if it never
    does, as one that is not in step with the others."""
    limit = time.monotonic() + _CATCH_UP
    with _Asked(member) as asked:
        while not asked.is_primary():
            answer = _command(member, replSetStepUp=1)
            if answer and time.monotonic() > limit:
                raise ServiceFailed(f"a member does not become primary: {answer}")
            time.sleep(_LOOK_EVERY)


def _command(member: Member, **command: int) -> str:
    """What a member says against a command; empty if it was carried out."""
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
        one = primary(members)
        victims[:] = [next(member for member in members if member is not one)]
        victims[0].pause()

    return Fault(
        name=name,
        begin=begin,
        seconds=seconds,
        end=lambda: victims[0].resume(),
        takes_primary=False,
    )


def primary(members: Sequence[Member]) -> Member:
    """The member that takes writes. Raises :class:`ServiceFailed` if there is none."""
    for member in members:
        with _Asked(member) as asked:
            if asked.is_primary():
                return member
    raise ServiceFailed("the deployment has no primary that harm could be done to")


class PrimaryWatch:
    """Looks all the time, from a thread of its own, whether there is a primary.

    It asks each member over a connection of its own, and no driver: one would have to find out
    itself first that a connection is dead. So the time of an election is known to some 20 ms.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._asked = [_Asked(member) for member in members]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="primary-watch", daemon=True)
        self.lost: float | None = None
        """When there was none for the first time."""
        self.since: float | None = None
        """Since when there is one, after it was lost; None while there is none, or always was."""
        self.there = True

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
        for asked in self._asked:
            asked.close()

    def _run(self) -> None:
        while not self._end.wait(_LOOK_EVERY):
            there = any(asked.is_primary() for asked in self._asked)
            if there == self.there:
                continue
            now = time.monotonic()
            self.since = now if there else None
            if self.lost is None:
                self.lost = now
            self.there = there


class _Asked:
    """One member, and a connection to it on which it is asked whether it is primary."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def is_primary(self) -> bool:
        """Whether it says so, and does so in time."""
        if self._member.paused:
            return False
        try:
            return bool(self._hello().get("isWritablePrimary"))
        except (OSError, bson.errors.BSONError):
            self.close()
            return False

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
            self._socket = None

    def _hello(self) -> dict[str, Any]:
        """An OP_MSG of one section, and the reply to it (MongoDB's wire protocol)."""
        if self._socket is None:
            self._socket = socket.create_connection((LOOPBACK, self._member.port), _ANSWER)
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
