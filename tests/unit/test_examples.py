"""The examples: their files are what they say, and wsgiproof takes each of their command lines."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from tests.unit.test_listed import cells, dealt
from wsgiproof import cli
from wsgiproof.config.file import combine, load
from wsgiproof.provision.cache import _PRIVATE
from wsgiproof.records.cell import Mode
from wsgiproof.report.matrix import for_gitlab

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
WORKFLOWS = ("github-actions.yml", "gitlab-ci.yml")
GIVEN = {
    "${{ matrix.cells }}": " ".join(cell.id for cell in cells(2)),
    "${{ matrix.shard }}": "1",
    "$CELLS": " ".join(cell.id for cell in cells(2)),
    "$SHARD": "1",
    "$SET": "pr",
    "$RUNNER_TEMP": "/tmp",
    "shards/*": "shards/shard-1 shards/shard-2",
    "shard-*": "shard-1 shard-2",
}
"""What a CI system makes of these, or its shell."""


def workflow(name: str) -> dict[Any, Any]:
    loaded = yaml.safe_load((EXAMPLES / name).read_text())
    assert isinstance(loaded, dict)
    return loaded


def scripts(node: Any) -> Iterator[str]:
    """Every line that a shell is given."""
    if isinstance(node, list):
        for one in node:
            yield from scripts(one)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("run", "script", "before_script") and not isinstance(value, dict):
                lines = value if isinstance(value, list) else [value]
                yield from (line for text in lines for line in text.splitlines())
            else:
                yield from scripts(value)


def commands(name: str) -> list[list[str]]:
    """The command lines of wsgiproof in a workflow, as its shell passes them on."""
    found = []
    for line in scripts(workflow(name)):
        if line.startswith("wsgiproof "):
            for word, value in GIVEN.items():
                line = line.replace(word, value)
            assert "$" not in line, line
            found.append(shlex.split(line.partition(" > ")[0].partition(" || ")[0])[1:])
    return found


def parsed(arguments: list[str]) -> click.Context:
    name, *rest = arguments
    command = cli.commands()[name]
    if isinstance(command, click.Group):  # 'build' alone is 'build cells'
        inner = rest.pop(0) if rest and rest[0] in command.commands else "cells"
        command = command.commands[inner]
    return command.make_context(name, rest)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_each_command_of_a_workflow_is_accepted(name: str) -> None:
    called = commands(name)
    assert [words[0] for words in called] == ["list", "list", "build", "cache", "run", "merge"]
    for words in called:
        parsed(words).close()


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_shards_are_what_is_merged_by_the_plan(name: str) -> None:
    plan, dealt, build, prune, run, merge = (parsed(words).params for words in commands(name))
    assert prune == {"unused_for": 7.0, "kind": (), "dry_run": False}
    assert str(dealt["listed"]) == str(build["listed"]) == str(run["listed"]) == "/tmp/plan.json"
    assert (plan["form"], dealt["form"]) == ("json", name.removesuffix("-actions.yml")[:6])
    assert dealt["shards"] == 4
    assert run["only"] == tuple(cell.id for cell in cells(2))
    assert run["output"] == "shard-1"
    assert str(run["junit"]).startswith("shard-1/")
    assert [path.name for path in merge["where"]] == ["shard-1", "shard-2"]
    assert str(merge["plan"]) == "plan.json"
    assert merge["junit"].parent == merge["summary"].parent == merge["output"]
    assert plan["chosen"] == dealt["chosen"] == build["chosen"] == run["chosen"] == "pr"


def test_a_command_that_is_wrong_would_be_seen() -> None:
    with pytest.raises(click.UsageError):
        parsed(["run", "--outputs", "x"])


def test_the_sets_of_the_workflows_are_in_the_file() -> None:
    sets = load(EXAMPLES / "wsgiproof.toml").values["sets"]
    assert set(sets) == {"pr", "nightly"}
    assert set(re.findall(r"'(\w+)'", workflow(WORKFLOWS[0])["env"]["SET"])) == {"schedule", *sets}
    assert workflow(WORKFLOWS[1])["variables"]["SET"] in sets


def test_a_change_of_what_is_tested_starts_both_workflows() -> None:
    github = workflow(WORKFLOWS[0])[True]["pull_request"]["paths"]  # 'on' is true in YAML
    gitlab = workflow(WORKFLOWS[1])["workflow"]["rules"][0]["changes"]
    same = [path.replace("/**", "/**/*") for path in github if not path.startswith(".github/")]
    assert gitlab == [*same, ".gitlab-ci.yml"]
    assert f".github/workflows/{workflow(WORKFLOWS[0])['name']}.yml" == github[-1]


def test_each_job_has_a_time_limit() -> None:
    jobs = workflow(WORKFLOWS[0])["jobs"]
    assert all(job["timeout-minutes"] for job in jobs.values())
    assert jobs["cells"]["timeout-minutes"] == "${{ matrix.minutes }}"
    assert workflow(WORKFLOWS[1])["default"]["timeout"]


def test_github_restores_what_the_plan_has_built() -> None:
    """GitHub finds a cache by its key and by the list of its paths."""
    jobs = workflow(WORKFLOWS[0])["jobs"]
    saved, restored = (
        step["with"]
        for job in (jobs["plan"], jobs["cells"])
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/cache")
    )
    assert (saved["path"], saved["key"]) == (restored["path"], restored["key"])
    paths = workflow(WORKFLOWS[0])["env"]["CACHED"].split()
    assert paths[0] == "~/.cache/wsgiproof/*"
    assert {path.rpartition("/")[2] for path in paths[1:]} == _PRIVATE


def test_gitlab_tests_no_archive_of_the_cache(tmp_path: Path) -> None:
    """The line of shell that unpacks and removes it, run; it is packed when all is built."""
    job = workflow(WORKFLOWS[1])[".machine"]
    (archive,) = job["cache"]["paths"]
    (line,) = (line for line in job["before_script"] if archive in line)
    line = line.replace("/var/cache", "cache")
    (tmp_path / "cache").mkdir()
    subprocess.run(["sh", "-ec", line], cwd=tmp_path, check=True)
    (tmp_path / "wsgiproof").mkdir()
    subprocess.run(["tar", "-cf", archive, "wsgiproof"], cwd=tmp_path, check=True)
    subprocess.run(["sh", "-ec", line], cwd=tmp_path, check=True)
    assert (tmp_path / "cache/wsgiproof").is_dir()
    assert not (tmp_path / archive).exists()
    lines = workflow(WORKFLOWS[1])["plan"]["script"]
    (packed,) = (number for number, line in enumerate(lines) if archive in line)
    assert packed > max(n for n, line in enumerate(lines) if "wsgiproof cache prune" in line)
    assert workflow(WORKFLOWS[1])["plan"]["cache"] == {"policy": "pull-push"}


def test_github_has_every_python_of_every_set() -> None:
    file = load(EXAMPLES / "wsgiproof.toml")
    there = workflow(WORKFLOWS[0])["env"]["PYTHONS"].split()
    for chosen in file.values["sets"]:
        assert set(combine(file, chosen, {}).values("python")) <= set(there)
    assert not there[-1].endswith("t"), "the one that runs wsgiproof"


def test_gitlab_has_the_python_of_its_set() -> None:
    config = combine(load(EXAMPLES / "wsgiproof.toml"), "pr", {})
    assert (
        workflow(WORKFLOWS[1])["default"]["image"] == f"python:{config.axis('python')[0]}-bookworm"
    )


@pytest.mark.parametrize("chosen", ["pr", "nightly"])
def test_the_checkout_beside_the_file_is_tested(chosen: str) -> None:
    config = combine(load(EXAMPLES / "wsgiproof.toml"), chosen, {})
    assert str(EXAMPLES) in config.axis("pymongo")
    assert config.axis("mode") == tuple(Mode)
    assert config.plan("any").max_seconds == 1800
    assert (config.plan("any").parallel > 10_000) == (chosen == "nightly")


def test_what_the_plan_writes_is_a_pipeline(tmp_path: Path) -> None:
    """The line of shell that makes it, run."""
    (tmp_path / "jobs.yml").write_text(for_gitlab(dealt(cells(3), "gitlab", 2)) + "\n")
    (line,) = (line for line in scripts(workflow(WORKFLOWS[1])) if "include:" in line)
    line = line.replace("/tmp/jobs.yml", "jobs.yml")
    subprocess.run(["sh", "-ec", line], cwd=tmp_path, check=True)
    made = yaml.safe_load((tmp_path / "child.yml").read_text())
    assert made.pop("include") == [{"local": ".gitlab-ci.yml"}]
    assert list(made) == ["wsgiproof-1", "wsgiproof-2"]


def test_the_jobs_of_the_child_pipeline_extend_what_the_file_has() -> None:
    jobs = yaml.safe_load(for_gitlab(dealt(cells(3), "gitlab", 2)))
    for job in jobs.values():
        template = workflow(WORKFLOWS[1])[job["extends"]]
        script = " ".join(template["script"])
        assert all(f"${variable}" in script for variable in job["variables"])
        assert template["stage"] in workflow(WORKFLOWS[1])["stages"]


# What the documentation shows


def shown(language: str) -> Iterator[tuple[Path, str]]:
    """Each block of this language, with the document that it is in."""
    for path in DOCUMENTS:
        for block in re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.M | re.S):
            yield path, block


def test_every_command_in_the_documentation_is_accepted() -> None:
    lines = [
        (path.name, line)
        for path, block in shown("console")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    commands = [(name, line[2:]) for name, line in lines if line.startswith("$ wsgiproof ")]
    assert len(commands) > 25
    for name, line in commands:
        words = shlex.split(line.partition(" > ")[0], comments=True)[1:]
        try:
            parsed(words).close()
        except click.exceptions.Exit:
            pass
        except click.UsageError as error:
            pytest.fail(f"{name}: {line}: {error.format_message()}")


def test_every_configuration_in_the_documentation_is_sound(tmp_path: Path) -> None:
    blocks = [block for _, block in shown("toml")]
    assert blocks
    for block in blocks:
        (tmp_path / "wsgiproof.toml").write_text(block)
        file = load(tmp_path / "wsgiproof.toml")
        for chosen in ("", *file.values.get("sets", {})):
            combine(file, chosen, {}).plan("any")
