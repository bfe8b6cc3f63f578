"""What ``--requirement`` takes: packages, and files of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsgiproof.cli.options import configure
from wsgiproof.config.file import combine, load
from wsgiproof.config.requirements import requirements
from wsgiproof.errors import UsageError

LISTED = "# for the shop\n\nflask==3.1  # the web\nuvicorn [standard] \\\n  >= 0.30\na @ https://h/a.whl\n"
PACKAGES = ("flask==3.1", "uvicorn [standard] >= 0.30", "a @ https://h/a.whl")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "requirements.txt").write_text(LISTED)
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "base").write_text("redis\n-r ../requirements.txt\n")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("requirements.txt", PACKAGES),
        ("-r requirements.txt", PACKAGES),
        ("-rrequirements.txt", PACKAGES),
        ("--requirement=requirements.txt", PACKAGES),
        ("./requirements.txt", PACKAGES),
        ("requirements/base", ("redis", *PACKAGES)),
        ("requirements", ("requirements",)),
        ("flask==3.1", ("flask==3.1",)),
        ("a @ file:///srv/a.whl", ("a @ file:///srv/a.whl",)),
    ],
)
def test_a_package_is_itself_and_a_file_is_what_it_lists(
    text: str, expected: tuple[str, ...], directory: Path
) -> None:
    assert requirements(text, directory) == expected


@pytest.mark.parametrize("text", ["nothing.txt", "-r nothing", "no/such"])
def test_a_file_that_does_not_exist_is_not_taken_for_a_package(text: str, directory: Path) -> None:
    with pytest.raises(UsageError, match=r"--requirement .*[Nn]o such file"):
        requirements(text, directory)


@pytest.mark.parametrize(
    ("line", "named"),
    [("-e .", "-e"), ("flask==1 --hash=sha256:00", "--hash"), ("--index-url https://h", "--index")],
)
def test_an_option_in_a_file_is_refused_with_its_line(
    line: str, named: str, directory: Path
) -> None:
    (directory / "r.txt").write_text(f"redis\n{line}\n")
    with pytest.raises(UsageError, match=rf"r\.txt:2: the option {named}\S* is not supported"):
        requirements("r.txt", directory)


def test_files_that_name_each_other_come_to_an_end(directory: Path) -> None:
    (directory / "a.txt").write_text("-r b.txt\n")
    (directory / "b.txt").write_text("-r a.txt\n")
    with pytest.raises(UsageError, match="more than 10 files name each other"):
        requirements("a.txt", directory)


def test_a_file_is_beside_the_command_or_beside_the_configuration(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory)
    config, _ = configure({"requirement": ("requirements.txt", "redis")})
    assert config.requirement == (*PACKAGES, "redis")
    elsewhere = directory / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (directory / "wsgiproof.toml").write_text('requirement = "-r requirements.txt"\n')
    assert combine(load(directory / "wsgiproof.toml"), "", {}).requirement == PACKAGES
