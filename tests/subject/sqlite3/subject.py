"""SQLite: a backend without a process, a resource, a check, a planted fault and its control."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from wsgiproof.judge.finding import Claim
from wsgiproof.judge.problems import no_problems
from wsgiproof.judge.resources import Resource
from wsgiproof.judge.rules import Rules
from wsgiproof.records.cell import Cell
from wsgiproof.subjects.backend import Backend, Place
from wsgiproof.subjects.base import Subject
from wsgiproof.subjects.controls import Control


class Database(Backend):
    """A file that the workers share."""

    title = f"SQLite {sqlite3.sqlite_version}"

    def __init__(self, path: Path) -> None:
        self._uri = f"file:{path}"

    def connection(self, cell: Cell, name: str) -> Mapping[str, str]:
        return {"uri": self._uri}

    def counts(self, name: str, sockets: Collection[tuple[int, int]]) -> Mapping[str, int | None]:
        try:
            with closing(sqlite3.connect(f"{self._uri}?mode=ro", uri=True)) as database:
                (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error:
            return {"tables": None}
        return {"tables": int(tables)}


def claims(
    cell: Cell, identity: Mapping[str, Any], every: Sequence[Mapping[str, Any]]
) -> Iterator[Claim]:
    yield Claim(what="SQLite 3", expected=True, actual=identity["version"].startswith("3."))


class Sqlite(Subject):
    """The sqlite3 of the standard library."""

    name = "sqlite3"
    title = "SQLite"
    agent = Path(__file__).with_name("agent")
    identity = ("version",)
    controls = tuple(
        Control(
            name=name,
            trips=trips,
            counterpart=counterpart,
            about=f"one in 5 requests makes a table and {does} it",
            options={"every": 5},
        )
        for name, trips, counterpart, does in (
            ("leave-table", "tables", "drop-table", "leaves"),
            ("drop-table", "", "leave-table", "drops"),
        )
    )

    @contextmanager
    def start(self, cell: Cell, backend: None, place: Place) -> Iterator[Backend]:
        yield Database(place.shared() / "shop.db")

    def settings(self, cell: Cell, connection: Mapping[str, str]) -> Mapping[str, Any]:
        return connection

    @cached_property
    def rules(self) -> Rules:
        tables = Resource(
            check="tables",
            about="The tables of the database do not grow.",
            unit="table",
            by_name={"tables": "table"},
            of_backend=True,
            meaning="requests make tables that nobody drops",
            action="drop what a request makes",
        )
        rows = no_problems(
            "rows",
            about="Every row comes back as it was written.",
            unit="row",
            seen="came back changed",
            meaning="the database returned something other than it was given",
            action="rerun this cell with one sub interpreter",
            passed="every row came back unchanged",
        )
        return Rules(claims=claims, checks={"rows": rows}, resources=(tables,))


SQLITE = Sqlite()
