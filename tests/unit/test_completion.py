"""What a shell completes, asked as the shell asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import CompletionItem, ShellComplete

from tests.cells import CELL
from tests.unit.factories import record, run_record
from tests.unit.test_merge import saved
from wsgiproof.cli import cli
from wsgiproof.provision.python import installed
from wsgiproof.subjects.registry import known_controls

CONTROLS = known_controls()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, in which the shell is."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def items(line: str) -> list[CompletionItem[str]]:
    """What the last word of the line may become; it is empty after a space."""
    *words, begun = line.split(" ")
    return ShellComplete(cli, {}, "wsgiproof", "_WSGIPROOF_COMPLETE").get_completions(words, begun)


def values(line: str) -> list[str]:
    return [one.value for one in items(line)]


def kinds(line: str) -> list[str]:
    """What the shell itself is to complete: ``file`` or ``dir``."""
    return [one.type for one in items(line)]


def test_commands_and_options() -> None:
    assert values("sho") == ["show"]
    assert values("build ") == ["cells", "python"]
    assert values("run --idl") == ["--idle-seconds"]
    assert values("show --rej") == ["--rejudge"]
    assert values("audit --inter") == ["--interpreter"]
    assert values("audit --interpreter o") == ["own-gil"]
    assert values("build --pymo") == ["--pymongo"], "of the command that it stands for"


def test_the_cells_of_a_run(here: Path) -> None:
    saved(here / "wsgiproof-results" / "20261120-000000", run_record(record()))
    other = saved(here / "elsewhere", run_record(record()))
    (other / "cells" / "py9.9-other").mkdir()
    assert values("run ") == [CELL.id], "of the latest run here"
    assert values("run py9") == []
    assert values(f"show {other} py9") == ["py9.9-other"]
    assert values(f"run --resume {other} py9") == ["py9.9-other"]
    (other / "cells" / "py9.9-\x1b[2J\nx").mkdir()
    assert values(f"show {other} py9") == ["py9.9-other"], "nothing that would steer a terminal"


def test_without_a_run_there_are_no_cells() -> None:
    assert values("run ") == values("show nowhere ") == []


def test_sets_and_servers_of_the_file(here: Path) -> None:
    text = "mongodb_servers = {seven = '/opt/mongod'}\n[sets.nightly]\n[sets.pr]\n"
    (here / "wsgiproof.toml").write_text(text)
    assert values("run --set ") == ["nightly", "pr"]
    assert values("list --set n") == ["nightly"]
    assert values("run --mongodb s") == ["seven"]
    (here / "other.toml").write_text("[sets.weekly]\n")
    assert values("run --config other.toml --set ") == ["weekly"]
    (here / "wsgiproof.toml").write_text("sets = 1 2")
    assert values("run --set ") == [], "a broken file completes nothing"


def test_phases_one_after_the_other() -> None:
    assert values("run --phases re") == ["restart", "reload"]
    assert values("run --phases restart,re") == ["restart,reload"]
    assert "restart,failover" in values("run --phases restart,")
    assert values("run --phases al") == ["all"]


def test_pythons_of_the_machine() -> None:
    there = {one.short for one in installed()}
    assert there
    assert there <= set(values("run --python "))
    assert kinds("run --python ./ve") == ["file"]


def test_choices_and_identifiers() -> None:
    assert values("run --control leak-connection-r") == ["leak-connection-rarely"]
    assert values("selftest --only ") == sorted(CONTROLS)
    assert values("run --interpreter own") == ["own-gil"]
    assert values("explain pyo") == ["pyo3"]
    assert values("run --pymongo l") == ["latest"]
    assert values("cache prune --kind ht") == ["httpd"]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("run --app sh", "file"),
        ("run --constraint c", "file"),
        ("run --junit r", "file"),
        ("run --httpd /usr", "file"),
        ("run --pymongo dist/py", "file"),
        ("run --output wsg", "dir"),
        ("show wsg", "file"),
    ],
)
def test_names_of_files_are_for_the_shell(line: str, kind: str) -> None:
    assert kinds(line) == [kind]


def test_the_command_answers_a_shell(here: Path) -> None:
    """As the line of the help turns it on."""
    asked = {"COMP_WORDS": "wsgiproof run --mode d", "COMP_CWORD": "3"}
    ended = subprocess.run(
        [sys.executable, "-m", "wsgiproof"],
        env={**os.environ, **asked, "_WSGIPROOF_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "plain,daemon\n", "")
