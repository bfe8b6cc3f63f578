"""The README, the changelog and the decisions: what a reader of them relies on."""

from __future__ import annotations

import re
from importlib.metadata import metadata
from pathlib import Path

import pytest

import wsgiproof

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))
LINK = re.compile(r"\]\(([^)#]*)(?:#[^)]*)?\)")


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("target", sorted(set(LINK.findall(README))))
def test_each_link_of_the_readme_has_a_file(target: str) -> None:
    assert (ROOT / target).is_file()


def test_the_package_index_shows_the_readme_without_links_into_the_repository() -> None:
    installed = metadata("wsgiproof")
    shown = "".join(installed.get_all("Description") or ()) or str(installed)
    assert "# wsgiproof\n" in shown
    assert "![" not in shown
    assert all(target.startswith("https://") for target in LINK.findall(shown))


def test_the_changelog_has_a_dated_section_of_this_version() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text()
    dated = rf"^## {re.escape(wsgiproof.__version__)} \(\d{{4}}-\d\d-\d\d\)$"
    found = re.search(dated, changes, re.MULTILINE)
    assert found
    assert 0 < changes.index("\n## Unreleased\n") < found.start()


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_each_decision_has_a_date_and_is_listed(page: Path) -> None:
    index = (ROOT / "docs/decisions/index.md").read_text()
    if page.name != "index.md":
        assert re.search(r"\A# .+\n\n\*20\d\d-\d\d-\d\d\b", page.read_text())
        assert f"]({page.name})" in index


def test_the_architecture_names_every_module_and_no_other() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    named = {*re.findall(r"`([a-z_]+\.py|[a-z_]+/)`", text)}
    package = ROOT / "src/wsgiproof"
    top = {f"{path.name}{'/' * path.is_dir()}" for path in package.glob("[a-z]*")}
    modules = {name for name in top if name.endswith((".py", "/"))} - {"__pycache__/"}
    assert modules <= named
    assert named - modules <= {path.name for path in package.rglob("*.py")} | {
        "explain/",
        "html/",
        "package/",
        "pymongo/",
    }
