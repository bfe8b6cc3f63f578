"""The GitHub Action: its steps are sound, and those that matter are run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.test_examples import ROOT, parsed
from wsgiproof.provision.cache import _PRIVATE

ACTION: Any = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = ACTION["runs"]["steps"]
INPUTS = {name: one["default"] for name, one in ACTION["inputs"].items()}
STUB = """\
#!{python}
import json, pathlib, sys
pathlib.Path("called.json").write_text(json.dumps(sys.argv[1:]))
"""


def step(name: str) -> Any:
    (found,) = (one for one in STEPS if one.get("name") == name)
    return found


def run_step(name: str, directory: Path, inputs: Mapping[str, str] | None = None) -> str:
    """Run the script of a step as GitHub does; return what it printed."""
    one = step(name)
    given = {
        f"${{{{ inputs.{key} }}}}": value for key, value in {**INPUTS, **(inputs or {})}.items()
    }
    given["${{ steps.place.outputs.results }}"] = "/tmp/results"
    env = {name: given[text] for name, text in one.get("env", {}).items()}
    (directory / "script").write_text(one["run"])
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "script"],
        cwd=directory,
        env={
            "PATH": f"{directory}/bin:/usr/bin:/bin:/usr/sbin",
            "HOME": str(directory),
            "RUNNER_TEMP": str(directory),
            "GITHUB_OUTPUT": str(directory / "output"),
            **env,
        },
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.fixture
def called(tmp_path: Path) -> Any:
    """Run the step that runs wsgiproof; return its arguments."""
    command = tmp_path / "bin/wsgiproof"
    command.parent.mkdir()
    command.write_text(STUB.format(python=sys.executable))
    command.chmod(0o755)

    def call(**inputs: str) -> list[str]:
        given = {name.replace("_", "-"): value for name, value in inputs.items()}
        run_step("Run wsgiproof", tmp_path, given)
        words: list[str] = json.loads((tmp_path / "called.json").read_text())
        return words

    return call


def test_every_input_is_used_and_documented_and_none_is_missing() -> None:
    text = (ROOT / "action.yml").read_text()
    assert {*re.findall(r"inputs\.([\w-]+)", text)} == {*INPUTS}
    documented = re.findall(r"^\| `([\w-]+)` \|.*?(?:`([^`]*)`)? \|$", _section(), re.M)
    assert [name for name, _ in documented] == [*INPUTS]
    assert {name: value for name, value in documented if value and name != "config"} == {
        name: value for name, value in INPUTS.items() if value not in ("", ".")
    }


def _section() -> str:
    text = (ROOT / "docs/ci.md").read_text()
    return text.partition("## The GitHub Action")[2].partition("## Evergreen")[0]


@pytest.mark.parametrize("one", [one for one in STEPS if "run" in one], ids=lambda one: one["name"])
def test_a_script_is_valid_and_holds_no_value_that_is_given(one: Any) -> None:
    assert one["shell"] == "bash"
    assert "${{" not in one["run"], "GitHub would paste it into the script"
    subprocess.run(["bash", "-n", "-c", one["run"]], check=True)


def test_by_default_everything_runs_as_the_file_says(called: Any) -> None:
    words = called()
    assert words == [
        *("run", "--output", "/tmp/results", "--junit", "/tmp/results/junit.xml"),
        *("--summary", "/tmp/results/summary.md", "--accept-known-upstream", "--"),
    ]
    assert parsed(words).params["only"] == ()


def test_each_input_becomes_an_option(called: Any) -> None:
    words = called(
        cells="*-daemon-* py3.12-[x]",
        set="pr",
        config="ci/wsgiproof.toml",
        plan="plan.json",
        accept_known_upstream="false",
        options="--pymongo=.\n\n--directive=WSGIDestroyInterpreter Off\n--jobs=2\n",
    )
    params = parsed(words).params
    assert params["only"] == ("*-daemon-*", "py3.12-[x]")
    assert (params["chosen"], str(params["file"])) == ("pr", "ci/wsgiproof.toml")
    assert (str(params["listed"]), params["jobs"]) == ("plan.json", 2)
    assert params["directive"] == ("WSGIDestroyInterpreter Off",)
    assert params["pymongo"] == (".",)
    assert params["accept_known_upstream"] is None


def test_nothing_in_an_input_is_run_or_matched(called: Any, tmp_path: Path) -> None:
    evil = "$(touch owned) `touch owned` ; touch owned"
    words = called(cells=f"* {evil}", set=evil, config=evil, plan=evil, options=evil)
    assert not (tmp_path / "owned").exists()
    assert words[-len(f"* {evil}".split()) :] == f"* {evil}".split()
    assert words.count(evil) == 4


def test_the_places_are_outside_of_the_checkout(tmp_path: Path) -> None:
    run_step("Choose places", tmp_path)
    lines = dict(line.split("=", 1) for line in (tmp_path / "output").read_text().splitlines())
    results = Path(lines["results"])
    assert results.parent.is_dir()
    assert not results.exists(), "wsgiproof makes it"
    builds = "/var/cache/wsgiproof" if os.geteuid() == 0 else f"{tmp_path}/.cache/wsgiproof"
    assert lines["builds"] == builds
    restored, saved = (step(name)["with"] for name in ("Restore builds", "Save builds"))
    assert restored["path"] == saved["path"]
    first, *others = restored["path"].split("\n")[:-1]
    assert first.endswith("/*")
    assert {line.rpartition("/")[2] for line in others} == _PRIVATE


def test_old_builds_are_removed_by_a_command_that_exists() -> None:
    words = step("Remove old builds")["run"].split()
    assert words[0] == "wsgiproof"
    parsed(words[1:]).close()
