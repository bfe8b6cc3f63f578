"""The tasks of Evergreen: whole with the project's own file, and each of their scripts run."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from shrub.v3.evg_project import EvgProject

from tests.unit.test_examples import EXAMPLES, parsed
from tests.unit.test_listed import cells, dealt
from wsgiproof.errors import UsageError
from wsgiproof.records.listed import Environment, Listed, ListedCell, Resolved
from wsgiproof.records.reading import load_list
from wsgiproof.report.evergreen import RESULTS, RUN, SET_UP, for_evergreen

RESOLVED = (
    Resolved(axis="pymongo", python="3.12", asked="latest", exact="4.20.0"),
    Resolved(axis="mod_wsgi", python="3.8", asked="6", reason="it's not for ${python} $(id)"),
)
LISTED = Listed(
    cells=(ListedCell(id="a-cell"),),
    resolved=RESOLVED,
    environments=(
        Environment(python="3.12", subject={"pymongo": "4.20.0"}, packages={"dnspython": "2.7.0"}),
    ),
)
EXPANSIONS = {
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),  # ec2.assume_role
    *("build_variant", "revision", "version_id", "build_id", "task_id", "execution"),  # Evergreen's
    *("assume_role_arn", "bucket_name"),  # the project's, see the example
}
STUB = """\
#!/usr/bin/env python3
import json, pathlib, sys
place = ".." if sys.argv[1] == "run" else "."
pathlib.Path(place, "called.json").write_text(json.dumps(sys.argv[1:]))
sys.exit(1)
"""
"""A wsgiproof that fails, and leaves what it was called with."""


@pytest.fixture(scope="module")
def made() -> Any:
    """What is printed, as a program reads it."""
    return json.loads(json.dumps(for_evergreen(dealt(cells(5), "evergreen", 2), LISTED)))


@pytest.fixture(scope="module")
def example() -> Any:
    return yaml.safe_load((EXAMPLES / "evergreen.yml").read_text())


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """The directory of a task after the set-up."""
    (tmp_path / "src").mkdir()
    command = tmp_path / "wsgiproof-venv/bin/wsgiproof"
    command.parent.mkdir(parents=True)
    command.write_text(STUB)
    command.chmod(0o755)
    return tmp_path


def called(directory: Path) -> list[str]:
    words: list[str] = json.loads((directory / "called.json").read_text())
    return words


def run_script(command: Any, directory: Path, **expansions: str) -> int:
    """Run a command as Evergreen does: in its directory, with the expansions that it names."""
    assert command["command"] == "subprocess.exec"
    params = command["params"]
    named = params.get("include_expansions_in_env", [])
    assert {*expansions} <= {*named}
    assert not any("${" in word for word in params["args"]), "it would be replaced before"
    return subprocess.run(
        [params["binary"], *params["args"]],
        cwd=directory / params.get("working_dir", "."),
        env={"PATH": "/usr/bin:/bin", **expansions},
        check=False,
    ).returncode


def texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from texts(one)


def test_the_example_and_what_is_generated_are_a_whole(made: Any, example: Any) -> None:
    for one in (made, example):
        EvgProject(**one)
    functions = {**made["functions"], **example["functions"]}
    assert {*made["functions"]} == {RUN, RESULTS}
    assert {*example["functions"]} == {SET_UP}
    (group,) = made["task_groups"]
    calls = [*group["setup_task"], *group["teardown_task"]]
    calls += [call for task in made["tasks"] for call in task["commands"]]
    assert {one["func"] for one in calls} == {*functions}
    assert group["setup_task_can_fail_task"], "nothing is tested without it"
    assert group["tasks"] == [task["name"] for task in made["tasks"]]
    assert group["max_hosts"] == 2
    (variant,) = made["buildvariants"]
    assert variant == {"name": "wsgiproof", "tasks": [{"name": group["name"]}]}
    assert example["buildvariants"][0]["name"] == variant["name"]
    used = {name for text in texts(made) for name in re.findall(r"\$\{(\w+)", text)}
    assert used == EXPANSIONS


def test_a_task_runs_its_cells_with_the_versions_of_the_plan(made: Any, task: Path) -> None:
    (run,) = made["functions"][RUN]
    ids = made["tasks"][0]["commands"][0]["vars"]["CELLS"]
    code = run_script(run, task, CELLS=ids, wsgiproof_options="--set pr")
    assert (code, run["type"]) == (1, "test"), "a finding is a failed test, and not an error"
    words = called(task)
    context = parsed(words)
    assert (list(context.params["only"]), context.params["chosen"]) == (ids.split(), "pr")
    listed, output = (task / "src" / context.params[name] for name in ("listed", "output"))
    assert load_list(listed) == msgspec.structs.replace(LISTED, cells=())
    assert not [*(task / "src").iterdir()], "the checkout is what is tested"
    assert output.resolve().parent == task


def test_the_results_of_a_task_that_was_ended_are_attached(made: Any, task: Path) -> None:
    show, attach, pack, role, *uploads = made["functions"][RESULTS]
    (task / "wsgiproof-results").mkdir()
    assert run_script(show, task) == 0
    words = called(task)
    shown = parsed(words).params
    (run,) = made["functions"][RUN]
    assert f"--output ../{shown['where']} " in run["params"]["args"][-1]
    assert attach["command"] == "attach.xunit_results"
    assert attach["params"] == {"file": str(shown["junit"])}
    assert pack["params"]["source_dir"] == str(shown["where"])
    assert role["command"] == "ec2.assume_role"
    assert [one["command"] for one in uploads] == ["s3.put", "s3.put"]
    assert [one["params"]["local_file"] for one in uploads] == [
        "wsgiproof-results/report.html",
        pack["params"]["target"],
    ]
    assert all(one["params"]["optional"] for one in uploads)


def test_the_example_generates_what_is_listed(example: Any) -> None:
    (task,) = example["tasks"]
    setup, listing, generate = task["commands"]
    assert setup == {"func": SET_UP}
    options = example["buildvariants"][0]["expansions"]["wsgiproof_options"]
    line = listing["params"]["args"][-1].replace("$wsgiproof_options", options)
    words, _, file = line.partition(" > ")
    command, *arguments = shlex.split(words)
    params = parsed(arguments).params
    assert (params["form"], params["shards"], params["chosen"]) == ("evergreen", 4, "pr")
    assert f"../{generate['params']['files'][0]}" == file
    script = example["functions"][SET_UP][1]["params"]["args"][-1]
    assert f"venv {command.removeprefix('../').partition('/')[0]}" in script
    assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0


def test_shrub_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shrub.v3.evg_project", None)
    with pytest.raises(UsageError, match=r"--evergreen needs shrub.py: pip install"):
        for_evergreen(dealt(cells(1), "evergreen", None), LISTED)
