"""The requests of a process that is gone: noted by the code that runs inside, read by the host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wsgiproof.observe.evidence import Evidence
from wsgiproof.observe.in_flight import read_unfinished

BEGIN = """
import os, sys
from wsgiproof.agent.commands import NONE, take
from wsgiproof.agent.in_flight import RequestSlots
running = RequestSlots(sys.argv[1], "token")
def begin(path, query="", commands=""):
    environ = {"SCRIPT_NAME": path, "PATH_INFO": "/x", "QUERY_STRING": query}
    environ["HTTP_X_WSGIPROOF"] = "secret " + commands
    return running.begin(environ, take(environ, "secret") if commands else NONE)
"""


def run(evidence: Path, code: str) -> int:
    """Run ``code`` in a process that ends without any more of its own."""
    end = "os.kill(os.getpid(), 9)"
    command = [sys.executable, "-c", f"{BEGIN}{code}\n{end}", str(evidence)]
    process = subprocess.Popen(command)
    process.wait()
    return process.pid


def test_a_request_that_was_running_is_known_when_the_process_is_not(tmp_path: Path) -> None:
    pid = run(tmp_path, "begin('/a', 'q=1'); running.end(begin('/b')); begin('/c')")
    assert [(one.pid, one.url) for one in read_unfinished(Evidence(tmp_path))] == [
        (pid, "/a/x?q=1"),
        (pid, "/c/x"),
    ]
    assert all(one.tid == pid and one.started > 0 for one in read_unfinished(Evidence(tmp_path)))


def test_requests_that_ended_leave_nothing(tmp_path: Path) -> None:
    run(tmp_path, "[running.end(begin('/%d' % number)) for number in range(1000)]")
    assert read_unfinished(Evidence(tmp_path)) == ()


@pytest.mark.parametrize("url", ["/" + 500 * "a", "/a\\nb", "/\\xe9"])
def test_any_url_fits_into_its_slot(tmp_path: Path, url: str) -> None:
    run(tmp_path, f"begin('{url}'); running.end(begin('/b')); begin('/c')")
    urls = [one.url for one in read_unfinished(Evidence(tmp_path))]
    assert len(urls) == 2
    assert urls[0].startswith(("/aaa", "/a b", "/\xe9"))
    assert urls[1] == "/c/x"


def test_more_requests_than_there_are_slots_are_no_error(tmp_path: Path) -> None:
    run(tmp_path, "slots = [begin('/a') for _ in range(300)]; [running.end(s) for s in slots]")
    assert read_unfinished(Evidence(tmp_path)) == ()


def test_what_the_probe_was_asked_for_is_known_without_the_secret(tmp_path: Path) -> None:
    run(tmp_path, "begin('/a', 'q=1', 'until=5 name=held3 occupy=0.1'); begin('/b')")
    assert [(one.name, one.url) for one in read_unfinished(Evidence(tmp_path))] == [
        ("held3", "/a/x?q=1 (name, occupy, until)"),
        ("", "/b/x"),
    ]
    (slots,) = tmp_path.iterdir()
    assert b"secret" not in slots.read_bytes()
