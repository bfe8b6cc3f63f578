"""A few fixed injections of different kinds, on real parts; ``make torture`` injects for an
hour."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.torture.__main__ import carry_out_all, prepare
from tests.torture.draw import injection
from tests.torture.kinds import KINDS
from tests.torture.kinds.hostile import VARIANTS, expected
from tests.torture.outcome import COLUMNS, Injection, Outcome, Violation
from tests.torture.sandbox import MEASURING
from tests.torture.table import describe, table

_AT = {"phase": "parallel", "delay": 0.0}
_FIXED: dict[str, tuple[str, dict[str, Any]]] = {
    "guard killed": (
        "signals",
        {"target": "guard", "signal": "KILL", "mode": "daemon", "moment": _AT},
    ),
    "daemon without a mark": (
        "hostile",
        {"app": "leaves_a_daemon_without_a_mark", "mode": "daemon"},
    ),
    "stdout gone": ("environment", {"environment": "stdout gone after a line", "command": "show"}),
    "escape sequences": (
        "records",
        {
            "damage": "escape sequences",
            "file": "cell.json",
            "commands": ["show"],
            "where": 1,
        },
    ),
    "garbage in the index": (
        "caches",
        {"damage": "garbage in the index", "command": "list", "where": 0.5},
    ),
}
_USUAL = {"topology": "none", "requests": 60, "pick": 0.0}


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, Outcome]]:
    """The outcome of each injection; two are carried out at a time."""
    work = Path(tempfile.mkdtemp(prefix="wpt-", dir="/tmp"))
    work.chmod(0o711)
    try:
        setup = prepare(work, seed=0)
        chosen = [
            Injection(number, kind, {**_USUAL, **details})
            for number, (kind, details) in enumerate(_FIXED.values(), 1)
        ]
        done = carry_out_all(chosen, setup, jobs=2, until=float("inf"))
        names = list(_FIXED)
        yield {names[one.injection.number - 1]: one for one in done}
    finally:
        shutil.rmtree(work, ignore_errors=True)


@pytest.mark.parametrize("name", _FIXED)
def test_a_fault_leaves_nothing_and_blames_nobody(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    assert not outcome.broken, outcome.broken
    assert not outcome.violations, "\n".join([describe(outcome), *outcome.notes])


def test_an_injection_is_the_same_whenever_it_is_drawn() -> None:
    twice = [[injection(7, number) for number in range(1, 300)] for _ in range(2)]
    assert twice[0] == twice[1]
    assert injection(7, 123) == twice[0][122]
    assert injection(8, 123) != twice[0][122]


def test_every_kind_and_every_variant_has_its_turn() -> None:
    kinds = {injection(1, number).kind for number in range(1, 101)}
    assert kinds == {name for name, kind in KINDS.items() if not kind.missing()}
    drawn = {injection(1, n, "hostile").details["app"] for n in range(1, len(VARIANTS) + 1)}
    assert drawn == set(VARIANTS)


def test_each_hostile_application_says_what_is_right() -> None:
    assert len(VARIANTS) >= 40
    for name in VARIANTS:
        right = set(expected(name)["EXPECT"])
        assert right
        assert right <= {"pass", "fail", "inconclusive", "error"}, name


def test_the_table_counts_an_injection_once_in_a_column() -> None:
    twice = [Violation("orphans", "one"), Violation("orphans", "two")]
    done = [
        Outcome(Injection(1, "signals", {}), violations=twice),
        Outcome(Injection(2, "signals", {}), missed=True),
        Outcome(Injection(3, "ports", {})),
    ]
    rows = [line.split(" | ") for line in table(done).splitlines()]
    assert len(rows[0]) == len(COLUMNS) + 2
    assert rows[-1][1:3] == ["2", "1"]


def test_a_pass_violates_a_rule_only_while_something_is_measured() -> None:
    assert "stop" not in MEASURING
