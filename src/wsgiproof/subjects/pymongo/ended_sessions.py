"""Which logical sessions clients have ended, from the log of a mongod.

``endSessions`` only marks a session. mongod counts it until the next refresh of its session cache,
which comes every five minutes. The command that refreshes at once exists only in a server with test
commands, which let every local user change the server's behavior. So a mongod of wsgiproof logs
each ``endSessions``, and sessions that it names are not counted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

LOG_ENDED_SESSIONS: dict[str, Any] = {
    "profile": 0,  # log it, but do not write it to a collection
    "filter": {"command.endSessions": {"$exists": True}},
}
"""The command on the database ``admin`` that makes a mongod log them (MongoDB 4.4.2 and newer).
A mongod forgets it when it ends."""
LOG_SIZE = 1024
"""Kilobytes of a log line that mongod must not cut off: a client ends up to 10,000 sessions at a
time, and each takes 60 bytes."""

_MARK = b'"endSessions":['


class EndedSessions:
    """Follows the log of one mongod."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._offset = 0
        self._ids: set[UUID] = set()

    def read(self) -> frozenset[UUID]:
        """Return the ids of all sessions that clients have ended. Raises OSError."""
        with self._log.open("rb") as log:
            log.seek(self._offset)
            new = log.read()
        complete = new[: new.rfind(b"\n") + 1]
        self._offset += len(complete)
        for line in complete.splitlines():
            if _MARK in line:
                self._ids.update(_ended_in(line))
        return frozenset(self._ids)


class _Uuid(msgspec.Struct):
    value: UUID = msgspec.field(name="$uuid")


class _Session(msgspec.Struct):
    id: _Uuid


class _Command(msgspec.Struct):
    sessions: list[_Session] = msgspec.field(name="endSessions")


class _Attributes(msgspec.Struct):
    command: _Command


class _Line(msgspec.Struct):
    attr: _Attributes


_read_line = msgspec.json.Decoder(_Line).decode


def _ended_in(line: bytes) -> list[UUID]:
    """Return the sessions that the command in a log line ends; none if it is another line."""
    try:
        logged = _read_line(line)
    except msgspec.MsgspecError:
        return []
    return [session.id.value for session in logged.attr.command.sessions]
