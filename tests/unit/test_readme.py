"""The README: short, and every link works wherever it is shown."""

from __future__ import annotations

import re
from importlib.metadata import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
LINK = re.compile(r"\]\(([^)#]*)(?:#[^)]*)?\)")


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("target", sorted(set(LINK.findall(README))))
def test_each_link_into_the_repository_has_a_file(target: str) -> None:
    assert (ROOT / target).is_file()


def test_the_package_index_shows_it_without_links_into_the_repository() -> None:
    installed = metadata("wsgiproof")
    shown = installed.get("Description") or str(installed)
    assert "# wsgiproof\n" in shown
    assert "![" not in shown
    assert all(target.startswith("https://") for target in LINK.findall(shown))
