"""A host and an agent that do not speak the same protocol: a clear error, and not the subject's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import wsgiproof
from tests.real.command import RUN, started

PROBLEM = "the agent inside Apache does not keep to the protocol: "


@pytest.mark.parametrize(
    ("file", "right", "wrong", "named"),
    [
        pytest.param(
            "agent/identity.py", '"gil": _whose_gil()', '"lock": _whose_gil()',
            "Object contains unknown field `lock`", id="a field renamed on one side",
        ),
        pytest.param(
            "agent/middleware.py", '"problems": %s\' %', '"errors": %s\' %',
            "Object contains unknown field `errors`", id="an old agent",
        ),
        pytest.param(
            "subjects/pymongo/agent/workload.py", '"path": os', '"file": os',
            "Object contains unknown field `file` - at `$.subject`",
            id="a field of the subject renamed on one side",
        ),
        pytest.param(
            "agent/middleware.py", 'return text + "}"', "return text",
            "Input data was truncated", id="a garbled header",
        ),
        pytest.param(
            "agent/protocol.py", '"memory": _one_of("1", "2"),', '"memory": _one_of("1"),',
            "the agent refused a command: '2' is no value for the command memory",
            id="a command that it does not know",
        ),
        pytest.param(
            "agent/middleware.py", "**{name: measure(asked)}", "",
            "the report lacks the field `memory`, which was asked for", id="no measurement",
        ),
    ],
)  # fmt: skip
def test_a_mistake_in_the_protocol_is_an_error_that_names_it(
    open_tmp: Path, file: str, right: str, wrong: str, named: str
) -> None:
    copy = open_tmp / "copy"
    shutil.copytree(Path(wsgiproof.__file__).parent, copy / "wsgiproof")
    changed = copy / "wsgiproof" / file
    text = changed.read_text()
    assert text.count(right) == 1
    changed.write_text(text.replace(right, wrong))

    options = ["--no-config", "--topology", "none", "--mode", "daemon", "-n", "60"]
    with started(open_tmp, *options, command=["env", f"PYTHONPATH={copy}", *RUN]) as running:
        assert running.finish() == 3, running.text
        assert not running.left_behind()
    assert PROBLEM + named in " ".join(running.text.split()), running.text
    assert "Traceback" not in running.text
    assert "1 cell, 1 error" in running.text
