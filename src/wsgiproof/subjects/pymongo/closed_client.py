"""The check of what a client leaves that was closed (PYTHON-353)."""

from __future__ import annotations

from wsgiproof.judge.finding import Outcome, count, evidence
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import Observed
from wsgiproof.subjects.pymongo.axes import has_app_name
from wsgiproof.subjects.pymongo.resources import CLOSED, behind_balancer


def closed_client(cell: Cell, observed: Observed) -> Outcome:
    """The client that wrote the documents and was closed has no connection left."""
    if cell.own_app:
        return Outcome(skipped=f"your own application ({cell.own_app}) has clients of its own")
    if not observed.backend:
        return Outcome(skipped="the cell has no deployment")
    if not has_app_name(cell):
        return Outcome(skipped=f"PyMongo {cell.value('pymongo')} has no appName to tell clients by")
    if reason := behind_balancer(cell):
        return Outcome(missing=reason)
    readings = [sample for sample in observed.samples if CLOSED in sample.counts]
    if observed.samples and not readings:
        return Outcome(skipped="connections of closed clients were not counted")
    left = [
        number
        for sample in readings
        if sample.connections != 0 and (number := sample.counts[CLOSED]) is not None
    ]  # without a connection, no process has made its clients yet
    if not left:
        return Outcome(missing="no member said whose connections it has")
    # A process that starts during a reading has a client that is still to be closed.
    if not min(left):
        return Outcome(passed=f"none was left in {count(len(left), 'reading')}")
    finding = Finding(
        check="closed-client",
        seen=f"{count(min(left), 'connection')} of clients that were closed stayed open",
        meaning="MongoClient.close() does not close all that the client has opened, so an "
        "application that opens and closes clients leaks connections (PYTHON-353)",
        action="look in MongoClient.close() for a pool or a monitor that keeps its socket",
        evidence=evidence(
            f"[{sample.phase}] after {count(sample.requests, 'request')}: "
            f"{sample.counts[CLOSED]} left, of {sample.connections} connections"
            for sample in (readings[0], readings[-1])
        ),
    )
    return Outcome(findings=(finding,))
