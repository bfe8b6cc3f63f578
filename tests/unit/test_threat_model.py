"""The threat model names a test for each claim: each of them has to be there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?(?:\[[^`]*\])?`", PAGE)


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)))
def test_a_test_that_is_named_is_there(file: str, name: str) -> None:
    text = (ROOT / file).read_text()
    assert not name or re.search(rf"^ *def {name}\(", text, re.MULTILINE)


def test_each_claim_has_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    claims = [row for row in rows if not re.match(r"\| (it|they) must not \|", row)]
    assert len(claims) >= 30
    assert [row for row in claims if "`tests/" not in row] == []
