"""What ``--project`` takes: the dependencies of a project, and never the project itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsgiproof.config.project import Project, check_python, read_project
from wsgiproof.errors import UsageError

PYPROJECT = """\
[project]
name = "My.Site"
version = "1"
requires-python = ">=3.10,<3.14"
dependencies = ["alpha>=2", "beta; python_version > '3.5'"]
[project.optional-dependencies]
fast = ["gamma", "my_site[More]"]
more = ["delta[x]<5"]
loop = ["my-site[loop]"]
[dependency-groups]
dev = ["pytest"]
[build-system]
requires = []
build-backend = "evil"
backend-path = ["."]
"""
EVIL = "import pathlib\npathlib.Path(__file__).with_name('was-run').touch()\n"
LOCK = """\
version = 1
requires-python = ">=3.10, <3.14"
[[package]]
name = "alpha"
version = "2.1"
source = { registry = "https://index.invalid/simple" }
[[package]]
name = "beta"
version = "7"
source = { registry = "https://index.invalid/simple" }
[[package]]
name = "near"
version = "1"
source = { directory = "near" }
[[package]]
name = "delta"
version = "4"
source = { registry = "https://index.invalid/simple" }
[[package]]
name = "gamma"
version = "3"
source = { registry = "https://index.invalid/simple" }
[[package]]
name = "my-site"
version = "1"
source = { editable = "." }
dependencies = [{ name = "alpha" }, { name = "beta" }, { name = "near" }]
[package.optional-dependencies]
fast = [{ name = "gamma" }, { name = "delta" }]
more = [{ name = "delta" }]
[package.metadata]
requires-dist = [
    { name = "alpha", specifier = ">=2" },
    { name = "beta" },
    { name = "delta", extras = ["x"], marker = "extra == 'more'", specifier = "<5" },
    { name = "gamma", marker = "extra == 'fast'" },
    { name = "my-site", extras = ["more"], marker = "extra == 'fast'" },
    { name = "near", directory = "near" },
]
provides-extras = ["fast", "more"]
"""
WITH_NEAR = PYPROJECT.replace('["alpha>=2"', '["near", "alpha>=2"')


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "evil.py").write_text(EVIL)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    return tmp_path


@pytest.fixture
def locked(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UV_NO_CACHE", "1")
    (project / "pyproject.toml").write_text(WITH_NEAR)
    (project / "uv.lock").write_text(LOCK)
    return project


def refusal(directory: Path, *extras: str) -> str:
    with pytest.raises(UsageError) as refused:
        read_project(directory, extras)
    return str(refused.value)


@pytest.mark.parametrize(
    ("extras", "more"),
    [((), ()), (("more",), ("delta[x]<5",)), (("FAST",), ("gamma", "delta[x]<5")), (("loop",), ())],
)
def test_dependencies_and_those_of_the_chosen_extras(
    project: Path, extras: tuple[str, ...], more: tuple[str, ...]
) -> None:
    found = read_project(project, extras)
    assert found.requirements == ("alpha>=2", 'beta; python_version > "3.5"', *more)
    assert found.notes == (
        "Only what My.Site needs is tried: the project is neither built nor imported.",
    )


def test_what_is_not_on_an_index_is_left_out_and_named(project: Path) -> None:
    sources = "[tool.uv.sources]\nalpha = { path = 'a' }\nbeta = { index = 'ours' }\n"
    (project / "pyproject.toml").write_text(PYPROJECT + sources)
    found = read_project(project, ())
    assert found.requirements == ('beta; python_version > "3.5"',)
    assert found.notes[-1] == "Not tried, since they do not come from an index: alpha."


def test_the_lock_decides_the_versions_and_nothing_is_built(locked: Path) -> None:
    before = sorted(path.name for path in locked.iterdir())
    found = read_project(locked, ())
    assert found.requirements == ("alpha==2.1", "beta==7")
    assert read_project(locked, ("fast",)).requirements == (
        *("alpha==2.1", "beta==7", "delta==4", "gamma==3"),
    )
    assert found.notes[1:] == (
        f"The versions are those of {locked / 'uv.lock'}.",
        "Not tried, since they do not come from an index: near.",
    )
    assert sorted(path.name for path in locked.iterdir()) == before


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ('"alpha>=2"', '"alpha>=3"', "(alpha)"),
        ('"alpha>=2"', '"alpha>=2", "new"', "(new)"),
        ('"near", ', "", "(near)"),
    ],
)
def test_a_lock_of_another_pyproject_is_refused(
    locked: Path, old: str, new: str, changed: str
) -> None:
    (locked / "pyproject.toml").write_text(WITH_NEAR.replace(old, new))
    said = refusal(locked)
    assert "uv.lock: it does not fit pyproject.toml any more" in said and changed in said


def test_a_lock_of_another_project_is_refused(locked: Path) -> None:
    (locked / "uv.lock").write_text(LOCK.replace('"my-site"', '"other"'))
    assert "uv.lock: it does not lock My.Site: run 'uv lock' there" in refusal(locked)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("pyproject.toml", "[project", "pyproject.toml: Expected ']'"),
        ("pyproject.toml", b"\xff", "pyproject.toml: it is not TOML in UTF-8"),
        ("pyproject.toml", "[tool.poetry]", "pyproject.toml: it has no [project] table"),
        ("pyproject.toml", '[project]\nname="a"\ndependencies="b"', "got `str`"),
        ("pyproject.toml", '[project]\nname="a"\ndependencies=["b c"]', "'b c' is not a requ"),
        ("pyproject.toml", '[project]\nname="a"', "needs nothing that can be installed"),
        ("pyproject.toml", '[project]\nname="a"\ndynamic=["dependencies"]', "does not run"),
        ("uv.lock", "nothing", "uv.lock: Expected '='"),
        ("uv.lock", "package = 3", "uv.lock: Expected `array`"),
    ],
)
def test_a_file_that_can_not_be_used_has_one_clear_line(
    project: Path, name: str, content: str | bytes, said: str
) -> None:
    (project / name).write_bytes(content.encode() if isinstance(content, str) else content)
    assert said in refusal(project)


def test_an_unknown_extra_a_missing_file_and_a_link_are_refused(project: Path) -> None:
    assert "it has no extra 'fats'; did you mean 'fast'?" in refusal(project, "fats")
    assert "No such file or directory" in refusal(project / "nowhere")
    (project / "pyproject.toml").rename(project / "kept.toml")
    assert "it has no pyproject.toml" in refusal(project)
    (project / "pyproject.toml").symlink_to("kept.toml")
    assert "pyproject.toml: it is a symbolic link" in refusal(project)
    (project / "pyproject.toml").unlink()
    os.mkfifo(project / "pyproject.toml")
    assert "pyproject.toml: it is not a regular file" in refusal(project)


def test_a_python_that_the_project_does_not_support_is_refused() -> None:
    needs = Project(requirements=("a",), requires_python=">=3.12")
    check_python(needs, "Python 3.13.0", "3.13.0")
    with pytest.raises(UsageError, match=r"requires Python >=3\.12, which Python 3\.11\.2 is not"):
        check_python(needs, "Python 3.11.2", "3.11.2")
    with pytest.raises(UsageError, match="requires-python can't be read"):
        check_python(Project(requirements=(), requires_python="new"), "Python 3", "3.11")
