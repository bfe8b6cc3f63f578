"""The image: it has one list of packages, that of scripts/setup, and gets every file it needs.

That it can be built and used is tested by ``make container``.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

from tests.unit.test_examples import ROOT

LINES = (ROOT / "Containerfile").read_text().replace("\\\n", " ").splitlines()
SHOWN = ("dirname", "ls", "grep", "tr", "cat")
"""Programs that scripts/setup finds on a Debian on which nothing else is installed."""
STUBS = {
    "apt-get": 'echo "$@" >> "$CALLS"',
    "id": "echo 0",
    "ldconfig": "",
    "getent": "exit 2",
}


def packages_of(tmp_path: Path, *words: str) -> set[str]:
    """What scripts/setup installs as root on a Debian that has nothing yet."""
    bin = tmp_path / "bin"
    bin.mkdir()
    for name in SHOWN:
        (bin / name).symlink_to(str(shutil.which(name)))
    for name, script in STUBS.items():
        (bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (bin / name).chmod(0o755)
    scripts = tmp_path / "checkout" / "scripts"
    scripts.mkdir(parents=True)
    # Its absolute paths are those of this machine, which has more.
    text = (ROOT / "scripts" / "setup").read_text()
    for place in ("/usr/sbin:/sbin", "/usr/include/", "/usr/bin/python3"):
        text = text.replace(place, f"{tmp_path}/nothing")
    (scripts / "setup").write_text(text)
    done = subprocess.run(
        ["/bin/sh", scripts / "setup", *words],
        env={"PATH": str(bin), "CALLS": str(tmp_path / "calls")},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [one.name for one in (tmp_path / "checkout").iterdir()] == ["scripts"], (
        "nothing but packages"
    )
    installs = [line for line in (tmp_path / "calls").read_text().splitlines() if "install" in line]
    return {word for line in installs for word in line.split() if not word.startswith("-")} - {
        "install"
    }


def test_its_packages_are_those_of_setup(tmp_path: Path) -> None:
    installed = packages_of(tmp_path, "packages")
    (line,) = re.findall(r"^\$ apt-get install (.*)$", (ROOT / "README.md").read_text(), re.M)
    assert set(line.split()) <= installed
    assert {"libcurl4", "base-passwd", "python3"} <= installed
    assert "RUN scripts/setup packages" in " ".join(LINES)
    (own,) = [line for line in LINES if "apt-get install" in line]
    assert own.endswith(" tini"), "the list is in scripts/setup"


def test_what_is_copied_is_all_that_is_installed_from() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    assert all((ROOT / name).exists() for name in sent)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    licenses = {name.partition("/")[0] for name in project["license-files"]}
    hook = (ROOT / "hatch_build.py").read_text()
    read = {name for name in ("README.md", "CHANGELOG.md") if f'"{name}"' in hook}
    assert sent >= {"pyproject.toml", "hatch_build.py", "constraints.txt", "src", *licenses, *read}
    copied = [shlex.split(line)[1] for line in LINES if line.startswith("COPY ")]
    assert copied == ["scripts/setup", "."]


def test_the_commands_of_the_page_fit_the_image() -> None:
    page = (ROOT / "docs" / "container.md").read_text()
    assert '-v "$PWD:/work"' in page
    assert "WORKDIR /work" in LINES
    assert "-v wsgiproof:/home" in page
    assert "ENV HOME=/home" in LINES
    assert [line for line in LINES if line.startswith("ENTRYPOINT")] == [
        'ENTRYPOINT ["tini", "--", "/opt/wsgiproof/.venv/bin/wsgiproof"]'
    ]
