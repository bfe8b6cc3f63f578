"""A crash that is known, in real Apache: mod_wsgi 6.1.1 with PyMongo's threads (finding 1)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.real.command import started
from tests.real.conftest import CRASHING, PYMONGO
from wsgiproof.judge.process_ends import process_ends
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.known import KnownState
from wsgiproof.records.reading import load_run

MATRIX = f"""
mod_wsgi = "{CRASHING}"
pymongo = "{PYMONGO}"
topology = "standalone"
mode = "daemon"
requests = 300
"""
TABLE = """
[[known]]
check = "crash"
entry = "thread-outlives-interpreter"
reason = "mod_wsgi deletes the states of threads that still run"
link = "https://example.org/finding-1"
"""


@pytest.mark.parametrize(
    ("tables", "options", "why"),
    [
        (TABLE, [], "mod_wsgi deletes the states of threads that still run"),
        ("", ["--accept-known-upstream"], "a bug of mod_wsgi"),
    ],
    ids=["table", "upstream"],
)
def test_a_known_crash_is_shown_and_fails_nothing(
    open_tmp: Path, tables: str, options: list[str], why: str
) -> None:
    file = open_tmp / "wsgiproof.toml"
    file.write_text(MATRIX + tables)
    run = [sys.executable, "-m", "wsgiproof", "run", "--config", str(file)]
    with started(open_tmp, *options, command=run) as command:
        code = command.finish()
    assert code == 0, command.text
    (cell,) = load_run(command.output).cells
    assert cell.verdict is Verdict.KNOWN
    assert cell.observed is not None
    assert process_ends(cell.observed).crashed
    assert f"Known: crash, thread-outlives-interpreter, in 1 cell: {why}" in command.text
    assert "whose bug: mod_wsgi" in command.text
    assert [one.state for one in cell.known] == ([KnownState.SEEN] if tables else [])
