"""Injections and their outcomes, as values that are sent between processes."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

Column = Literal[
    "orphans",
    "directories",
    "lost",
    "hangs",
    "tracebacks",
    "codes",
    "blamed",
    "passed",
    "resumes",
    "harm",
]
"""The kinds of violations: a process that outlives the command; a directory or file left behind; a
finished record that can't be read; an endless wait; a traceback; a wrong exit code; a ``fail`` for
an injected fault; a ``pass`` although the fault removed evidence; a resumed run with a wrong
result; something that belongs to others changed, shown or sent."""

COLUMNS: tuple[Column, ...] = get_args(Column)


class Setup(msgspec.Struct, frozen=True):
    """What all injections of one run of the harness share."""

    seed: int
    work: str
    """The directory of all sandboxes."""
    cache: str
    base: str
    """The output directory of a run without a fault, of two cells that pass."""
    normal: float
    """Seconds that the smallest run takes without a fault."""


class Injection(msgspec.Struct, frozen=True):
    """One injection, as derived from the seed."""

    number: int
    kind: str
    details: dict[str, Any]

    @property
    def text(self) -> str:
        """A description in one line."""
        details = ", ".join(f"{key} {value}" for key, value in self.details.items())
        return f"#{self.number} {self.kind}: {details}"


class Violation(msgspec.Struct, frozen=True):
    """One rule that the command has violated."""

    column: Column
    text: str


class Outcome(msgspec.Struct):
    """The outcome of one injection."""

    injection: Injection
    violations: list[Violation] = []
    notes: list[str] = []
    """What happened, for a person who investigates a violation."""
    missed: bool = False
    """Whether the fault was not injected, since its target or its moment did not come."""
    broken: str = ""
    """A defect of the harness itself."""
    seconds: float = 0.0
    cpu: float = 0.0
    """Seconds of processor time that the commands took."""
