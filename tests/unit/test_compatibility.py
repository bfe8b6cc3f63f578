"""The page of ``make compatibility``: it says what its records say, and each cell has evidence."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.test_audit_reports import CRASHED, audit, result
from wsgiproof.records.audit import Outcome

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "compatibility.py"
OTHER = "ruamel.yaml.clib"


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


@pytest.fixture
def page(made: dict[str, Any]) -> Callable[..., str]:
    function: Callable[..., str] = made["page"]
    return function


def test_each_outcome_leads_to_its_evidence(page: Callable[..., str]) -> None:
    record = audit(
        result("numpy", Outcome.REFUSES, reason="numpy can't be imported", cause="other"),
        result(OTHER, exercised=True),
        result("unlisted", Outcome.CRASHES, reason="died of SIGSEGV", attempts=(CRASHED,)),
    )
    text = page([record])
    assert "| 20 | numpy 1.0 | [refuses](#numpy) |" in text
    assert "| 343 | ruamel.yaml.clib 1.0 | [works](#ruamelyamlclib) |" in text
    assert text.index("#ruamelyamlclib") < text.index("| - | unlisted 1.0 | [crashes](#unlisted) |")
    for heading, line in (
        ("numpy", "**refuses**, because of other; imported in 2 processes. numpy can't be"),
        (OTHER, "**works**; imported and exercised in 2 processes."),
        ("unlisted", "**crashes**; imported in 1 process, 1 of which ended badly. died of"),
    ):
        section = text.partition(f"### {heading}\n")[2].partition("###")[0]
        assert f"- Python 3.11.2 shared-gil, 1.0: {line}" in section
    assert "| Python 3.11.2 | shared-gil | 2 of 3 | 1 works, 1 refuses, 1 crashes |" in text
    assert "3 distributions with compiled code, 2 of them among" in text
    assert "as of 1970-01-01" in text and "not finished" not in text


def test_a_page_of_an_unfinished_audit_says_so(page: Callable[..., str]) -> None:
    record = audit(result("numpy"))
    (environment,) = record.environments
    more = msgspec.structs.replace(environment, audited=("numpy", "later"))
    text = page([msgspec.structs.replace(record, environments=(more,), complete=False)])
    assert "It is not finished: 1 were not tried." in text


def test_the_list_has_one_rank_for_each(made: dict[str, Any]) -> None:
    found = made["ranks"]()
    assert len(found) > 100 and len(found) == len({*found.values()})
    assert list(found.values()) == sorted(found.values())
