"""Sessions that clients have ended, as a mongod logs them."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from wsgiproof.subjects.pymongo.ended_sessions import EndedSessions


def line(*ids: UUID) -> str:
    """What mongod 6.0 logs of the command, without what is not read."""
    command = {"endSessions": [{"id": {"$uuid": str(one)}} for one in ids], "$db": "admin"}
    attributes = {"type": "command", "ns": "admin.$cmd", "appName": "app", "command": command}
    logged = {"s": "I", "c": "COMMAND", "id": 51803, "msg": "Slow query", "attr": attributes}
    return json.dumps(logged, separators=(",", ":")) + "\n"


def test_each_command_is_read_once_and_its_sessions_stay(tmp_path: Path) -> None:
    log = tmp_path / "mongod.log"
    one, two, three = uuid4(), uuid4(), uuid4()
    log.write_text('{"msg":"Waiting for connections"}\n' + line(one, two))
    followed = EndedSessions(log)
    assert followed.read() == {one, two}
    with log.open("a") as file:
        file.write(line(three))
    assert followed.read() == {one, two, three}


def test_a_line_that_is_not_complete_is_read_when_it_is(tmp_path: Path) -> None:
    log = tmp_path / "mongod.log"
    one = uuid4()
    text = line(one)
    log.write_text(text[:150])
    followed = EndedSessions(log)
    assert followed.read() == set()
    with log.open("a") as file:
        file.write(text[150:])
    assert followed.read() == {one}


@pytest.mark.parametrize(
    "text",
    [
        '{"attr":{"command":{"find":"c","filter":{"text":"\\"endSessions\\":["}}}}',
        '{"attr":{"command":{"find":"c","filter":{"endSessions":["x"]}}}}',
        '{"attr":{"command":{"endSessions":[{"id":{"$uuid":"no id"}}]}}}',
        '{"attr":{"command":{"endSessions":[{"id":',
    ],
)
def test_other_lines_end_no_session(text: str, tmp_path: Path) -> None:
    log = tmp_path / "mongod.log"
    log.write_text(text + "\n")
    assert EndedSessions(log).read() == set()
