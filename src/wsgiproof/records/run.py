"""The records of a cell and of a run, and their JSON form.

``docs/results.md`` describes the JSON form; :data:`FORMAT` is its version.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from wsgiproof.errors import ExitCode
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import CheckResult, Finding, RestOfLog, Verdict
from wsgiproof.records.known import Known, KnownInCell, KnownInRun, KnownState
from wsgiproof.records.observed import Observed

FORMAT = 2


class Excluded(msgspec.Struct, frozen=True, kw_only=True):
    """A combination of the matrix that the run leaves out, and why."""

    axes: dict[str, str]
    """Each axis by name, with the requested value."""
    reason: str
    cell: str = ""
    """The id that the cell would have, if that is known: another run may have it."""


class CellRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one cell: what it is, what was observed, and its verdict."""

    format: int = FORMAT
    cell: Cell
    verdict: Verdict
    reason: str
    findings: tuple[Finding, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    rest_of_log: RestOfLog | None = None
    rerun: str
    """The command that runs this cell alone."""
    directory: str
    timings: dict[str, float] = {}
    """Seconds by step; ``serving`` is the time in which the subject was under load."""
    toolchain: dict[str, str] = {}
    packages: dict[str, str] = {}
    """All packages installed for the subject, itself included, with exact versions."""
    inputs: str = ""
    """A digest of everything that the cell depends on. A cell with the same inputs need not run
    again."""
    tries: tuple[str, ...] = ()
    """Why each earlier try ended in ``error``. A cell with another verdict is not retried."""
    known: tuple[KnownInCell, ...] = ()
    """What the configuration says is known in this cell."""
    accept_known_upstream: bool = False
    """Whether findings are accepted that the catalog calls a bug of somebody else."""
    host: dict[str, str] = {}
    """The machine that it ran on; empty if that is the one of the run."""
    observed: Observed | None = None

    def summary(self) -> dict[str, Any]:
        """Return the cell's entry in ``results.json``."""
        return {
            "id": self.cell.id,
            "axes": self.cell.axes,
            "verdict": self.verdict,
            "reason": self.reason,
            "findings": self.findings,
            "checks": self.checks,
            "rest_of_log": self.rest_of_log,
            "rerun": self.rerun,
            "directory": self.directory,
            "timings": self.timings,
            "toolchain": self.toolchain,
            "packages": self.packages,
            "tries": self.tries,
            "known": self.known,
            "accept_known_upstream": self.accept_known_upstream,
            "host": self.host,
        }


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A run: how it was started, and its cells in the order in which they ended."""

    wsgiproof: str
    command: str
    started: str
    """ISO 8601, UTC."""
    finished: str | None
    complete: bool
    """False during the run, and after one that was interrupted."""
    planned: tuple[str, ...]
    """The id of every cell."""
    excluded: tuple[Excluded, ...] = ()
    host: dict[str, str]
    cells: tuple[CellRecord, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The ids of planned cells that have no record."""
        recorded = {cell.cell.id for cell in self.cells}
        return tuple(planned for planned in self.planned if planned not in recorded)

    def to_json(self) -> dict[str, Any]:
        """Return ``results.json``, as described in ``docs/results.md``."""
        return {
            "format": FORMAT,
            "wsgiproof": self.wsgiproof,
            "command": self.command,
            "started": self.started,
            "finished": self.finished,
            "complete": self.complete,
            "host": self.host,
            "planned": self.planned,
            "excluded": self.excluded,
            "cells": [cell.summary() for cell in self.cells],
            "known": known_in(self.cells),
        }


def known_in(cells: Iterable[CellRecord]) -> tuple[KnownInRun, ...]:
    """Return what is known in any of these cells, each table once, and whether it was found."""
    found: list[tuple[Known, dict[str, KnownState]]] = []
    for cell in cells:
        for one in cell.known:
            states = next((states for table, states in found if table == one.table), None)
            if states is None:
                states = {}
                found.append((one.table, states))
            states[cell.cell.id] = one.state
    return tuple(_in_run(table, states) for table, states in found)


def _in_run(table: Known, states: dict[str, KnownState]) -> KnownInRun:
    every = {*states.values()}
    alike = every.pop() if len(every) == 1 else KnownState.UNDECIDED
    seen = tuple(id for id, state in states.items() if state is KnownState.SEEN)
    return KnownInRun(
        table=table,
        state=KnownState.SEEN if seen else alike,
        applies_to=tuple(states),
        seen_in=seen,
    )


def as_json(value: object) -> bytes:
    """Return a record, or a value made of records, as JSON.

    Text that is not valid Unicode, such as a byte of a path that is not UTF-8, becomes a ``?``.
    """
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_unicode(msgspec.to_builtins(value)))


def _unicode(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_unicode(key): _unicode(one) for key, one in value.items()}
    return [*map(_unicode, value)] if isinstance(value, list | tuple) else value


def exit_code(cells: Sequence[CellRecord]) -> ExitCode:
    """Return the exit code of a run. A finding outweighs cells that were undecided or could not
    run; so does a known one that is gone."""
    verdicts = {cell.verdict for cell in cells}
    if Verdict.FAIL in verdicts or any(one.state is KnownState.GONE for one in known_in(cells)):
        return ExitCode.FINDING
    if verdicts and verdicts <= {Verdict.PASS, Verdict.KNOWN}:
        return ExitCode.PASS
    return ExitCode.UNDECIDED
