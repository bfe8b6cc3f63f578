"""One cell to look at: a server that stays up, and a configuration that can be started by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from tests.real.command import Command, started
from tests.real.test_wrong_input import one_line, outcome
from wsgiproof.provision.httpd import find_httpd

MODULE = [sys.executable, "-m", "wsgiproof"]
CELL = ["--no-config", "--mod-wsgi", "5.0.2", "--pymongo", "4.20.0", "--mode", "daemon"]
SERVE = [*MODULE, "serve", *CELL, "--json", "--topology", "standalone"]
ALONE = [*SERVE[:-1], "none"]
HARD = 'a "b\\c $d #e [f]*'
"""Each of these means more than itself to Apache; mod_wsgi reads its paths by itself."""


def told(command: Command) -> dict[str, Any]:
    """What it says once it is up."""
    command.wait_for('{"cell"')
    served: dict[str, Any] = json.loads(command.text.splitlines()[-1])
    return served


def alive(served: dict[str, Any]) -> dict[str, int]:
    """How many of its processes are there, by role."""
    return {role: sum(map(psutil.pid_exists, pids)) for role, pids in served["pids"].items()}


def test_a_served_cell_answers_at_each_url_until_ctrl_c(open_tmp: Path) -> None:
    tmp = open_tmp / HARD
    tmp.mkdir(mode=0o711)
    with started(tmp, command=SERVE, keep=True) as command:
        served = told(command)
        assert alive(served) == {"parent": 1, "worker": 1, "frontend": 24}
        answers = {}
        for url, group in served["urls"].items():
            with urllib.request.urlopen(url, timeout=300) as response:
                answers[group] = json.load(response)
        assert {group: one["application_group"] for group, one in answers.items()} == {
            "interpreter1": "interpreter1",
            "interpreter2": "interpreter2",
        }
        assert len({one["token"] for one in answers.values()}) == 2
        assert [one["pid"] for one in answers.values()] == served["pids"]["worker"] * 2
        assert f"appName={served['backend']['database']}" in served["backend"]["mongodb"]
        command.interrupt()
        assert command.finish() == 0, command.text
        assert not command.left_behind()
        assert sum(alive(served).values()) == 0
    assert "Create interpreter 'interpreter2'" in command.text, "the error log was not shown"
    assert "everything that was started has been stopped" in command.text
    assert "Traceback" not in command.text
    assert not list((tmp / "scratch").iterdir())


def test_what_a_script_has_started_in_the_background_ends_by_sigterm(open_tmp: Path) -> None:
    background = ["bash", "-c", "trap '' INT && exec \"$@\"", "bash"]
    with started(open_tmp, command=[*background, *ALONE], keep=True) as serve:
        served = told(serve)
        serve.process.send_signal(signal.SIGTERM)
        assert serve.finish() == 0, serve.text
        assert not serve.left_behind()
    assert sum(alive(served).values()) == 0


def test_an_apache_that_dies_is_told_and_its_log_is_kept_where_that_was_asked_for(
    open_tmp: Path,
) -> None:
    with started(open_tmp, command=ALONE) as command:
        served = told(command)
        os.kill(served["pids"]["parent"][0], signal.SIGKILL)
        assert command.finish() == 1, command.text
        assert not command.left_behind()
    assert "Apache died of SIGKILL" in command.text.splitlines()[-1]
    assert served["error_log"] == str(command.output / "error.log")
    assert "resuming normal operations" in (command.output / "error.log").read_text()
    assert (command.output / "httpd.conf").read_text().startswith("# The Apache of cell")


def test_the_configuration_that_is_printed_loads(open_tmp: Path) -> None:
    output = open_tmp / HARD
    conf = [
        *MODULE,
        "serve",
        "--print-config",
        *CELL,
        "--topology",
        "standalone",
        "--output",
        str(output),
    ]
    printed = subprocess.run(conf, capture_output=True, text=True, check=True).stdout
    assert printed == (output / "httpd.conf").read_text()
    settings = json.loads((output / "app" / "settings.json").read_text())
    assert settings["subject"]["uri"].startswith("mongodb://127.0.0.1:27017/")
    httpd = find_httpd()
    assert httpd is not None
    command = [str(httpd.httpd), "-t", "-f", str(output / "httpd.conf")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "Syntax OK\n")
    # A restart reads it again, as root: Apache's user must not be able to put another there.
    for path in [output, *output.rglob("*")]:
        if path not in (output / "evidence", output / "tmp"):
            status = path.stat()
            assert (status.st_uid, status.st_mode & 0o022) == (os.geteuid(), 0), path


def test_several_cells_are_refused_and_named(open_tmp: Path) -> None:
    several = [*MODULE, "serve", "--no-config", "--mod-wsgi", "5.0.2", "--topology", "none"]
    code, text = outcome(open_tmp, command=several)
    assert code == 2
    assert "one cell can be served, and 2 are selected" in one_line(text)
    assert text.count("-none-embedded-") == text.count("-none-daemon-") == 1
    assert not (open_tmp / "out").exists()
