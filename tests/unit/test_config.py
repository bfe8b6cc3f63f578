"""Options: their bounds, and the load that they come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tests.cells import combination, configured
from wsgiproof.config.model import (
    MOST_JOBS,
    MOST_PROCESSES,
    MOST_SUB_INTERPRETERS,
    MOST_THREADS,
    Override,
    Profile,
)
from wsgiproof.errors import ExitCode, UsageError
from wsgiproof.judge.growth import requests_to_show
from wsgiproof.records.cell import Mode
from wsgiproof.subjects.pymongo.uri import is_uri


def test_the_quick_profile() -> None:
    plan = configured().plan()
    assert (plan.parallel, plan.serial, plan.connections, plan.round) == (901, 450, 100, 56)
    assert (plan.memory_every, plan.request_deadline) == (112, 10)
    assert plan == configured(sensitivity=250).plan()


def test_the_full_profile_is_the_recipes_own_amount() -> None:
    plan = configured(profile=Profile.FULL).plan()
    assert (plan.parallel, plan.serial, plan.connections) == (25_000, 25_000, 100)
    assert (plan.round, plan.memory_every) == (2000, 4000)
    assert plan.request_deadline == 30


@settings(deadline=None)
@given(some.integers(1, 100_000_000), some.sampled_from(Profile))
def test_n_requests_are_exactly_n(requests: int, profile: Profile) -> None:
    plan = configured(requests=requests, profile=profile).plan()
    assert plan.parallel + plan.serial == requests
    assert plan.parallel >= plan.serial >= 0 or profile is Profile.FULL
    assert 1 <= plan.round <= requests


@pytest.mark.parametrize(
    ("profile", "split"), [(Profile.QUICK, (400, 200)), (Profile.FULL, (300, 300))]
)
def test_n_keeps_the_proportion_of_the_profile(profile: Profile, split: tuple[int, int]) -> None:
    plan = configured(requests=600, profile=profile).plan()
    assert (plan.parallel, plan.serial) == split
    assert (plan.round, plan.memory_every) == (25, 50)


def test_one_request_is_a_plan_too() -> None:
    plan = configured(requests=1).plan()
    assert (plan.parallel, plan.serial, plan.round) == (1, 0, 1)


def test_connections_change_nothing_but_connections() -> None:
    plan, usual = configured(connections=7).plan(), configured().plan()
    assert plan.connections == 7
    assert (plan.parallel, plan.serial, plan.round) == (usual.parallel, usual.serial, usual.round)


def test_a_process_that_is_replaced_is_read_often_enough_to_be_judged() -> None:
    plan = configured(maximum_requests=400).plan()
    assert plan.round == plan.memory_every == 400 // 18
    assert configured(maximum_requests=100_000).plan() == configured().plan()
    assert configured(maximum_requests=3).plan().round == 1


@pytest.mark.parametrize(
    ("option", "field", "least", "most"),
    [
        ("--sub-interpreters", "sub_interpreters", 1, MOST_SUB_INTERPRETERS),
        ("--processes", "processes", 0, MOST_PROCESSES),
        ("--threads", "threads", 0, MOST_THREADS),
        ("--maximum-requests", "maximum_requests", 0, 1_000_000),
        ("--requests", "requests", 1, 100_000_000),
        ("--sensitivity", "sensitivity", 1, 1_000_000),
        ("--connections", "connections", 1, 10_000),
        ("--extra-requests", "extra_requests", 0, 100_000_000),
        ("--max-seconds", "max_seconds", 1, 604_800),
        ("--jobs", "jobs", 1, MOST_JOBS),
        ("--retry-errors", "retry_errors", 0, 10),
    ],
)
def test_numbers_have_bounds_and_the_message_names_them(
    option: str, field: str, least: int, most: int
) -> None:
    for allowed in (least, most):
        good: dict[str, Any] = {field: allowed}
        configured(**good).plan()
    for refused in (least - 1, most + 1, -5):
        bad: dict[str, Any] = {field: refused}
        with pytest.raises(UsageError) as caught:
            configured(**bad)
        assert str(caught.value) == f"{option} {refused}: it has to be from {least} to {most:,}"
        assert caught.value.exit_code is ExitCode.USAGE


def test_a_sensitivity_makes_the_load_as_short_as_that_allows() -> None:
    plan = configured(sensitivity=250).plan()
    assert plan.sensitivity == 250
    assert plan.parallel + plan.serial == requests_to_show(250) == 1351
    assert plan.parallel == 2 * plan.serial + 1
    assert plan.extra_requests == 5 * 1351


def test_a_number_of_requests_is_kept_beside_a_sensitivity() -> None:
    plan = configured(sensitivity=1000, requests=600).plan()
    assert (plan.parallel + plan.serial, plan.sensitivity) == (600, 1000)
    assert plan.extra_requests == 900


def test_a_pool_that_varies_needs_embedded_mode() -> None:
    with pytest.raises(UsageError, match="--min-processes 1 needs --mode embedded"):
        configured(min_processes=1, processes=4, mode=(Mode.DAEMON,))


def test_an_override_replaces_how_much_load_was_asked_for() -> None:
    def requests(override: Override, **options: Any) -> tuple[int, int]:
        plan = configured(overrides=(override,), **options).plan("a")
        return plan.parallel + plan.serial, plan.sensitivity

    full = Override(cells=("*",), profile=Profile.FULL)
    assert requests(full, sensitivity=500) == (50_000, 0)
    assert requests(Override(cells=("*",), sensitivity=500), requests=1000) == (2702, 500)
    assert requests(Override(cells=("*",), requests=100), sensitivity=500) == (100, 0)


@pytest.mark.parametrize(("least", "most"), [(2, 0), (2, 2), (3, 2)])
def test_a_pool_that_varies_has_a_least_and_a_larger_number(least: int, most: int) -> None:
    with pytest.raises(UsageError, match=f"--min-processes {least} needs a larger --processes"):
        configured(min_processes=least, processes=most)


def test_an_override_changes_the_load_of_the_cells_that_it_matches() -> None:
    config = configured(
        requests=600,
        overrides=(
            Override(cells=("*embedded*",), requests=1200, max_seconds=60.0, extra_requests=0),
            Override(cells=("*event*", "*worker*"), connections=7),
        ),
    )
    plain, embedded = config.plan("py3-daemon-prefork"), config.plan("py3-embedded-event")
    assert (plain.parallel + plain.serial, plain.connections, plain.max_seconds) == (600, 100, None)
    assert (embedded.parallel + embedded.serial, embedded.connections) == (1200, 7)
    assert embedded.max_seconds == 60
    assert (plain.extra_requests, embedded.extra_requests) == (900, 0)


def test_the_last_override_wins() -> None:
    config = configured(
        overrides=(Override(cells=("*",), connections=7), Override(cells=("a*",), connections=8))
    )
    assert (config.plan("abc").connections, config.plan("xyz").connections) == (8, 7)


def test_an_axis_without_values_has_one_that_is_to_be_found_out() -> None:
    config = configured(python=("3.12", "3.13", "3.12"), include=(combination(pymongo=("min",)),))
    assert config.axis("python") == ("3.12", "3.13")
    assert config.axis("pymongo") == ("",)
    assert config.values("pymongo") == ("", "min")


@pytest.mark.parametrize(
    "name", ["", "a/b", "..//x", "two words", "é", "a\nb", "mongodb://a/", "x" * 61]
)
def test_the_name_of_a_server_is_a_part_of_the_name_of_a_directory(name: str) -> None:
    with pytest.raises(UsageError, match=r"mongodb_servers: .* can't be a name"):
        configured(mongodb_servers={name: "/opt/mongod"})
    assert configured(mongodb_servers={"mongod-7.0_x": "/opt/mongod"}).names


@pytest.mark.parametrize("text", ["", "two words", "./here", "a=1", "-r more.txt"])
def test_what_is_no_requirement_is_said(text: str) -> None:
    with pytest.raises(UsageError, match=r"--requirement .*: name a package, such as dnspython"):
        configured(requirement=(text,))
    assert configured(requirement=("pymongo[snappy]", "a>=1,<2; python_version>'3'")).requirement


@pytest.mark.parametrize(
    "target", ["mongodb://h/", "mongodb+srv://h/", "mongodb:h", "mongo://ann:hunter2@h/"]
)
def test_what_looks_like_a_uri_is_one_so_that_nobody_quotes_it_as_a_path(target: str) -> None:
    assert is_uri(target)
    assert not is_uri("/opt/mongodb/bin/mongod")


def test_results_go_to_a_directory_of_their_own_unless_one_is_named() -> None:
    """``Path('')`` is the current directory, and true."""
    assert configured().directory is None
    assert configured(output="out").directory == Path("out")
