"""``wsgiproof audit --deep`` on planted packages: each has its outcome in real Apache."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.auditing import AUDIT, audited, outcomes, usable
from tests.real.planted import CRASHES_SOMETIMES, C, Site

REQUESTS = "300"
RARE = "40"
"""Trials after which a crash in one of five is missed once in 7,500 times."""
LEAKS = """
import os
from clean import in_main

def dumps(value):
    if not in_main():
        os.open(os.devnull, os.O_RDONLY)
    return b"text"

def loads(text):
    return text
"""
"""The name of a package that has an exercise, so that it is used in each request."""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that an unprivileged user can enter."""
    directory = Path(tempfile.mkdtemp(prefix="wp-test-", dir="/tmp"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def record(place: Path) -> dict[str, Any]:
    """The record of an audit in both tiers."""
    site = Site(usable("3.10"), place / "planted")
    for name in ("clean", "one_interpreter"):
        site.add_c(name, C[name])
    site.add_fallback("falls_back")
    site.add("orjson", {"orjson.py": LEAKS})
    return audited(
        site, place, "--deep", "--mod-wsgi", "5.0.2", "-n", REQUESTS, "--trials", "2", code=1
    )


def test_each_planted_package_has_its_outcome_in_apache(record: dict[str, Any]) -> None:
    (environment,) = record["environments"]
    found = {one["name"]: one for one in environment["deep"]}
    assert {name: one["outcome"] for name, one in found.items()} == {
        "clean": "works",
        "falls_back": "degrades",
        "one_interpreter": "refuses",
        "orjson": "leaks",
    }, json.dumps(environment["deep"], indent=1)
    assert {one["tier"] for one in found.values()} == {"deep"}
    assert "missing falls_back._fast" in found["falls_back"]["reason"]
    assert "only one interpreter may load this" in found["one_interpreter"]["reason"]
    assert found["orjson"]["reason"].startswith("descriptors: ")
    assert [one["check"] for one in found["orjson"]["findings"]] == ["descriptors"]
    assert found["orjson"]["exercised"] and not found["clean"]["exercised"]
    assert "process ends crashed" in found["clean"]["ends"]


def test_a_crash_in_one_end_of_five_is_seen_if_there_are_enough(place: Path) -> None:
    site = Site(usable("3.10"), place / "rare")
    site.add_c("crashes_sometimes", CRASHES_SOMETIMES)
    found = outcomes(audited(site, place, "--trials", RARE, code=1))["crashes_sometimes"]
    assert found["outcome"] == "crashes"
    assert f"of {RARE} process ends crashed" in found["ends"]


def test_a_release_that_works_is_found_and_tried(place: Path) -> None:
    done = subprocess.run(
        [*AUDIT, "bcrypt==4.1.1", "--python", usable("3.10").path, "--trials", "1", "--json",
         "--find-working", "--releases", "2", "-o", str(place / "releases")],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    (environment,) = json.loads(done.stdout)["environments"]
    (search,) = environment["searches"]
    assert (search["works"], search["conflict"]) == ("4.0.1", "")
    assert [(one["version"], one["outcome"]) for one in search["tried"]] == [
        ("4.1.2", "refuses"),
        ("4.0.1", "works"),
    ]
    assert "4.0.1 does: it was tried" in environment["advice"][-1]


def test_the_tiers_are_compared(record: dict[str, Any]) -> None:
    (environment,) = record["environments"]
    agree = {one["name"]: one["agree"] for one in environment["agreement"]}
    assert agree == {"clean": True, "falls_back": True, "one_interpreter": True, "orjson": False}
    advice = environment["advice"][-1]
    assert advice.startswith("In real Apache under shared-gil, 3 of 4 packages break: ")
    assert "%{GLOBAL}', each of them was tried there, and works." in advice
    assert advice.endswith("Both tiers agree on 3 of 4 packages, and not on orjson.")
