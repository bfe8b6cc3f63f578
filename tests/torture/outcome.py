"""What an injection is and what came of it, as values that one process hands to another."""

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
"""What the command is accused of: a process that outlives it; a directory or file left where none
belongs; a finished record that can't be read; a wait without an end; a traceback; an exit code
that does not fit; a ``fail`` for a fault of ours; a ``pass`` though the fault took evidence away; a
resumed run that did not come to what it should; something of another's changed, shown or sent."""

COLUMNS: tuple[Column, ...] = get_args(Column)


class Setup(msgspec.Struct, frozen=True):
    """What all injections of a harness share."""

    seed: int
    work: str
    """The directory that all sandboxes are in."""
    cache: str
    base: str
    """The output directory of a run without a fault, of two cells that pass."""
    normal: float
    """Seconds that the smallest run takes without a fault."""


class Injection(msgspec.Struct, frozen=True):
    """One injection: all that is derived from the seed."""

    number: int
    kind: str
    details: dict[str, Any]

    @property
    def text(self) -> str:
        """What is injected, in one line."""
        told = ", ".join(f"{key} {value}" for key, value in self.details.items())
        return f"#{self.number} {self.kind}: {told}"


class Accusation(msgspec.Struct, frozen=True):
    """One thing that the command did wrong."""

    column: Column
    text: str


class Outcome(msgspec.Struct):
    """What one injection came to."""

    injection: Injection
    accusations: list[Accusation] = []
    notes: list[str] = []
    """What happened, for a person who reads about an accusation."""
    missed: bool = False
    """Whether the fault never struck: its target or its moment did not come."""
    broken: str = ""
    """A defect of the harness itself."""
    seconds: float = 0.0
    cpu: float = 0.0
    """Seconds of processor time that the commands took."""
