"""A cell without a deployment: what is asked of the machine, and what is judged."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.cells import CELL, cell_with, configured
from tests.unit.factories import COUNTS, RULES, outcome
from tests.unit.factories import observed as anything
from tests.unit.test_matrix import matrix_of
from wsgiproof.agent import protocol
from wsgiproof.errors import UsageError
from wsgiproof.judge.verdict import judge
from wsgiproof.process.account import server_account
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import Observed, Stop
from wsgiproof.subjects.application import lay_out
from wsgiproof.subjects.backend import Asked, Backend
from wsgiproof.subjects.pymongo.axes import DEPLOYED, Topology
from wsgiproof.subjects.pymongo.backends import starts_mongod
from wsgiproof.subjects.pymongo.subject import DOCUMENTS

ALONE = cell_with(CELL, topology=Topology.NONE)
OF_DEPLOYMENT = {
    "connections",
    "closed clients",
    "cursors",
    "sessions",
    "collections",
    "views",
    "indexes",
}
SKIPPED = dict.fromkeys(
    ["connections", "closed-client", "cursors", "sessions", "database"], Verdict.SKIPPED
)


def observed(**changes: object) -> Observed:
    """A clean record without a deployment: nobody has counted its connections."""
    counts = {name: value for name, value in COUNTS.items() if name not in OF_DEPLOYMENT}
    points = tuple(
        msgspec.structs.replace(
            point,
            counts=counts,
            processes=tuple(
                msgspec.structs.replace(reading, connections=0) for reading in point.processes
            ),
        )
        for point in anything().samples
    )
    stop = Stop(seconds=0.5, leftover=(), connections_left=None)
    return anything(**{"samples": points, "stop": stop, "backend": ""} | changes)


def asked(**options: object) -> Asked:
    config = configured(**options)
    return Asked(values=config.all_values(), names=config.names)


def test_it_is_never_the_default() -> None:
    assert configured().axis("topology") == DEPLOYED
    assert Topology.NONE not in {cell.value("topology") for cell in matrix_of().cells}


def test_it_may_stand_beside_others() -> None:
    both = (Topology.STANDALONE, Topology.NONE)
    assert {cell.value("topology") for cell in matrix_of(topology=both).cells} == set(both)
    assert starts_mongod(asked(topology=both))


def test_alone_it_needs_no_mongod() -> None:
    assert not starts_mongod(asked(topology=(Topology.NONE,)))
    assert not starts_mongod(asked(mongodb=("mongodb://127.0.0.1/",)))
    servers = {"there": "mongodb://127.0.0.1/", "old": "/opt/4.4/mongod"}
    assert not starts_mongod(asked(mongodb=("there",), mongodb_servers=servers))
    assert starts_mongod(asked(mongodb=("there", "old"), mongodb_servers=servers))


def test_a_control_excludes_it() -> None:
    why = "topology none is in no cell at all: the application with the fault needs a deployment"
    with pytest.raises(UsageError, match=why):
        matrix_of(topology=(Topology.NONE, Topology.STANDALONE), control="leak-connection")


def test_nothing_is_reached_and_nobody_counts() -> None:
    absent = Backend()
    assert (absent.connection(ALONE, "app"), absent.ports, absent.title) == ({}, frozenset(), "")
    assert absent.counts("app", {(1, 2)}) == {}


@pytest.mark.parametrize(("cell", "documents"), [(CELL, DOCUMENTS), (ALONE, 0)])
def test_the_application_is_told_to_connect_or_not(
    cell: object, documents: int, tmp_path: Path
) -> None:
    settings = lay_out(ALONE if cell is ALONE else CELL, tmp_path, {}, server_account())
    text = (settings.directory / "settings.json").read_bytes()
    told = msgspec.json.decode(text)
    assert told["subject"]["documents"] == documents
    assert told.keys() == set(protocol.SETTINGS)


def test_what_the_deployment_counts_is_skipped_and_the_cell_passes() -> None:
    judgement = judge(ALONE, observed(), RULES)
    assert outcome(observed(), ALONE) == SKIPPED
    assert judgement.verdict is Verdict.PASS
    skipped = "closed-client, connections, cursors, sessions, database"
    assert judgement.reason == f"14 checks; skipped: {skipped}"
    reasons = {check.check: check.reason for check in judgement.checks}
    assert "no deployment" in reasons["connections"]
    assert "no deployment" in reasons["shutdown"]


def test_the_same_record_of_a_cell_with_a_deployment_is_undecided() -> None:
    undecided = ["connections", "cursors", "sessions", "shutdown"]
    verdicts = dict.fromkeys(undecided, Verdict.INCONCLUSIVE)
    assert outcome(observed(backend="MongoDB")) == {
        **verdicts,
        **dict.fromkeys(["database", "closed-client"], Verdict.SKIPPED),
    }


def test_what_is_left_after_the_stop_is_found_all_the_same() -> None:
    left = observed(stop=Stop(seconds=15.0, leftover=(200,), connections_left=None))
    assert outcome(left, ALONE) == SKIPPED | {"shutdown": Verdict.FAIL}


def test_an_empty_record_still_passes_no_check() -> None:
    plan = observed().plan
    verdicts = outcome(Observed(plan=plan, urls=("/a", "/b")), ALONE)
    assert Verdict.PASS not in verdicts.values()
    assert (
        judge(ALONE, Observed(plan=plan, urls=("/a", "/b")), RULES).verdict is Verdict.INCONCLUSIVE
    )
